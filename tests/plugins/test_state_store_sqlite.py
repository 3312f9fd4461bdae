"""The SQLite store does what every store does; it keeps its state over a restart, and says what to do about a bad file."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bascule.core.errors import ConfigError, StorageError
from bascule.core.state import Claim
from bascule.plugins.state_stores.sqlite.store import SqliteState
from bascule.testing.state_store_contract import HandClock, StateStoreContract, claim


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.sqlite"


@pytest.fixture
async def store(path: Path, clock: HandClock) -> AsyncIterator[SqliteState]:
    opened = await SqliteState.open(path, clock=clock)
    yield opened
    await opened.aclose()


class TestSqlite(StateStoreContract):
    @pytest.fixture
    async def store(self, path: Path, clock: HandClock) -> AsyncIterator[SqliteState]:
        opened = await SqliteState.open(path, clock=clock)
        yield opened
        await opened.aclose()


async def test_a_restart_keeps_answers_budgets_rates_and_purges(path: Path, clock: HandClock) -> None:
    first = await SqliteState.open(path, clock=clock)
    await first.put("k", b"v", ttl_s=600, tags=["doc"])
    await first.purge("gone")
    held, _ = await first.reserve([claim("tokens", 90, 100, 86_400)], lease_s=30)
    await first.settle(held, [70])
    assert (await first.admit("calls", 1, 60)).admitted
    await first.aclose()
    second = await SqliteState.open(path, clock=clock)
    assert await second.get("k") == b"v"
    await second.put("late", b"deleted", ttl_s=600, tags=["gone"], age_s=1)
    assert await second.get("late") is None
    assert not (await second.reserve([claim("tokens", 31, 100, 86_400)], lease_s=30))[1].admitted
    assert (await second.reserve([claim("tokens", 30, 100, 86_400)], lease_s=30))[1].admitted
    assert not (await second.admit("calls", 1, 60)).admitted
    assert await second.purge("doc") == 1
    await second.aclose()


async def test_claims_on_one_place_add_up(store: SqliteState) -> None:
    assert not (await store.reserve([claim("k", 60, 100), claim("k", 60, 100)], lease_s=30))[1].admitted
    assert (await store.reserve([claim("k", 60, 100), claim("k", 40, 100)], lease_s=30))[1].admitted


async def test_a_slot_is_given_back_whole_when_settled(store: SqliteState) -> None:
    slot = Claim(key="s", amount=1, limit=1, window_s=0, name="calls at once", kind="slot")
    held, _ = await store.reserve([slot], lease_s=30)
    assert not (await store.reserve([slot], lease_s=30))[1].admitted
    await store.settle(held, [1])
    assert (await store.reserve([slot], lease_s=30))[1].admitted


async def test_a_reservation_whose_caller_leaves_is_given_back(store: SqliteState) -> None:
    slot = Claim(key="s", amount=1, limit=1, window_s=0, name="calls at once", kind="slot")
    task = asyncio.create_task(store.reserve([slot], lease_s=300))
    await asyncio.sleep(0)  # it is on its way
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await store.reserve([slot], lease_s=30))[1].admitted


async def test_tokens_grow_and_a_later_leader_keeps_an_older_ones_value_out(
    store: SqliteState, clock: HandClock
) -> None:
    first = await store.lease("k", 10)
    assert (await store.lease("k", 10)).state == "held"
    assert await store.renew("k", first.token, 10)
    await store.release("k", first.token)
    second = await store.lease("k", 10)
    assert (second.state, second.token > first.token) == ("mine", True)
    await store.put("k", b"new", ttl_s=60, fence=second.token)
    await store.put("k", b"old", ttl_s=60, fence=first.token)
    assert await store.get("k") == b"new"
    assert not await store.renew("k", first.token, 10)
    await store.release("k", second.token, done_s=30)
    clock.move(1)
    assert (await store.lease("k", 10, age_s=5)).state == "done"
    assert (await store.lease("k", 10)).state == "mine"


async def test_the_least_recently_used_goes_first(path: Path, clock: HandClock) -> None:
    store = await SqliteState.open(path, clock=clock, max_bytes=3_000)
    for key in ("a", "b"):
        await store.put(key, bytes(1_000), ttl_s=600)
        clock.move(20)
    await store.get("a")
    await store.put("c", bytes(1_000), ttl_s=600)
    assert [await store.get(key) is not None for key in "abc"] == [True, False, True]
    await store.put("huge", bytes(5_000), ttl_s=600)
    assert await store.get("huge") is None
    await store.aclose()


async def test_a_failing_step_takes_nothing_of_its_group_with_it(store: SqliteState) -> None:
    results = await asyncio.gather(
        store.put("a", b"1", 10), store.release("k", 2**70), store.put("b", b"2", 10), return_exceptions=True
    )
    assert [type(result) for result in results] == [type(None), StorageError, type(None)]
    assert [await store.get(key) for key in "ab"] == [b"1", b"2"]


async def test_only_its_owner_may_read_the_file(store: SqliteState, path: Path) -> None:
    await store.put("k", b"v", ttl_s=10)
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.glob("state.sqlite*")} == {0o600}


@pytest.mark.parametrize("kind", ["noise", "another database", "another version"])
async def test_a_file_that_is_no_state_file_is_refused_with_advice(path: Path, kind: str) -> None:
    if kind == "noise":
        path.write_bytes(b"not a database at all" * 400)
    else:
        other = sqlite3.connect(path)
        other.execute("CREATE TABLE notes (text)" if kind == "another database" else "PRAGMA user_version = 9")
        other.commit()
        other.close()
    before = path.read_bytes() if kind == "noise" else b""
    with pytest.raises(ConfigError, match="move it away") as caught:
        await SqliteState.open(path)
    assert str(path.parent) not in str(caught.value)
    assert kind != "noise" or path.read_bytes() == before


async def test_a_file_damaged_later_is_a_storage_error(store: SqliteState, path: Path) -> None:
    other = sqlite3.connect(path)
    other.execute("DROP TABLE rates")
    other.commit()
    other.close()
    with pytest.raises(StorageError):
        await store.admit("k", 1, 60)
    assert (await store.lease("k", 10)).state == "mine"
    assert await store.get("k") is None


async def test_a_file_held_by_another_process_for_too_long_is_busy(path: Path) -> None:
    store = await SqliteState.open(path, timeout_s=0.05)
    await store.put("k", b"v", ttl_s=10)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageError, match="timeout_s"):
        await store.admit("k", 1, 60)
    assert await store.get("k") == b"v"  # reading waits for nobody
    other.execute("ROLLBACK")
    other.close()
    assert (await store.admit("k", 1, 60)).admitted
    await store.aclose()
