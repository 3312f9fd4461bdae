"""Callers who share one upstream call, and those who leave it: nobody waits for ever, nobody holds the others back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp

from bascule.testing.after import no_descriptor_leaked, nothing_leaked, resident_bytes, wrongs
from bascule.testing.fault_proxy import HEALTHY, Plan
from bascule.testing.fault_world import CHAT, World, canary, fault_world
from bascule.testing.gateway import ScriptedModel, bench, call, request, until
from bascule.testing.upstream import Fault

ABORT_S = 0.1  # the promise: a client that goes away aborts the upstream call within this
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"' + b"x" * 16_000 + b'"}}]}\n\n'


def asking(own: str, *, stream: bool) -> dict[str, object]:
    body: dict[str, object] = {"model": "fast", "messages": [{"role": "user", "content": f"Say {own}"}]}
    return body | {"stream": True} if stream else body


def key(world: World) -> dict[str, str]:
    return {"authorization": f"Bearer {world.admin}"}


async def abort_s(world: World, *, stream: bool) -> float:
    """How long after its only caller left the vendor sees an abort."""
    aborted, seen = world.upstream.aborted, len(world.upstream.calls)
    leaver = asyncio.create_task(
        world.http.post(world.url + CHAT, json=asking(canary(), stream=stream), headers=key(world))
    )
    await until(lambda: len(world.upstream.calls) > seen)
    if stream:
        reply = await leaver
        await reply.content.readany()
        reply.close()
    else:
        leaver.cancel()
    began = time.monotonic()
    await until(lambda: world.upstream.aborted > aborted)
    return time.monotonic() - began


async def test_the_last_caller_who_leaves_aborts_the_upstream_call_within_a_tenth_of_a_second(tmp_path: Path) -> None:
    async with no_descriptor_leaked(), fault_world(tmp_path, {"fast": HEALTHY}, timeout_s=5) as world:
        world.upstream.always = Fault(gate=asyncio.Event())
        async with nothing_leaked(world):
            for stream in (False, True):
                # The best of three: this machine may do other things at the same moment.
                assert min([await abort_s(world, stream=stream) for _ in range(3)]) < ABORT_S


async def test_a_caller_who_leaves_takes_nothing_from_those_who_stay(tmp_path: Path) -> None:
    async with no_descriptor_leaked(), fault_world(tmp_path, {"fast": HEALTHY}, timeout_s=5) as world:
        gate = asyncio.Event()
        async with nothing_leaked(world):
            for stream in (False, True):
                world.upstream.always = Fault(gate=gate)
                seen, own = len(world.upstream.calls), canary()
                leader = asyncio.create_task(
                    world.http.post(world.url + CHAT, json=asking(own, stream=stream), headers=key(world))
                )
                await until(lambda seen=seen: len(world.upstream.calls) > seen)
                staying = [asyncio.create_task(world.ask("fast", own=own, stream=stream)) for _ in range(10)]
                await asyncio.sleep(0.1)  # so that they have joined; were they late, they would lead or hit
                if stream:
                    (await leader).close()
                leader.cancel()
                await asyncio.sleep(0.05)  # so that its leaving has been seen
                gate.set()
                told = await asyncio.gather(*staying)
                assert [wrongs(said, 5) for said in told] == [[]] * 10
                assert {said.outcome for said in told} == {"ok"}
                assert len(world.upstream.calls) == seen + 1
                gate.clear()


async def test_who_joins_a_stream_late_gets_it_from_its_first_event(tmp_path: Path) -> None:
    async with fault_world(tmp_path, {"fast": HEALTHY}, timeout_s=5) as world:
        gate, own = asyncio.Event(), canary()
        world.upstream.always = Fault(gate=gate)
        async with nothing_leaked(world):
            first = asyncio.create_task(world.ask("fast", own=own, stream=True))
            await until(lambda: world.upstream.calls)
            late = [asyncio.create_task(world.ask("fast", own=own, stream=True)) for _ in range(5)]
            await asyncio.sleep(0.1)  # so that they have joined
            gate.set()
            told = await asyncio.gather(first, *late)
            assert {said.text for said in told} == {f"answer 1 to Say {own}"}
            assert len({said.raw for said in told}) == 1


async def test_a_call_that_crashes_for_its_leader_is_made_again_by_the_next(tmp_path: Path) -> None:
    gate = asyncio.Event()
    model = ScriptedModel(RuntimeError("a defect"), None, gate=gate)
    b = bench(model)
    asked = [asyncio.create_task(b.gateway.chat(request("same"), call())) for _ in range(5)]
    await until(lambda: model.requests)
    gate.set()
    ended = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(end).__name__ for end in ended].count("RuntimeError") == 1
    assert [getattr(end, "text", "") for end in ended].count("ok 2") == 4
    assert (len(model.requests), b.gateway.under_way, len(b.records)) == (2, 0, 5)


def torrent(_: bytes) -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
    for _ in range(12_000):
        yield EVENT


async def leave_unread(world: World, count: int) -> None:
    sessions = [aiohttp.ClientSession(read_bufsize=4096) for _ in range(count)]
    replies = [
        await http.post(world.url + CHAT, json=asking(canary(), stream=True), headers=key(world)) for http in sessions
    ]
    await until(lambda: not world.app.gateway.under_way)
    for http, reply in zip(sessions, replies, strict=True):
        reply.close()
        await http.close()


async def test_a_stream_nobody_reads_is_not_collected_without_bound(tmp_path: Path) -> None:
    async with fault_world(tmp_path, {"fast": Plan(answer=torrent)}, timeout_s=2) as world:
        async with nothing_leaked(world):
            await leave_unread(world, 1)  # the first that is cut off loads the vocabulary that counts its tokens, 68 MB
            before = resident_bytes()
            await leave_unread(world, 4)
        # What a flight may run ahead (1 MB) each, and what the kernel keeps for sockets; the torrent is of 190 MB each.
        assert world.proxies["fast"].sent_bytes < 5 * 20_000_000
    assert resident_bytes() - before < 100_000_000


async def test_a_reader_who_does_not_read_holds_nobody_back(tmp_path: Path) -> None:
    def long_answer(_: bytes) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
        for _ in range(600):
            yield EVENT
        yield b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'

    async with fault_world(tmp_path, {"fast": Plan(answer=long_answer)}, timeout_s=8) as world:
        own = canary()
        async with nothing_leaked(world), aiohttp.ClientSession(read_bufsize=4096) as lazy:
            unread = await lazy.post(world.url + CHAT, json=asking(own, stream=True), headers=key(world))
            said = await world.ask("fast", own=own, stream=True)
            assert (said.ended, len(said.text), said.error) == (True, 600 * 16_000, "")
            assert said.took_s < 8
            unread.close()
        assert world.proxies["fast"].accepted == 1
