"""One server after the other is replaced while calls are made: two processes on one data folder, and no call fails."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter
from pathlib import Path

import aiohttp
import pytest

from bascule.bootstrap import init
from bascule.testing.fault_world import CHAT, canary
from bascule.testing.gateway import until
from bascule.testing.running import settings_for
from bascule.testing.upstream import Fault, fake_upstream

CALLERS = 8
CONFIG = """
[server]
port = 0
drain_s = 6.0
[rag]
enabled = false
[state_store]
kind = "sqlite"
[providers.main]
kind = "openai"
base_url = "{url}"
[models.fast]
targets = [{{ provider = "main", model = "m" }}]
"""


class Fleet:
    """`live` is what a balancer would know: the addresses of servers that were ready when it last looked."""

    def __init__(self, folder: Path, key: str) -> None:
        self.folder, self.key = folder, key
        self.live: dict[str, asyncio.subprocess.Process] = {}
        self.all: list[asyncio.subprocess.Process] = []
        self.ends: Counter[str] = Counter()
        self.moved = 0
        self.over = False

    async def start(self) -> str:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bascule", "serve", "--data", str(self.folder / "data"),
            "--config", str(self.folder / "bascule.toml"),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            env={k: v for k, v in os.environ.items() if not k.startswith("BASCULE_")},
        )  # fmt: skip
        self.all.append(process)
        assert process.stdout is not None
        url = (await asyncio.wait_for(process.stdout.readline(), 30)).decode().split()[-1]
        self.live[url] = process
        return url

    async def replace(self, url: str) -> None:
        """The successor first; then the old one is told to stop, and known to be gone once it is not ready."""
        await self.start()
        process = self.live[url]
        process.send_signal(signal.SIGTERM)
        async with aiohttp.ClientSession() as http:
            while True:
                async with http.get(url + "/readyz") as reply:
                    if reply.status == 503:
                        break
        del self.live[url]
        assert await asyncio.wait_for(process.wait(), 15) == 0

    async def call(self, number: int) -> None:
        own = canary()
        body = {"model": "fast", "messages": [{"role": "user", "content": own}], "stream": number % 2 == 0}
        headers = {"authorization": f"Bearer {self.key}"}
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as http:
            for url in list(self.live):
                try:
                    async with http.post(url + CHAT, json=body, headers=headers) as reply:
                        raw = (await reply.read()).decode()
                        whole = reply.status == 200 and ("[DONE]" if body["stream"] else own) in raw
                        self.ends["ok" if whole else f"{reply.status} {raw[:200]}"] += 1
                        return
                except aiohttp.ClientConnectorError:
                    self.moved += 1  # nothing was promised: the next server is asked
        self.ends["nobody answered"] += 1

    async def run(self, number: int) -> None:
        while not self.over:
            await self.call(number)


@pytest.mark.skipif(not os.environ.get("BASCULE_TEST_FULL"), reason="full form: half a minute of starts and drains")
async def test_both_servers_are_replaced_under_load_and_no_call_fails(tmp_path: Path) -> None:
    async with fake_upstream() as upstream:
        upstream.always = Fault(delay_s=0.02)
        (tmp_path / "bascule.toml").write_text(CONFIG.format(url=upstream.url))
        fleet = Fleet(tmp_path, await init(settings_for(tmp_path / "data")) or "")
        try:
            first, second = await asyncio.gather(fleet.start(), fleet.start())
            running = [asyncio.create_task(fleet.run(number)) for number in range(CALLERS)]
            for old in (first, second):
                before = fleet.ends["ok"]
                await until(lambda before=before: fleet.ends["ok"] > before + 40, 20)
                await fleet.replace(old)
            before = fleet.ends["ok"]
            await until(lambda: fleet.ends["ok"] > before + 40, 20)
            fleet.over = True
            await asyncio.gather(*running)
            assert set(fleet.ends) == {"ok"}, fleet.ends
            assert first not in fleet.live and second not in fleet.live and len(fleet.live) == 2
        finally:
            for process in fleet.all:
                if process.returncode is None:
                    process.kill()
                await process.wait()
