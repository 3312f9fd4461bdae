"""SIGTERM while calls are under way, to a real `bascule serve`: what was accepted is answered, and the process ends well.

A caller whose connection is refused after the door has closed was promised nothing: it tries the successor. Everybody else has
an answer, or the documented, retryable `server_stopping`; a stream ends properly or in that error.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from bascule.bootstrap import init
from bascule.testing.fault_world import CANARY, CHAT, canary
from bascule.testing.gateway import until
from bascule.testing.running import settings_for
from bascule.testing.upstream import Fault, fake_upstream

DRAIN_S = 8.0
CALLERS = 16
CONFIG = """
[server]
port = 0
drain_s = {drain_s}
[rag]
enabled = false
[gateway]
timeout_s = {timeout_s}
[providers.main]
kind = "openai"
base_url = "{url}"
[models.fast]
targets = [{{ provider = "main", model = "m" }}]
"""


@dataclass
class Server:
    """A `bascule serve` of its own process, with its address and its admin key."""

    process: asyncio.subprocess.Process
    url: str
    key: str


@asynccontextmanager
async def served(folder: Path, upstream_url: str, *, drain_s: float, timeout_s: float) -> AsyncIterator[Server]:
    data, config = folder / "data", folder / "bascule.toml"
    config.write_text(CONFIG.format(url=upstream_url, drain_s=drain_s, timeout_s=timeout_s))
    key = await init(settings_for(data)) or ""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bascule", "serve", "--data", str(data), "--config", str(config),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        env={k: v for k, v in os.environ.items() if not k.startswith("BASCULE_")},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), 30)
        yield Server(process, line.decode().split()[-1], key)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@dataclass
class Callers:
    """`ends` counts how calls ended; `refused` are those whose connection was not accepted."""

    server: Server
    ends: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    closing: bool = False

    async def run(self, number: int) -> None:
        # A connection for each call: none is taken for open that the server has just closed.
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as http:
            while not self.refused:
                await self._call(http, stream=number % 2 == 0)

    async def _call(self, http: aiohttp.ClientSession, *, stream: bool) -> None:
        own = canary()
        body = {"model": "fast", "messages": [{"role": "user", "content": own}], "stream": stream}
        headers = {"authorization": f"Bearer {self.server.key}"}
        try:
            async with http.post(self.server.url + CHAT, json=body, headers=headers) as reply:
                self.ends[_end(await reply.read(), reply.status, own, stream=stream)] += 1
        except aiohttp.ClientConnectorError:
            assert self.closing, "a connection was refused before the server was told to stop"
            self.refused += 1
        except aiohttp.ClientOSError as error:
            self.ends[f"{type(error).__name__} {error.errno}"] += 1
        except aiohttp.ClientError as error:
            self.ends[type(error).__name__] += 1


def _end(raw: bytes, status: int, own: str, *, stream: bool) -> str:
    assert set(CANARY.findall(raw.decode())) <= {own}
    if b"server_stopping" in raw:
        return "server_stopping"
    if status != 200:
        return f"{status} {json.loads(raw)['error']['code']}"
    if stream:
        return "ok" if raw.endswith(b"data: [DONE]\n\n") else "a clean end of a cut stream"
    return "ok" if json.loads(raw)["choices"][0]["message"]["content"].endswith(own) else "a wrong answer"


async def test_every_call_that_was_accepted_is_answered_and_the_process_ends_well(tmp_path: Path) -> None:
    async with fake_upstream() as upstream, served(tmp_path, upstream.url, drain_s=DRAIN_S, timeout_s=6) as server:
        upstream.always = Fault(delay_s=0.05)
        callers = Callers(server)
        running = [asyncio.create_task(callers.run(number)) for number in range(CALLERS)]
        await until(lambda: callers.ends["ok"] > 100, 20)
        callers.closing = True
        server.process.send_signal(signal.SIGTERM)
        began_s, before = time.monotonic(), callers.ends["ok"]
        await asyncio.wait_for(asyncio.gather(*running), DRAIN_S + 5)
        assert await asyncio.wait_for(server.process.wait(), DRAIN_S + 5) == 0
        assert time.monotonic() - began_s < DRAIN_S
        assert set(callers.ends) == {"ok"}
        assert callers.ends["ok"] > before, "the lame-duck moment answers new calls"
        assert callers.refused >= 1


async def test_streams_that_cannot_finish_in_time_end_in_a_retryable_error(tmp_path: Path) -> None:
    async with fake_upstream() as upstream, served(tmp_path, upstream.url, drain_s=2, timeout_s=60) as server:
        upstream.always = Fault(gate=asyncio.Event())
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as http:
            callers = Callers(server, closing=True)
            held = [asyncio.create_task(callers._call(http, stream=n % 2 == 0)) for n in range(CALLERS)]
            await until(lambda: len(upstream.calls) == CALLERS, 10)
            server.process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(asyncio.gather(*held), 10)
            assert callers.ends == {"server_stopping": CALLERS}
        assert await asyncio.wait_for(server.process.wait(), 10) == 0
        await until(lambda: upstream.aborted == CALLERS)
