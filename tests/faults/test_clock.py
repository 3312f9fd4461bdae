"""The machine's clock jumps, by seconds or by days, forwards and backwards, while calls are made."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from bascule.plugins.state_stores.sqlite.store import SqliteState
from bascule.testing.after import nothing_leaked, wrongs
from bascule.testing.fault_proxy import HEALTHY
from bascule.testing.fault_world import fault_world
from bascule.testing.state_store_contract import HandClock, claim

DAY_S = 86_400.0
JUMPS_S = (1.0, -1.0, 3_600.0, -7_200.0, 40 * DAY_S, -80 * DAY_S, 400 * DAY_S)
STORES: tuple[dict[str, Any], ...] = ({"kind": "memory"}, {"kind": "sqlite"})


class Wall:
    """The machine's clock, set off by `off_s`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.off_s = 0.0
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() + self.off_s)


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Wall:
    return Wall(monkeypatch)


@pytest.mark.parametrize("store", STORES, ids=[store["kind"] for store in STORES])
async def test_calls_are_answered_kept_and_recorded_through_every_jump(
    tmp_path: Path, wall: Wall, store: dict[str, Any]
) -> None:
    async with fault_world(tmp_path, {"fast": HEALTHY}, timeout_s=5, state_store=store) as world:
        async with nothing_leaked(world):
            for jump_s in JUMPS_S:
                own = f"canary-{len(world.asked):032x}"
                first = await world.ask("fast", own=own)
                wall.off_s += jump_s
                again = await world.ask("fast", own=own)
                streamed = await world.ask("fast", stream=True)
                for said in (first, again, streamed):
                    assert (said.outcome, wrongs(said, 5)) == ("ok", [])
                # An answer is never given for longer than its lifetime by either clock.
                assert jump_s < DAY_S or again.headers["x-bascule-cache"] == "MISS"


@pytest.mark.parametrize("store", STORES, ids=[store["kind"] for store in STORES])
async def test_a_clock_set_back_or_forth_neither_opens_a_limit_nor_closes_it_for_longer_than_its_window(
    tmp_path: Path, wall: Wall, store: dict[str, Any]
) -> None:
    async with fault_world(tmp_path, {"fast": HEALTHY}, timeout_s=5, state_store=store, requests_per_min=3) as world:
        for jump_s in (0.0, -DAY_S, -DAY_S):
            wall.off_s += jump_s
            ends = [await world.ask("fast") for _ in range(6)]
            admitted = sum(said.outcome == "ok" for said in ends)
            assert admitted <= 3 and (jump_s or admitted == 3)
            waits = [said.retryable_in_s for said in ends if said.error]
            assert all(wait is not None and 0 < wait <= 61 for wait in waits)
            assert {said.error for said in ends if said.error} == {"rate_limit_exceeded"}
        if store["kind"] == "sqlite":  # its clock is the machine's; the memory store's cannot be set
            wall.off_s += 61
            assert (await world.ask("fast")).outcome == "ok"


async def test_a_store_by_the_machines_clock_waits_for_no_time_that_will_not_come(tmp_path: Path) -> None:
    clock = HandClock()
    store = await SqliteState.open(tmp_path / "state.sqlite", clock=clock)
    try:
        for _ in range(5):
            assert (await store.admit("k", 5, 60)).admitted
        clock.move(-3_600)
        refused = await store.admit("k", 5, 60)
        assert not refused.admitted and 0 < refused.retry_after_s <= 60
        clock.move(13)
        assert (await store.admit("k", 5, 60)).admitted
        assert not (await store.admit("k", 5, 60)).admitted

        lost = await store.lease("work", 3)
        clock.move(-3_600)
        assert lost.state == "mine"
        led = await store.lease("work", 3)
        assert led.state == "mine" and led.token > lost.token

        reservation, admission = await store.reserve([claim("money", 4, 10, DAY_S)], 30)
        clock.move(-60)
        await store.settle(reservation, [4])
        assert admission.admitted
        assert not (await store.reserve([claim("money", 7, 10, DAY_S)], 30))[1].admitted
    finally:
        await store.aclose()
