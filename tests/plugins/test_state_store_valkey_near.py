"""Entries a process has seen are given from its memory, and never after they were removed elsewhere."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from bascule.plugins.state_stores.valkey import feed
from bascule.plugins.state_stores.valkey.near import ENTRY_OVERHEAD_BYTES, Near
from bascule.plugins.state_stores.valkey.store import ValkeyState
from bascule.testing.fault_proxy import Plan, fault_proxy
from bascule.testing.running import until
from bascule.testing.valkey import new_prefix, raw, server
from bascule.testing.valkey import store as open_store


@pytest.fixture
async def two() -> AsyncIterator[tuple[ValkeyState, ValkeyState]]:
    prefix = new_prefix()
    async with open_store(prefix) as a, open_store(prefix) as b:
        await until(lambda: a.near.healthy and b.near.healthy, 5)
        yield a, b


async def seen(store: ValkeyState, key: str = "k") -> None:
    await until(lambda: _keeps(store, key), 2)


async def _keeps(store: ValkeyState, key: str) -> bool:
    assert await store.get(key) is not None
    return store.near.get(key) is not None


def commands() -> int:
    return int(raw().info("stats")["total_commands_processed"])


async def test_a_second_hit_never_leaves_the_process(two: tuple[ValkeyState, ValkeyState]) -> None:
    a, _ = two
    await a.put("k", b"v", ttl_s=60)
    await seen(a)
    work = a.get("k")
    with pytest.raises(StopIteration) as ended:
        work.send(None)  # a coroutine that waits for nothing ends in its first step
    assert ended.value.value == b"v"


@pytest.mark.parametrize("how", ["purge", "delete", "put"])
async def test_what_another_server_removes_is_gone_here(how: str, two: tuple[ValkeyState, ValkeyState]) -> None:
    a, b = two
    await a.put("k", b"v", ttl_s=60, tags=["doc"])
    await a.put("other", b"stays", ttl_s=60, tags=["doc-2"])
    await seen(a)
    await seen(a, "other")
    if how == "purge":
        assert await b.purge("doc") == 1
    elif how == "delete":
        await b.delete("k")
    else:
        await b.put("k", b"new", ttl_s=60)
    await until(lambda: a.near.get("k") is None, feed.CERTAIN_S)
    assert await a.get("k") == (b"new" if how == "put" else None)
    assert a.near.get("other") == b"stays"


async def test_ones_own_removal_holds_at_once(two: tuple[ValkeyState, ValkeyState]) -> None:
    a, _ = two
    for remove in (lambda: a.purge("doc"), lambda: a.delete("k"), lambda: a.put("k", b"", ttl_s=0)):
        await a.put("k", b"v", ttl_s=60, tags=["doc"])
        await seen(a)
        await remove()
        assert await a.get("k") is None


async def test_an_entry_evicted_by_the_server_is_purged_here_all_the_same(two: tuple[ValkeyState, ValkeyState]) -> None:
    a, b = two
    await a.put("k", b"v", ttl_s=60, tags=["doc"])
    await seen(a)
    prefix = a._link._base
    raw().delete(f"{prefix}e:k", f"{prefix}t:doc")
    await b.purge("doc")
    await until(lambda: a.near.get("k") is None, feed.CERTAIN_S)


async def test_a_flush_of_the_server_empties_it(two: tuple[ValkeyState, ValkeyState]) -> None:
    a, _ = two
    await a.put("k", b"v", ttl_s=60)
    await seen(a)
    for key in raw().scan_iter(f"{a._link._base}*"):
        raw().delete(key)
    await until(lambda: len(a.near) == 0, 3)
    assert await a.get("k") is None


async def test_an_answer_asked_for_before_a_removal_is_not_kept_near() -> None:
    near = Near(10_000, time.monotonic)
    near.extend(time.monotonic() + 60)
    before = near.changes
    near.purge("doc")
    near.keep("k", b"v", ["doc"], time.monotonic() + 60, before)
    assert near.get("k") is None
    near.keep("k", b"v", ["doc"], time.monotonic() + 60, near.changes)
    assert near.get("k") == b"v"


async def test_it_is_bounded_and_the_least_recently_used_goes_first() -> None:
    near = Near(3 * (ENTRY_OVERHEAD_BYTES + 101), time.monotonic)
    near.extend(time.monotonic() + 60)
    for key in "abc":
        near.keep(key, b"x" * 100, [], time.monotonic() + 60, near.changes)
    assert near.get("a")
    near.keep("d", b"x" * 100, [], time.monotonic() + 60, near.changes)
    near.keep("large", b"x" * 5000, [], time.monotonic() + 60, near.changes)
    assert [key for key in ("a", "b", "c", "d", "large") if near.get(key)] == ["a", "c", "d"]


async def test_nothing_is_given_near_once_its_messages_may_be_late() -> None:
    """The network swallows what the server says: no purge can be heard any more, and nobody is told so."""
    swallowed = False
    plan = Plan(edit=lambda piece: b"" if swallowed else piece)
    prefix = new_prefix()
    async with fault_proxy(f"valkey://127.0.0.1:{server().port}/0", plan) as proxy:
        async with open_store(prefix, at=f"valkey://127.0.0.1:{proxy.port}") as far, open_store(prefix) as well:
            await until(lambda: far.near.healthy, 5)
            await well.put("k", b"deleted text", ttl_s=60, tags=["doc"])
            await seen(far)
            swallowed = True
            await well.purge("doc")
            purged_s = time.monotonic()
            while far.near.get("k") is not None:
                assert time.monotonic() - purged_s < feed.CERTAIN_S + 0.1
                await asyncio.sleep(0.01)
            swallowed = False
            await until(lambda: far.up and far.near.healthy, 10)
            assert await far.get("k") is None
