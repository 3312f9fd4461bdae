"""A client that reads slowly, or not at all, holds back its upstream call instead of filling this server's memory."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bascule.core.calls import Call
from bascule.core.chat import ChatChunk, ChatRequest, ChatStream
from bascule.core.errors import UpstreamTimeout
from bascule.gateway.flight import AHEAD_BYTES
from bascule.testing.after import CLIENTS, nothing_leaked, resident_bytes
from bascule.testing.fault_proxy import Plan
from bascule.testing.fault_world import CHAT, canary, fault_world
from bascule.testing.gateway import ScriptedModel, bench, call, collect, request, said, until

PIECE = "x" * 16_000
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"' + PIECE.encode() + b'"}}]}\n\n'
END = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
EVENTS = 1_200  # 19 MB: below what an answer may have, above what sockets hold
# What may be on its way when nobody reads: the flight's part, and what the kernel keeps for the sockets.
UNREAD_BYTES = AHEAD_BYTES + 13_000_000


def long_answer(_: bytes) -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
    yield from [EVENT] * EVENTS
    yield END


def lazy_client() -> aiohttp.ClientSession:
    """Takes little before it is asked to read."""

    def small(address: tuple[Any, ...]) -> socket.socket:
        made = socket.socket(*address[:3])
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        return made

    return aiohttp.ClientSession(read_bufsize=4096, connector=aiohttp.TCPConnector(socket_factory=small))


@pytest.mark.parametrize("client", CLIENTS)
async def test_the_vendor_is_held_back_while_a_client_does_not_read_and_goes_on_when_it_does(
    tmp_path: Path, client: str
) -> None:
    plans = {"fast": Plan(answer=long_answer)}
    async with fault_world(tmp_path, plans, timeout_s=20, http_client=client) as world:
        proxy, own = world.proxies["fast"], canary()
        async with nothing_leaked(world), lazy_client() as lazy:
            body = {"model": "fast", "messages": [{"role": "user", "content": f"Say {own}"}], "stream": True}
            reply = await lazy.post(world.url + CHAT, json=body, headers={"authorization": f"Bearer {world.admin}"})
            held_back = await _still(lambda: proxy.sent_bytes)
            assert held_back < UNREAD_BYTES < EVENTS * len(EVENT)
            # Who joins now gets all of it from its first event, and its reading brings the rest.
            joined = await world.ask("fast", own=own, stream=True)
            assert (joined.ended, len(joined.text), joined.error) == (True, EVENTS * len(PIECE), "")
            world.asked.append(reply.headers["x-request-id"])
            read = await reply.read()
            assert read.endswith(b"[DONE]\n\n")
            assert read.count(PIECE.encode()) == EVENTS
        assert proxy.accepted == 1


async def test_many_clients_that_do_not_read_cost_little_memory(tmp_path: Path) -> None:
    clients = 12
    async with fault_world(tmp_path, {"fast": Plan(answer=long_answer)}, timeout_s=20) as world, lazy_client() as lazy:
        before = resident_bytes()
        async with nothing_leaked(world):
            for _ in range(clients):
                body = {"model": "fast", "messages": [{"role": "user", "content": canary()}], "stream": True}
                reply = await lazy.post(world.url + CHAT, json=body, headers={"authorization": f"Bearer {world.admin}"})
                world.asked.append(reply.headers["x-request-id"])
            await _still(lambda: world.proxies["fast"].sent_bytes)
            # A flight keeps what was taken, which the kernel holds for the client (4 MB), and what lies before it (1 MB), as bytes
            # and as text. Read to their ends they would be 38 MB each.
            assert resident_bytes() - before < clients * 16_000_000
            await lazy.close()


async def _still(count: Callable[[], int]) -> int:
    """What it counts once that has begun and no longer grows."""
    last, now = -1, 0
    while last != now or not now:
        await asyncio.sleep(0.2)  # to see whether anything happens
        last, now = now, count()
    return now


# ---------------------------------------------------------------- the flight alone


class Torrent(ScriptedModel):
    """Streams `pieces` of 100 kB each and counts those that were taken from it."""

    def __init__(self, pieces: int = 40) -> None:
        super().__init__()
        self.pieces = pieces
        self.taken = 0

    async def stream(self, request: ChatRequest, call: Call) -> ChatStream:
        await self._turn(request, call)

        async def chunks() -> AsyncIterator[ChatChunk]:
            try:
                for _ in range(self.pieces):
                    self.taken += 1
                    yield ChatChunk(b"x" * 100_000, text="x")
                yield ChatChunk(b"", finish="stop")
                yield ChatChunk(b"[DONE]", last=True)
            except (asyncio.CancelledError, GeneratorExit):
                self.cancelled += 1
                raise

        return ChatStream(chunks(), wire=request.wire, model=request.model, provider="torrent")


HELD = AHEAD_BYTES // 100_000 + 1


async def test_the_fastest_reader_sets_the_pace_and_a_late_one_gets_everything() -> None:
    model = Torrent()
    b = bench(model)
    slow = await b.gateway.stream(request(stream=True), call())
    await until(lambda: model.taken == HELD)
    for _ in range(6):
        await anext(aiter(slow))
    await until(lambda: model.taken == HELD + 6)
    late = await b.gateway.stream(request(stream=True), call())
    assert said(await collect(late)) == "x" * 40
    assert said(await collect(slow)) == "x" * 34
    await until(lambda: b.gateway.under_way == 0)
    assert len(model.requests) == 1


async def test_when_the_fastest_reader_leaves_the_next_one_brings_the_rest() -> None:
    model = Torrent()
    b = bench(model)
    slow, fast = [await b.gateway.stream(request(stream=True), call()) for _ in range(2)]
    for _ in range(20):
        await anext(aiter(fast))
    await fast.aclose()
    await until(lambda: model.taken >= 20 + HELD // 2)
    assert said(await collect(slow)) == "x" * 40


async def test_a_flight_that_was_paused_is_cancelled_when_its_readers_leave() -> None:
    model = Torrent()
    b = bench(model)
    unread = await b.gateway.stream(request(stream=True), call())
    await until(lambda: model.taken == HELD)
    await unread.aclose()
    assert b.gateway.under_way == 0
    assert await until(lambda: model.cancelled == 1) < 0.1


async def test_a_flight_that_was_paused_ends_at_its_deadline() -> None:
    model = Torrent()
    b = bench(model, timeout_s=0.2)
    unread = await b.gateway.stream(request(stream=True), call())
    await until(lambda: b.gateway.under_way == 0)
    assert model.cancelled == 1
    with pytest.raises(UpstreamTimeout):
        await collect(unread)
    assert model.taken == HELD
