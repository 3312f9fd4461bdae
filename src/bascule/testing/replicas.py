"""Several servers that share one state store: in this process, over a store that can be stopped, and as real processes."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from bascule.bootstrap import init
from bascule.core.errors import StorageError
from bascule.core.state import Admission, Claim, Lease
from bascule.plugins.state_stores.memory import MemoryState
from bascule.testing.fault_world import CHAT
from bascule.testing.running import settings_for


class SharedMemory(MemoryState):
    """A memory store that says it is shared. `away`: it answers nobody, and counts
    whom in `unanswered`. `asked`, `refused`, `renewed` and `released` count
    leases; `gate`, when given, is what `lease` waits for, and `limits` what `reserve` does."""

    shared = True

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        if clock is None:
            super().__init__()
        else:
            super().__init__(clock=clock)
        self.away = False
        self.unanswered = 0
        self.keeps_releases = True
        self.asked = self.refused = self.renewed = self.released = 0
        self.gate: asyncio.Event | None = None
        self.limits: asyncio.Event | None = None
        self.leased: list[str] = []

    def _answer(self) -> None:
        if self.away:
            self.unanswered += 1
            raise StorageError("The state store does not answer.")

    async def lease(self, key: str, ttl_s: float, age_s: float = 0.0) -> Lease:
        self._answer()
        self.asked += 1
        lease = await super().lease(key, ttl_s, age_s)
        self.refused += lease.state == "held"
        if lease.state == "mine":
            self.leased.append(key)
        if self.gate is not None:
            await self.gate.wait()
        return lease

    async def renew(self, key: str, token: int, ttl_s: float) -> bool:
        self._answer()
        held = await super().renew(key, token, ttl_s)
        self.renewed += 1
        return held

    async def release(self, key: str, token: int, done_s: float = 0.0) -> None:
        self._answer()
        self.released += 1
        if self.keeps_releases:
            await super().release(key, token, done_s)

    async def reserve(self, claims: Sequence[Claim], lease_s: float) -> tuple[str, Admission]:
        if self.limits is not None:
            await self.limits.wait()
        return await super().reserve(claims, lease_s)


_CONFIG = """
[server]
port = 0
drain_s = 1
{server}
[rag]
enabled = false
[gateway]
timeout_s = {timeout_s}
tokens_per_min = 1000000000
[providers.main]
kind = "openai"
base_url = "{url}"
"""
_MODEL = """
[models.{name}]
targets = [{{ provider = "main", model = "m", input_usd_per_mtok = 1.0, output_usd_per_mtok = 1.0 }}]
limits = {{ {limits} }}
"""


@dataclass
class Server:
    """One `bascule serve` in a process of its own."""

    process: asyncio.subprocess.Process
    url: str
    key: str

    async def ask(
        self, http: aiohttp.ClientSession, text: str, *, model: str = "fast", stream: bool = False, **fields: object
    ) -> tuple[int, bytes, Mapping[str, str]]:
        """Status, body and headers (their names in lower case) of one chat."""
        body = {"model": model, "messages": [{"role": "user", "content": text}], "stream": stream, **fields}
        headers = {"authorization": f"Bearer {self.key}"}
        async with http.post(self.url + CHAT, json=body, headers=headers) as reply:
            return reply.status, await reply.read(), {name.lower(): value for name, value in reply.headers.items()}


@asynccontextmanager
async def two_servers(
    folder: Path, upstream_url: str, state_store: str, limits: Mapping[str, str], *, timeout_s: float = 10.0
) -> AsyncIterator[tuple[Server, Server]]:
    """Two processes with a catalogue each and one state store (the text of its TOML table). `limits` names the models, each with
    the text of its limits. Processes that are left are killed at exit."""
    models = "".join(_MODEL.format(name=name, limits=text) for name, text in limits.items())
    config = (
        _CONFIG.format(url=upstream_url, timeout_s=timeout_s, server="") + models + f"[state_store]\n{state_store}\n"
    )
    async with AsyncExitStack() as stack:
        started = [await stack.enter_async_context(_served(folder / name, config)) for name in ("a", "b")]
        first, second = [await _ready(process, key) for process, key in started]
        yield first, second


@asynccontextmanager
async def one_server(
    folder: Path, upstream_url: str, *, timeout_s: float = 10.0, server: str = ""
) -> AsyncIterator[Server]:
    """A process of its own with the model `fast` and these lines of [server]; killed at exit if it is left."""
    config = _CONFIG.format(url=upstream_url, timeout_s=timeout_s, server=server) + _MODEL.format(
        name="fast", limits=""
    )
    async with _served(folder, config) as (process, key):
        yield await _ready(process, key)


@asynccontextmanager
async def _served(folder: Path, config: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """A process that starts, and the admin key of its catalogue."""
    data, file = folder / "data", folder / "bascule.toml"
    await asyncio.to_thread(_write, file, config)
    key = await init(settings_for(data)) or ""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bascule", "serve", "--data", str(data), "--config", str(file),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        env={k: v for k, v in os.environ.items() if not k.startswith("BASCULE_")},
    )  # fmt: skip
    try:
        yield process, key
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _ready(process: asyncio.subprocess.Process, key: str) -> Server:
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), 30)
    return Server(process, line.decode().split()[-1], key)


def _write(file: Path, text: str) -> None:
    file.parent.mkdir()
    file.write_text(text)
