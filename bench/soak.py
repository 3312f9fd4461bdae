"""A soak: every kind of call for a long time, and whether memory, descriptors and tasks stay flat. 20 minutes, or --seconds N.

The first third warms up. Exits with 1 when, from its end to the end of all, memory grows by more than --grow-mib, or anything
else by more than a handful.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp

from bascule.bootstrap import App
from bascule.testing.after import open_descriptors, our_tasks, resident_bytes
from bascule.testing.running import running, settings_for

CALLERS = 8
ROWS = 12
SPARE = 16  # descriptors and tasks of calls under way at the moment of counting
ECHO: dict[str, Any] = {
    "providers": {"echo": {"kind": "echo"}},
    "models": {"echo": {"targets": [{"provider": "echo", "model": "echo"}]}},
    "rag": {"enabled": False},
    "gateway": {"cache_max_bytes": 4_000_000},
}


class Row(NamedTuple):
    at_s: float
    calls: int
    rss_mib: float
    descriptors: int
    tasks: int


class Soak:
    def __init__(self, url: str, app: App, key: str) -> None:
        self.url, self.app, self.calls, self.failed = url, app, 0, 0
        self._headers = {"authorization": f"Bearer {key}"}
        self._over = False

    async def caller(self, number: int) -> None:
        async with aiohttp.ClientSession(headers=self._headers) as http:
            while not self._over:
                await self._call(http, number + self.calls)

    async def _call(self, http: aiohttp.ClientSession, kind: int) -> None:
        """In turn: new, repeated, streamed, left in the middle, embedded, refused."""
        text = "the same again" if kind % 6 == 1 else f"{uuid.uuid4()} " + "words " * 50
        body: dict[str, Any] = {"model": "echo", "messages": [{"role": "user", "content": text}]}
        path = "/v1/chat/completions"
        if kind % 6 in (2, 3):
            body["stream"] = True
        elif kind % 6 == 4:
            path, body = "/v1/embeddings", {"model": "echo", "input": [text, "again"]}
        elif kind % 6 == 5:
            body["model"] = "nobody"
        async with http.post(self.url + path, json=body) as reply:
            if kind % 6 == 3:
                await reply.content.readany()
            else:
                await reply.read()
            self.failed += reply.status != (404 if kind % 6 == 5 else 200)
        self.calls += 1

    async def run(self, seconds: float) -> list[Row]:
        callers = [asyncio.create_task(self.caller(number)) for number in range(CALLERS)]
        began_s, rows = time.monotonic(), []
        print(f"{'s':>7} {'calls':>9} {'MiB':>7} {'files':>6} {'tasks':>6}")
        for _ in range(ROWS):
            await asyncio.sleep(seconds / ROWS)
            row = Row(
                time.monotonic() - began_s, self.calls, resident_bytes() / 2**20, open_descriptors(), len(our_tasks())
            )
            rows.append(row)
            print(f"{row.at_s:7.0f} {row.calls:9} {row.rss_mib:7.1f} {row.descriptors:6} {row.tasks:6}", flush=True)
        self._over = True
        await asyncio.gather(*callers)
        return rows


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1_200.0)
    parser.add_argument("--grow-mib", type=float, default=16.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        async with running(settings_for(Path(folder) / "data", **ECHO), work=False) as (url, app, key):
            soak = Soak(url, app, key)
            rows = await soak.run(given.seconds)
    warm, last = rows[ROWS // 3], rows[-1]
    grown = last.rss_mib - warm.rss_mib
    flat = (
        grown <= given.grow_mib
        and last.descriptors - warm.descriptors <= SPARE
        and last.tasks - warm.tasks <= SPARE
        and not soak.failed
    )
    print(f"{'flat' if flat else 'NOT FLAT'}: {grown:+.1f} MiB after warming up, {soak.failed} unexpected answers")
    return 0 if flat else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
