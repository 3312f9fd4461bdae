"""What every state store must do. Subclass `StateStoreContract`, give the fixtures `store` and `clock`, and pytest runs it.

`clock` has `now_s` (which the store reads as its monotonic and its wall clock, or a server's fake time) and `move(seconds)`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from bascule.core.state import Claim, StateStore


@dataclass
class HandClock:
    """Time that moves only when a test says so. It starts at the beginning of a UTC day."""

    now_s: float = 20_000 * 86_400.0

    def __call__(self) -> float:
        return self.now_s

    def move(self, seconds: float) -> None:
        self.now_s += seconds


def claim(key: str, amount: float, limit: float, window_s: float = 60.0) -> Claim:
    return Claim(key=key, amount=amount, limit=limit, window_s=window_s, name=f"limit of {key}")


class StateStoreContract:
    @pytest.fixture
    def clock(self) -> HandClock:
        return HandClock()

    async def test_what_was_put_is_got_until_its_time_is_over(self, store: StateStore, clock: HandClock) -> None:
        await store.put("k", b"v", ttl_s=10)
        clock.move(9.9)
        assert await store.get("k") == b"v"
        clock.move(0.2)
        assert await store.get("k") is None

    async def test_putting_again_replaces_value_time_and_tags(self, store: StateStore, clock: HandClock) -> None:
        await store.put("k", b"old", ttl_s=10, tags=["doc"])
        clock.move(9)
        await store.put("k", b"new", ttl_s=10)
        assert await store.purge("doc") == 0
        clock.move(9)
        assert await store.get("k") == b"new"

    async def test_deleting_removes_and_deleting_nothing_is_no_error(self, store: StateStore) -> None:
        await store.put("k", b"v", ttl_s=10)
        await store.delete("k")
        await store.delete("k")
        assert await store.get("k") is None

    async def test_purging_a_tag_removes_exactly_its_entries(self, store: StateStore) -> None:
        await store.put("a", b"1", ttl_s=10, tags=["doc-1", "doc-2"])
        await store.put("b", b"2", ttl_s=10, tags=["doc-2"])
        await store.put("c", b"3", ttl_s=10, tags=["doc-3"])
        assert await store.purge("doc-2") == 2
        assert [await store.get(k) for k in "abc"] == [None, None, b"3"]
        assert await store.purge("doc-1") == 0

    async def test_work_begun_before_a_purge_of_its_tag_is_not_kept(self, store: StateStore, clock: HandClock) -> None:
        clock.move(5)
        await store.purge("doc")
        clock.move(1)
        await store.put("late", b"deleted text", ttl_s=10, tags=["doc"], age_s=2.0)
        await store.put("other", b"fine", ttl_s=10, tags=["doc-2"], age_s=2.0)
        assert await store.get("late") is None
        assert await store.get("other") == b"fine"

    async def test_work_begun_after_a_purge_of_its_tag_is_kept(self, store: StateStore, clock: HandClock) -> None:
        await store.purge("doc")
        clock.move(2)
        await store.put("new", b"new version", ttl_s=10, tags=["doc"], age_s=1.0)
        assert await store.get("new") == b"new version"

    async def test_a_thousand_parallel_requests_at_a_limit_of_ten_admit_exactly_ten(self, store: StateStore) -> None:
        results = await asyncio.gather(*(store.admit("k", 10, 60) for _ in range(1000)))
        assert sum(r.admitted for r in results) == 10
        assert all(0 < r.retry_after_s <= 6.0 for r in results if not r.admitted)

    @pytest.mark.parametrize("limit", [1, 3, 7, 59, 60, 61, 997, 10_000])
    async def test_a_burst_admits_the_limit_whatever_the_fractions(self, store: StateStore, limit: int) -> None:
        results = [await store.admit("k", limit, 60) for _ in range(limit + 5)]
        assert [r.admitted for r in results] == [True] * limit + [False] * 5

    async def test_what_was_admitted_comes_back_evenly(self, store: StateStore, clock: HandClock) -> None:
        for _ in range(10):
            assert (await store.admit("k", 10, 60)).admitted
        clock.move((await store.admit("k", 10, 60)).retry_after_s + 0.001)
        assert (await store.admit("k", 10, 60)).admitted
        assert not (await store.admit("k", 10, 60)).admitted

    async def test_limits_of_two_keys_are_apart(self, store: StateStore) -> None:
        assert (await store.admit("a", 1, 60)).admitted
        assert (await store.admit("b", 1, 60)).admitted
        assert not (await store.admit("a", 1, 60)).admitted

    async def test_parallel_reservations_never_hold_more_than_the_limit(self, store: StateStore) -> None:
        results = await asyncio.gather(*(store.reserve([claim("k", 7, 100)], lease_s=30) for _ in range(1000)))
        assert sum(admission.admitted for _, admission in results) == 14

    async def test_all_claims_are_reserved_or_none(self, store: StateStore) -> None:
        both = [claim("tokens", 60, 100), claim("money", 2, 1, 86_400)]
        refused, admission = await store.reserve(both, lease_s=30)
        assert (refused, admission.admitted, admission.limit) == ("", False, "limit of money")
        assert (await store.reserve([claim("tokens", 100, 100)], lease_s=30))[1].admitted

    async def test_settling_replaces_what_was_reserved_by_what_was_used(self, store: StateStore) -> None:
        held, _ = await store.reserve([claim("k", 100, 100)], lease_s=30)
        assert not (await store.reserve([claim("k", 1, 100)], lease_s=30))[1].admitted
        await store.settle(held, [40])
        assert (await store.reserve([claim("k", 60, 100)], lease_s=30))[1].admitted
        assert not (await store.reserve([claim("k", 1, 100)], lease_s=30))[1].admitted

    async def test_settling_twice_changes_nothing(self, store: StateStore) -> None:
        held, _ = await store.reserve([claim("k", 50, 100)], lease_s=30)
        await store.settle(held, [50])
        await store.settle(held, [0])
        assert not (await store.reserve([claim("k", 51, 100)], lease_s=30))[1].admitted

    async def test_a_reservation_never_settled_is_given_back(self, store: StateStore, clock: HandClock) -> None:
        held, _ = await store.reserve([claim("k", 100, 100, 86_400)], lease_s=30)
        clock.move(29)
        assert not (await store.reserve([claim("k", 1, 100, 86_400)], lease_s=30))[1].admitted
        clock.move(2)
        assert (await store.reserve([claim("k", 100, 100, 86_400)], lease_s=300))[1].admitted
        await store.settle(held, [0])
        assert not (await store.reserve([claim("k", 1, 100, 86_400)], lease_s=30))[1].admitted

    async def test_a_new_window_starts_empty_and_a_refusal_says_when(self, store: StateStore, clock: HandClock) -> None:
        clock.move(15)
        await store.reserve([claim("k", 100, 100)], lease_s=300)
        _, refused = await store.reserve([claim("k", 1, 100)], lease_s=30)
        assert refused.retry_after_s == pytest.approx(45, abs=0.01)
        clock.move(45)
        assert (await store.reserve([claim("k", 100, 100)], lease_s=30))[1].admitted
