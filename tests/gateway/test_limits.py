from __future__ import annotations

import asyncio
import contextlib

import pytest

from bascule.core.calls import Usage
from bascule.core.embedding import EmbeddingRequest
from bascule.core.errors import LimitExceeded, StorageError, UpstreamUnavailable
from bascule.gateway.routes import Limits, Options
from bascule.plugins.state_stores.memory import MemoryState
from bascule.testing.gateway import (
    ScriptedModel,
    bench,
    call,
    collect,
    http_client,
    openai_provider,
    principal,
    request,
    until,
)
from bascule.testing.state_store_contract import HandClock
from bascule.testing.upstream import Fault, fake_upstream


async def test_of_a_thousand_parallel_requests_at_a_limit_of_ten_exactly_ten_pass() -> None:
    b = bench(ScriptedModel(), limits=Limits(requests_per_min=10))
    results = await asyncio.gather(
        *(b.gateway.chat(request(f"q{i}"), call()) for i in range(1000)), return_exceptions=True
    )
    refused = [r for r in results if isinstance(r, LimitExceeded)]
    assert len(refused) == 990
    assert all(r.limit == "requests per minute of this key" and 0 < r.retry_after_s <= 6 for r in refused)


async def test_each_key_has_its_own_limit_in_each_tenant() -> None:
    b = bench(ScriptedModel(), limits=Limits(requests_per_min=1))
    for who in (principal("a", "k"), principal("a", "l"), principal("b", "k"), principal("a", "", "ann")):
        await b.gateway.chat(request(), call(who))
        with pytest.raises(LimitExceeded):
            await b.gateway.chat(request(), call(who))


async def test_cache_hits_count_as_requests() -> None:
    b = bench(ScriptedModel(), limits=Limits(requests_per_min=2))
    await b.gateway.chat(request(), call())
    await b.gateway.chat(request(), call())
    with pytest.raises(LimitExceeded):
        await b.gateway.chat(request(), call())


async def held(state: MemoryState, key: str) -> float:
    return sum(amount for (name, _), amount in state._held.items() if name.startswith(key))


async def test_tokens_are_reserved_while_a_call_runs_and_settled_by_what_it_used() -> None:
    gate, state = asyncio.Event(), MemoryState()
    model = ScriptedModel(gate=gate)
    b = bench(model, limits=Limits(tokens_per_min=1000), state=state)
    asked = request("hello", max_tokens=500)
    running = asyncio.create_task(b.gateway.chat(asked, call()))
    await until(lambda: model.requests)
    assert await held(state, "tpm:") == 500 + len(asked.body) // 4 + 1
    gate.set()
    await running
    assert await held(state, "tpm:") == 18


async def test_parallel_calls_cannot_overrun_a_token_limit_or_a_budget() -> None:
    for limits in (Limits(tokens_per_min=2000), Limits(usd_per_day=0.0035)):
        gate = asyncio.Event()
        model = ScriptedModel(gate=gate)
        b = bench(model, limits=limits)
        running = [
            asyncio.create_task(b.gateway.chat(request(f"question {i:03}", max_tokens=500), call())) for i in range(100)
        ]
        await until(lambda: sum(t.done() for t in running) == 97)  # noqa: B023
        assert len(model.requests) == 3
        gate.set()
        results = await asyncio.gather(*running, return_exceptions=True)
        refused = [r for r in results if isinstance(r, LimitExceeded)]
        assert len(refused) == 97
        assert refused[0].retry_after_s > 0


async def test_a_cancelled_call_is_settled_and_its_record_says_so() -> None:
    state = MemoryState()
    model = ScriptedModel(gate=asyncio.Event())
    b = bench(model, limits=Limits(tokens_per_min=1000), state=state)
    running = asyncio.create_task(b.gateway.chat(request(max_tokens=500), call()))
    await until(lambda: model.requests)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    await until(lambda: b.gateway.under_way == 0)
    used = await held(state, "tpm:")
    assert 0 < used < 50
    assert (b.records[0].outcome, b.records[0].input_tokens) == ("cancelled", used)


