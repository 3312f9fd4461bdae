"""Postgres restarted under load, and connections cut at COMMIT: before it, and between it and its answer."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Literal

import pytest
from sqlalchemy import make_url

from bascule.access.authenticate import STALE_AFTER_S
from bascule.testing.postgres import server
from bascule.testing.running import until
from bascule.testing.sql_proxy import SqlProxy, sql_proxy
from bascule.testing.storage_world import StorageWorld, storage_world

Act = Callable[[str], Coroutine[Any, Any, tuple[int, Any]]]
REFUSED = (503, "storage_unavailable")


def database() -> str:
    name = make_url(server().new_database()).database
    assert name
    return name


async def load(world: StorageWorld, ends: Counter[object], stop: asyncio.Event, number: int) -> None:
    at = 0
    while not stop.is_set():
        at += 1
        status, said = await world.upload(f"paper{number}-{at}", f"gate {number} opened for ship {at}")
        ends["upload", said if status >= 400 else status] += 1
        status, said = await world.chat()
        ends["chat", said if status >= 400 else status] += 1


async def test_a_restart_under_load_loses_nothing_acknowledged_and_is_over_by_itself(tmp_path: Path) -> None:
    async with storage_world(tmp_path, catalogue={"url": server().url(database())}) as world:
        ends: Counter[object] = Counter()
        stop = asyncio.Event()
        running = [asyncio.create_task(load(world, ends, stop, number)) for number in range(3)]
        await until(lambda: ends["upload", 202] >= 6, 20)
        began_s = time.monotonic()
        await asyncio.to_thread(server().restart)
        before = ends["upload", 202]
        await until(lambda: ends["upload", 202] >= before + 3, 20)
        away_s = time.monotonic() - began_s
        stop.set()
        await asyncio.gather(*running)
        # Keys that could not be looked at for so long open nothing: on a busy machine a restart takes longer.
        late: set[object] = {("chat", REFUSED[1])} if away_s > STALE_AFTER_S - 1 else set()  # looked at twice a second
        assert set(ends) <= {("upload", 202), ("upload", REFUSED[1]), ("chat", 200)} | late, ends
        await world.whole(exact=False)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_cut_at_commit_an_act_is_done_whole_or_not_at_all_and_trying_again_doubles_nothing(
    tmp_path: Path, when: Literal["before", "after"]
) -> None:
    name = database()
    async with sql_proxy(server()) as proxy, storage_world(tmp_path, catalogue={"url": proxy.url(name)}) as world:

        async def upload(name: str) -> tuple[int, Any]:
            return await world.upload(name, f"the words of {name}")

        acts: dict[bytes, Act] = {b"INSERT INTO items": upload, b"INSERT INTO keys": world.make_key}
        for said, act in acts.items():
            proxy.of, struck = said, proxy.struck
            await cut_once(proxy, act, when)
            assert proxy.struck == struck + 1
        await world.whole(exact=False)


async def cut_once(proxy: SqlProxy, act: Act, when: Literal["before", "after"]) -> None:
    """An act whose commit is cut, and the same act again, which must go well."""
    name = f"cut {when} {act.__name__}"
    proxy.cuts[:] = [when]
    assert await act(name) == REFUSED
    status, said = await act(name)
    assert status < 400, said
