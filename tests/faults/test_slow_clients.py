"""Clients that take for ever to ask, or to read: the others do not notice, and nothing of them stays when they have gone.

300 connections, or 10,000 with BASCULE_TEST_FULL=1, where the descriptors allow it (both ends are in this process).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import statistics
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bascule.testing.after import no_descriptor_leaked, nothing_leaked, resident_bytes, wrongs
from bascule.testing.fault_proxy import HEALTHY
from bascule.testing.fault_world import CHAT, World, fault_world

DESCRIPTORS = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
SLOW = min(10_000, (DESCRIPTORS - 500) // 2) if os.environ.get("BASCULE_TEST_FULL") else 300
CALLS = 100
DRIBBLE_S = 0.02
MOST_BYTES = 60_000 * SLOW + 60_000_000  # 60 KB a connection, both of its ends in this process


@asynccontextmanager
async def slow_clients(world: World, count: int) -> AsyncIterator[None]:
    """A third sends headers, a third a body, a byte now and then; a third has said nothing at all."""
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {world.admin}\r\n".encode()
    starts = (head + b"x-slow: ", head + b'content-length: 100000\r\n\r\n{"model": "', b"")
    host, port = world.url.removeprefix("http://").split(":")
    writers = []
    for number in range(count):
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(starts[number % 3])
        writers.append(writer)

    async def dribble() -> None:
        while True:
            for number, writer in enumerate(writers):
                if starts[number % 3]:
                    writer.write(b"x")
                if number % 50 == 0:
                    await asyncio.sleep(DRIBBLE_S)

    task = asyncio.create_task(dribble())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        for writer in writers:
            writer.transport.abort()


async def test_slow_clients_do_not_slow_the_others_and_leave_nothing(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 2 * SLOW + 500), hard), hard))
    async with no_descriptor_leaked(), fault_world(tmp_path, {"fast": HEALTHY}, timeout_s=5) as world:
        async with nothing_leaked(world):
            before = resident_bytes()
            async with slow_clients(world, SLOW):
                told = [await world.ask("fast", stream=number % 2 == 0) for number in range(CALLS)]
                grown = resident_bytes() - before
            assert [wrong for said in told for wrong in wrongs(said, 5)] == []
            assert {said.outcome for said in told} == {"ok"}
            assert statistics.median(said.took_s for said in told) < 0.2
            assert grown < MOST_BYTES