async def test_a_cut_stream_is_settled_by_what_was_heard() -> None:
    state = MemoryState()
    async with fake_upstream() as up, http_client() as http:
        up.always = Fault(content="x" * 400, cut_after=41)
        b = bench(openai_provider(up.url, http), limits=Limits(tokens_per_min=1000), state=state)
        with pytest.raises(UpstreamUnavailable):
            await collect(await b.gateway.stream(request(stream=True, max_tokens=500), call()))
    assert 50 <= b.records[0].output_tokens < 60
    assert await held(state, "tpm:") == b.records[0].input_tokens + b.records[0].output_tokens


async def test_a_stream_is_settled_by_the_usage_its_caller_does_not_see() -> None:
    state = MemoryState()
    async with fake_upstream() as up, http_client() as http:
        b = bench(openai_provider(up.url, http), limits=Limits(tokens_per_min=1000), state=state)
        chunks = await collect(await b.gateway.stream(request(stream=True, max_tokens=500), call()))
    assert await held(state, "tpm:") == 18
    assert b.records[0].cost_usd == pytest.approx(11e-6 + 14e-6)
    assert not any(b'"usage"' in chunk.data for chunk in chunks)


async def test_a_failed_call_gives_back_what_it_reserved() -> None:
    state = MemoryState()
    b = bench(
        ScriptedModel(UpstreamUnavailable("x")),
        limits=Limits(tokens_per_min=1000),
        state=state,
        options=Options(max_attempts=1),
    )
    with pytest.raises(UpstreamUnavailable):
        await b.gateway.chat(request(max_tokens=500), call())
    assert await held(state, "tpm:") == 0


async def test_hits_reserve_nothing() -> None:
    b = bench(ScriptedModel(), limits=Limits(tokens_per_min=600))
    for _ in range(5):
        await b.gateway.chat(request(max_tokens=500), call())


async def test_a_call_that_alone_exceeds_its_limit_is_told_what_to_do() -> None:
    b = bench(ScriptedModel(), limits=Limits(tokens_per_min=100))
    with pytest.raises(LimitExceeded, match="max_tokens"):
        await b.gateway.chat(request(max_tokens=500), call())


async def test_a_small_limit_still_admits_a_call_that_does_not_say_how_long_its_answer_is() -> None:
    b = bench(ScriptedModel(), limits=Limits(tokens_per_min=100))
    assert (await b.gateway.chat(request(), call())).text


async def test_embeddings_count_against_the_token_limit() -> None:
    b = bench(ScriptedModel(), limits=Limits(tokens_per_min=100))
    with pytest.raises(LimitExceeded):
        await b.gateway.embed(EmbeddingRequest(model="fast", texts=("x" * 1000,)), call())


async def test_a_new_minute_brings_new_tokens() -> None:
    clock = HandClock()
    model = ScriptedModel()
    model.usage = Usage(input_tokens=50, output_tokens=50)
    b = bench(model, limits=Limits(tokens_per_min=100), state=MemoryState(clock=clock, wall=clock))
    await b.gateway.chat(request("a", max_tokens=10), call())
    with pytest.raises(LimitExceeded):
        await b.gateway.chat(request("b", max_tokens=10), call())
    clock.move(60)
    await b.gateway.chat(request("b", max_tokens=10), call())


class LostStore(MemoryState):
    async def get(self, key: str) -> bytes | None:
        raise StorageError("gone")

    async def put(self, *_: object, **__: object) -> None:
        raise StorageError("gone")

    async def reserve(self, claims: object, lease_s: float) -> tuple[str, object]:  # type: ignore[override]
        raise StorageError("gone")


async def test_a_lost_state_store_costs_the_cache_but_never_lets_a_limit_pass() -> None:
    free = bench(ScriptedModel(), state=LostStore())
    c = call()
    assert (await free.gateway.chat(request(), c)).text
    assert (c.cache, "cache_unavailable" in c.degraded) == ("BYPASS", True)
    limited = bench(ScriptedModel(), state=LostStore(), limits=Limits(tokens_per_min=10))
    with pytest.raises(StorageError):
        await limited.gateway.chat(request(), call())
