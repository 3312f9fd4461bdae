"""Many callers with large requests at once: what is beyond the room for them is told, memory is bounded, small calls go on."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections import Counter
from pathlib import Path

import aiohttp
import pytest

from bascule.core.errors import ServerExhausted
from bascule.server.in_flight import InFlight
from bascule.testing.after import documented_codes
from bascule.testing.fault_world import CANARY, CHAT, canary
from bascule.testing.replicas import Server, one_server
from bascule.testing.upstream import fake_upstream

CALLERS = 24
LARGE = "All that was said before. " * 300_000  # 8 MB
ROOM = 20_000_000
TIMEOUT_S = 10.0


def peak_bytes(pid: int) -> int:
    """The most that was ever resident."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


async def call(server: Server, http: aiohttp.ClientSession, before: str = "") -> str:
    """ "ok", the code of a documented error, or what else happened. Raises TimeoutError when nothing does."""
    own = canary()
    body = {"model": "fast", "messages": [{"role": "user", "content": before}, {"role": "user", "content": own}]}
    async with (
        asyncio.timeout(TIMEOUT_S + 10),
        http.post(server.url + CHAT, json=body, headers={"authorization": f"Bearer {server.key}"}) as reply,
    ):
        status, raw = reply.status, await reply.read()
    assert set(CANARY.findall(raw.decode())) <= {own}
    if status == 200:
        return "ok" if json.loads(raw)["choices"][0]["message"]["content"].endswith(own) else "a wrong answer"
    code = json.loads(raw)["error"]["code"]
    return code if code in documented_codes() else f"{status} {code}"


@pytest.mark.skipif(sys.platform != "linux", reason="another process's memory is read on Linux only: NOT tested")
async def test_F16_large_requests_beyond_the_room_for_them_are_told_and_all_is_well_afterwards(tmp_path: Path) -> None:
    async with (
        fake_upstream() as upstream,
        one_server(tmp_path / "a", upstream.url, timeout_s=TIMEOUT_S, server=f"max_bodies_bytes = {ROOM}") as server,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CALLERS)) as http,
    ):
        pid = server.process.pid
        assert await call(server, http) == "ok"
        assert await call(server, http, LARGE) == "ok"
        alone = peak_bytes(pid)
        told = Counter(await asyncio.gather(*(call(server, http, LARGE) for _ in range(CALLERS))))
        assert set(told) == {"ok", "server_exhausted"}, told
        assert peak_bytes(pid) - alone < 12 * ROOM
        assert await call(server, http) == "ok"
        for _ in range(3):  # the room is free again
            assert await call(server, http, LARGE) == "ok"
        server.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(server.process.wait(), 15) == 0


def test_one_body_always_has_room_and_what_is_given_back_can_be_taken_again() -> None:
    room = InFlight(10)
    room.take(8, 0)
    room.take(17, 8)
    with pytest.raises(ServerExhausted):
        room.take(1, 0)
    room.give(25)
    room.take(10, 0)
    assert room.held_bytes == 10
