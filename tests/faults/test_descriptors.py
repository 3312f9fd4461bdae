"""A server that may open no more descriptors: every caller is told, nothing hangs, and it is well when they are free again.

The limit of a running `bascule serve` is lowered from outside to what it holds, and the few places left are taken by connections
that say nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from bascule.testing.after import documented_codes
from bascule.testing.fault_world import CANARY, canary
from bascule.testing.gateway import until
from bascule.testing.replicas import Server, one_server
from bascule.testing.upstream import fake_upstream

CALLERS = 12
IDLE = 40
TIMEOUT_S = 5.0

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="another process's limits can be set on Linux only: exhaustion is NOT tested"
)


def held(pid: int) -> list[int]:
    return sorted(int(name) for name in os.listdir(f"/proc/{pid}/fd"))


@asynccontextmanager
async def exhausted(server: Server) -> AsyncIterator[None]:
    """No descriptor is free while this holds; the limit is as before, and the connections are gone, at exit."""
    pid = server.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (held(pid)[-1] + 1, before[1]))
    host, port = server.url.removeprefix("http://").split(":")
    idle: list[asyncio.StreamWriter] = []
    try:
        for _ in range(IDLE):
            with contextlib.suppress(OSError):
                idle.append((await asyncio.wait_for(asyncio.open_connection(host, int(port)), 5))[1])
        await until(lambda: len(held(pid)) == held(pid)[-1] + 1, 10)
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        for writer in idle:
            writer.transport.abort()


async def call(server: Server, http: aiohttp.ClientSession) -> str:
    """ "ok", the code of a documented error, or what else happened. Raises TimeoutError when nothing does."""
    own = canary()
    try:
        async with asyncio.timeout(TIMEOUT_S + 5):
            status, raw, _ = await server.ask(http, own)
    except aiohttp.ClientError as error:
        return type(error).__name__
    assert set(CANARY.findall(raw.decode())) <= {own}
    if status == 200:
        return "ok" if json.loads(raw)["choices"][0]["message"]["content"].endswith(own) else "a wrong answer"
    code = json.loads(raw)["error"]["code"]
    return code if code in documented_codes() else f"{status} {code}"


async def connected(server: Server, http: aiohttp.ClientSession) -> None:
    """A connection for each caller, before the descriptors are gone; no call has been made to the vendor yet."""

    async def models() -> int:
        async with http.get(f"{server.url}/v1/models", headers={"authorization": f"Bearer {server.key}"}) as reply:
            return reply.status

    assert set(await asyncio.gather(*(models() for _ in range(CALLERS)))) == {200}


async def test_without_a_free_descriptor_every_caller_is_told_and_all_is_well_afterwards(tmp_path: Path) -> None:
    pool = aiohttp.TCPConnector(limit=CALLERS)
    async with (
        fake_upstream() as upstream,
        one_server(tmp_path / "a", upstream.url, timeout_s=TIMEOUT_S) as server,
        aiohttp.ClientSession(connector=pool) as http,
        aiohttp.ClientSession() as other,
    ):
        assert await call(server, other) == "ok"
        await connected(server, http)
        before = len(held(server.process.pid))
        async with exhausted(server):
            told = Counter(await asyncio.gather(*(call(server, http) for _ in range(CALLERS))))
            assert not set(told) - {"ok", *documented_codes()}, told
            assert set(told) - {"ok"}, "nobody noticed: there were descriptors left"
            assert server.process.returncode is None
        await until(lambda: len(held(server.process.pid)) <= before + CALLERS, 10)
        again = Counter(await asyncio.gather(*(call(server, http) for _ in range(CALLERS))))
        assert again == {"ok": CALLERS}, (again, told)
        assert await call(server, other) == "ok"
        server.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(server.process.wait(), 15) == 0
