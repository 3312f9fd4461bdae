"""A store that hangs while requests keep coming: as many wait as the server takes, the rest are told at once, all is well after.

200 requests, or 5,000 with BASCULE_TEST_FULL=1. That each of them ends at its own deadline is in test_vector_store_ill.py.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bascule.core.vectors import Candidate
from bascule.testing.after import our_tasks
from bascule.testing.running import until
from bascule.testing.storage_world import COLLECTION, StorageWorld, storage_world

FULL = bool(os.environ.get("BASCULE_TEST_FULL"))
MOST = 4_000 if FULL else 150
BEYOND = 1_000 if FULL else 50
TIMEOUT_S = 300.0  # longer than a busy machine needs for all of them


async def search(world: StorageWorld, http: aiohttp.ClientSession, n: int) -> tuple[int, str, str]:
    """Status, code and Retry-After."""
    body = {"query": f"where do kestrels nest? {n}", "collections": [COLLECTION]}
    headers = {"authorization": f"Bearer {world.admin}"}
    async with http.post(world.url + "/v1/search", json=body, headers=headers) as reply:
        told = await reply.json()
        return (
            reply.status,
            told["error"]["code"] if reply.status >= 400 else "ok",
            reply.headers.get("retry-after", ""),
        )


@pytest.mark.timeout(600)
async def test_F16_a_store_that_hangs_holds_no_more_requests_than_the_server_takes(tmp_path: Path) -> None:
    limits = {"server": {"max_requests": MOST}, "gateway": {"timeout_s": TIMEOUT_S}}
    async with (
        storage_world(tmp_path, **limits) as world,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http,
    ):
        free, waiting, before = asyncio.Event(), 0, len(our_tasks())

        async def hangs(*_: Any) -> list[Candidate]:
            nonlocal waiting
            waiting += 1
            await free.wait()
            return []

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(world.app.store, "lexical", hangs)
            held = [asyncio.create_task(search(world, http, n)) for n in range(MOST)]
            await until(lambda: waiting == MOST or any(task.done() for task in held), TIMEOUT_S)
            assert waiting == MOST, "every one of them is held by the store"
            began_s = time.monotonic()
            beyond = await asyncio.gather(*(search(world, http, MOST + n) for n in range(BEYOND)))
            took_s = time.monotonic() - began_s
            assert set(beyond) == {(503, "server_exhausted", "1")}, Counter(beyond)
            assert await world.chat() == (503, "server_exhausted"), "whatever is asked"
            assert waiting == MOST and took_s < TIMEOUT_S, "none of them waited for the store or a deadline"
            async with http.get(world.url + "/livez") as alive, http.get(world.url + "/readyz") as ready:
                assert (alive.status, ready.status) == (200, 200), "probes are answered all the same"
            free.set()
            assert set(await asyncio.gather(*held)) == {(200, "ok", "")}, "the store came back"
        assert (await world.chat())[0] == 200
        await until(lambda: len(our_tasks()) <= before, 10)
        await world.whole()
