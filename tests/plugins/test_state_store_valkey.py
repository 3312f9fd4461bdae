"""The Valkey store does what every store does, on a real server; and what only a shared one can."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from bascule.core.errors import ConfigError
from bascule.core.state import Claim, StateStore
from bascule.ops import doctor
from bascule.plugins.state_stores import valkey
from bascule.plugins.state_stores._counters import window_end_s
from bascule.plugins.state_stores.memory import MemoryState
from bascule.plugins.state_stores.valkey.store import ValkeyState
from bascule.testing.running import until
from bascule.testing.state_store_contract import HandClock, StateStoreContract, claim
from bascule.testing.valkey import keys, new_prefix, raw, start, url
from bascule.testing.valkey import store as open_store


class TestValkey(StateStoreContract):
    @pytest.fixture
    async def store(self, clock: HandClock) -> AsyncIterator[ValkeyState]:
        async with open_store(clock=clock) as opened:
            yield opened


class TestValkeyWithoutItsNearCache(StateStoreContract):
    @pytest.fixture
    async def store(self, clock: HandClock) -> AsyncIterator[ValkeyState]:
        async with open_store(clock=clock, max_bytes=0) as opened:
            yield opened


@pytest.fixture(params=["memory", "valkey"])
async def leasing(request: pytest.FixtureRequest, clock: HandClock) -> AsyncIterator[StateStore]:
    if request.param == "memory":
        yield MemoryState(clock=clock, wall=clock)
        return
    async with open_store(clock=clock) as opened:
        yield opened


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


async def test_one_leads_until_its_lease_ends_and_the_next_ones_token_is_greater(
    leasing: StateStore, clock: HandClock
) -> None:
    first = await leasing.lease("k", 10)
    assert (first.state, (await leasing.lease("k", 10)).state) == ("mine", "held")
    clock.move(11)
    second = await leasing.lease("k", 10)
    assert second.state == "mine"
    assert second.token > first.token
    assert not await leasing.renew("k", first.token, 10)
    await leasing.release("k", first.token)
    assert await leasing.lease("k", 10) == type(second)("held", second.token)


async def test_a_renewed_lease_lasts_from_then_on(leasing: StateStore, clock: HandClock) -> None:
    mine = await leasing.lease("k", 10)
    clock.move(9)
    assert await leasing.renew("k", mine.token, 10)
    clock.move(9)
    assert (await leasing.lease("k", 10)).state == "held"
    clock.move(2)
    assert (await leasing.lease("k", 10)).state == "mine"


async def test_who_began_before_the_work_was_done_is_told_so_and_who_came_after_leads_anew(
    leasing: StateStore, clock: HandClock
) -> None:
    mine = await leasing.lease("k", 10)
    clock.move(2)
    await leasing.release("k", mine.token, done_s=5)
    assert await leasing.lease("k", 10, age_s=3) == type(mine)("done", mine.token)
    assert not await leasing.renew("k", mine.token, 10)
    clock.move(1)
    later = await leasing.lease("k", 10, age_s=0.5)
    assert later.state == "mine"
    assert later.token > mine.token


async def test_what_an_older_leader_puts_is_not_kept(leasing: StateStore, clock: HandClock) -> None:
    old = await leasing.lease("k", 10)
    await leasing.put("k", b"old", ttl_s=60, fence=old.token)
    clock.move(11)
    new = await leasing.lease("k", 10)
    await leasing.put("k", b"late", ttl_s=60, fence=old.token)
    assert await leasing.get("k") == b"old"
    await leasing.put("k", b"new", ttl_s=60, fence=new.token)
    await leasing.release("k", new.token)
    await leasing.put("k", b"late again", ttl_s=60, fence=old.token)
    assert await leasing.get("k") == b"new"


async def test_tokens_grow_also_over_a_release_and_over_a_flush() -> None:
    own = start()
    try:
        async with open_store(at=url(own)) as store:
            first = await store.lease("k", 10)
            await store.release("k", first.token)
            second = await store.lease("k", 10)
            own.client().flushall()
            third = await store.lease("k", 10)
            other = await store.lease("other", 10)
    finally:
        own.stop()
    assert first.token < second.token < third.token < other.token


async def test_a_leader_that_gave_up_leaves_a_token_that_fences_older_ones(clock: HandClock) -> None:
    async with open_store(clock=clock) as store:
        old = await store.lease("k", 1)
        clock.move(2)
        new = await store.lease("k", 10)
        await store.release("k", new.token)
        await store.put("k", b"late", ttl_s=60, fence=old.token)
        assert await store.get("k") is None


async def test_the_servers_time_counts_and_not_that_of_this_process() -> None:
    prefix = new_prefix()
    async with open_store(prefix) as store, open_store(prefix) as other:
        await store.admit("k", 10, 60)
        assert abs(float(raw().get(f"{{{prefix}}}:r:k").split()[1]) / 1e6 - time.time()) < 5
        await store.put("soon", b"v", ttl_s=0.05)
        assert await store.get("soon") == b"v"
        async with asyncio.timeout(2):
            while await other.get("soon") is not None or await store.get("soon") is not None:
                await asyncio.sleep(0.01)


async def test_calendar_windows_end_where_the_memory_stores_do() -> None:
    clock, prefix = HandClock(), new_prefix()
    moments = [(2024, 2, 28), (2024, 2, 29), (2023, 12, 31), (2100, 2, 28), (2000, 2, 29), (2026, 1, 1), (2031, 7, 31)]
    async with open_store(prefix, clock=clock) as store:
        for year, month, day in moments:
            clock.now_s = datetime(year, month, day, 23, 59, 59, tzinfo=UTC).timestamp()
            for kind in ("month", "window"):
                one = Claim(key=kind, amount=1, limit=1, window_s=86_400, name="n", kind=kind)  # type: ignore[arg-type]
                assert (await store.reserve([one], 5))[1].admitted
                _, refused = await store.reserve([one], 5)
                assert refused.retry_after_s == pytest.approx(window_end_s(one, clock.now_s) - clock.now_s)


async def test_slots_come_back_whole_whatever_was_used(clock: HandClock) -> None:
    slot = Claim(key="s", amount=1, limit=2, window_s=60, name="calls at once", kind="slot")
    async with open_store(clock=clock) as store:
        held = [(await store.reserve([slot, claim("t", 5, 100)], 30))[0] for _ in range(2)]
        refused = (await store.reserve([slot], 30))[1]
        assert (refused.admitted, refused.limit, refused.retry_after_s) == (False, "calls at once", 1.0)
        await store.settle(held[0], [0.0, 7.0])
        assert (await store.reserve([slot], 30))[1].admitted
        clock.move(31)
        assert [(await store.reserve([slot], 30))[1].admitted for _ in range(3)] == [True, True, False]


async def test_two_claims_on_one_thing_add_up() -> None:
    async with open_store() as store:
        assert not (await store.reserve([claim("k", 60, 100), claim("k", 60, 100)], 30))[1].admitted
        assert (await store.reserve([claim("k", 50, 100), claim("k", 50, 100)], 30))[1].admitted


async def test_the_server_forgets_windows_leases_and_tags_that_are_over(clock: HandClock) -> None:
    prefix = new_prefix()
    async with open_store(prefix, clock=clock) as store:
        for i in range(50):
            await store.reserve([claim(f"k{i}", 1, 10)], lease_s=30)
            await store.put(f"e{i}", b"v", ttl_s=10, tags=[f"doc-{i}", "all"])
        assert len(keys(prefix)) > 100
        clock.move(3600)
        for i in range(5):
            held, _ = await store.reserve([claim("last", 1, 10)], lease_s=30)
            await store.settle(held, [1])
            await store.put("last", b"v", ttl_s=1, tags=[f"doc-last-{i}"])
        await store.purge("all")
        left = [key for key in keys(prefix) if not key.startswith("e:")]  # the server itself ends entries
        assert len(left) < 15, left


async def test_a_tag_of_many_entries_is_purged_in_steps() -> None:
    async with open_store() as store:
        puts = (store.put(f"e{i}", b"v", ttl_s=60, tags=["all", f"t{i % 7}"]) for i in range(2_500))
        await asyncio.gather(*puts)
        assert await store.purge("t3") == 357
        assert await store.purge("all") == 2_500 - 357
        assert await store.get("e1") is None


async def test_an_entry_that_is_too_large_is_not_kept_and_the_old_one_goes() -> None:
    async with open_store(max_entry_bytes=1000) as store:
        await store.put("k", b"small", ttl_s=60)
        await store.put("k", b"x" * 1001, ttl_s=60)
        assert await store.get("k") is None


async def test_scripts_the_server_was_told_to_forget_are_sent_again() -> None:
    async with open_store() as store:
        raw().script_flush()
        assert (await store.admit("k", 10, 60)).degraded is False
        raw().script_flush()
        held, admission = await store.reserve([claim("k", 1, 10)], 30)
        raw().script_flush()
        await store.settle(held, [1])
        assert admission.admitted and not admission.degraded


async def test_what_a_caller_that_left_had_reserved_comes_back_at_once() -> None:
    async with open_store() as store:
        for _ in range(20):
            task = asyncio.create_task(store.reserve([claim("k", 100, 100)], 30))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert (await store.reserve([claim("k", 100, 100)], 30))[1].admitted


async def test_after_a_restart_nothing_that_a_snapshot_brought_back_is_given() -> None:
    """A snapshot from before a purge would bring the purged text back."""
    prefix = new_prefix()
    async with open_store(prefix) as store:
        await store.put("k", b"v", ttl_s=60, tags=["doc"])
        raw().set(f"{{{prefix}}}:run", "another run of the server")
        async with open_store(prefix) as other:
            assert await other.get("k") is None
            await other.put("k", b"made before", ttl_s=60, tags=["doc"], age_s=30)
            assert await other.get("k") is None
            await other.put("k", b"made since", ttl_s=60, tags=["doc"])
            assert await other.get("k") == b"made since"


@pytest.mark.parametrize(
    "wrong",
    [
        "http://h",
        "valkey://:secret@h",
        "valkey://h/x",
        "valkey://",
        "valkey://h/0?ssl_cert_reqs=none",
        "unix:///tmp/s",
    ],
)
def test_an_address_that_cannot_be_meant_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError):
        valkey.Settings(url=wrong)


async def test_without_the_library_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bascule.plugins.state_stores.valkey.opening", None)
    with pytest.raises(ConfigError, match=r"bascule\[valkey\]"):
        async with open_store():
            pass


async def test_the_doctor_says_whether_a_shared_store_answers() -> None:
    assert await doctor.shared_state(MemoryState()) == []
    async with open_store() as store:
        assert [one.state for one in await doctor.shared_state(store)] == ["ok"]
        store._link._lose("for the test")
        assert [one.state for one in await doctor.shared_state(store)] == ["warn"]


async def test_the_password_is_used_and_a_wrong_one_is_a_clear_error() -> None:
    own = start()
    try:
        rights = ["~{mine}:*", "&{mine}:*", "+@all", "-@dangerous", "+info"]  # as docs/how-to/several-servers.md says
        own.client().execute_command("ACL", "SETUSER", "bascule", "on", ">own", *rights)
        own.client().config_set("requirepass", "right")
        async with open_store(at=url(own), password="right") as store:
            assert (await store.admit("k", 1, 60)).degraded is False
        for wrong in ("wrong", ""):
            with pytest.raises(ConfigError, match="refuses"):
                async with open_store(at=url(own), password=wrong):
                    pass
        at = url(own).replace("valkey://", "valkey://bascule@")
        async with open_store("mine", at=at, password="own") as store:
            await store.put("k", b"v", ttl_s=60, tags=["doc"])
            await until(lambda: store.near.healthy, 5)
            assert (await store.purge("doc"), (await store.admit("k", 1, 60)).degraded) == (1, False)
            assert not (await store.reserve([claim("k", 1, 1)], 30))[1].degraded
    finally:
        own.stop()
