"""Valkey is lost, silent, flushed, restarted, full: callers get their answers in time, and limits hold."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bascule.plugins.state_stores.valkey import link
from bascule.plugins.state_stores.valkey.store import ValkeyState
from bascule.testing.after import wrongs
from bascule.testing.fault_proxy import HEALTHY, FaultProxy, Plan, fault_proxy
from bascule.testing.fault_world import Said, World, canary, fault_world
from bascule.testing.running import until
from bascule.testing.upstream import Fault
from bascule.testing.valkey import new_prefix, raw, start, url

DEADLINE_S = 2.0


@pytest.fixture(autouse=True)
def soon_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "RETRY_S", 0.05)


@asynccontextmanager
async def world_on(at: str, data: Path, prefix: str = "", **gateway: Any) -> AsyncIterator[tuple[World, ValkeyState]]:
    store = {"kind": "valkey", "url": at, "prefix": prefix or new_prefix()}
    async with fault_world(data, {"fast": HEALTHY}, timeout_s=DEADLINE_S, state_store=store, **gateway) as world:
        assert isinstance(world.app.state, ValkeyState)
        yield world, world.app.state


@asynccontextmanager
async def behind_a_door(
    data: Path, plan: Plan = HEALTHY, prefix: str = "", **gateway: Any
) -> AsyncIterator[tuple[World, ValkeyState, FaultProxy]]:
    async with fault_proxy(url(), plan) as door:
        async with world_on(f"valkey://127.0.0.1:{door.port}", data, prefix, **gateway) as (world, store):
            yield world, store, door


def notes(said: Said) -> set[str]:
    assert wrongs(said, DEADLINE_S) == []
    return set(filter(None, said.headers.get("x-bascule-degraded", "").split(", ")))


async def test_lost_and_found_again_every_caller_is_answered_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, link.__name__)
    lost = link.LOST._value.get()
    async with behind_a_door(tmp_path) as (world, store, door):
        assert notes(await world.ask("fast")) == set()
        await door.close_door()
        for _ in range(10):
            said = await world.ask("fast")
            assert said.outcome == "ok"
            assert notes(said) >= {"limits_alone", "cache_unavailable"}
        assert link.AWAY._value.get() == 1
        await door.open_door()
        await until(lambda: store.up, 5)
        own = canary()
        verdicts = []
        for _ in range(2):
            said = await world.ask("fast", own=own)
            assert notes(said) == set()
            verdicts.append(said.headers["x-bascule-cache"])
        assert verdicts == ["MISS", "HIT"]
    told = [record.message.split(":")[0] for record in caplog.records if record.name == link.__name__]
    away, back = "the state store is away, limits are decided by this server alone", "the state store is back"
    assert told == [away, back]
    assert (link.LOST._value.get() - lost, link.AWAY._value.get()) == (1, 0)


async def test_while_it_is_away_a_server_admits_its_own_share(tmp_path: Path) -> None:
    async with behind_a_door(tmp_path, requests_per_min=10) as (world, _, door):
        await door.close_door()
        outcomes = [(await world.ask("fast")).outcome for _ in range(12)]
    assert outcomes == ["ok"] * 5 + ["rate_limit_exceeded"] * 7


async def test_silent_in_the_middle_of_a_call_it_is_answered_and_settled_when_the_server_is_back(
    tmp_path: Path,
) -> None:
    swallowed, prefix = False, new_prefix()
    plan = Plan(edit=lambda piece: b"" if swallowed else piece)
    async with behind_a_door(tmp_path, plan, prefix, concurrent=1) as (world, store, _):
        gate = asyncio.Event()
        world.upstream.always = Fault(gate=gate)
        asking = asyncio.create_task(world.ask("fast"))
        await until(lambda: world.upstream.calls, 2)
        swallowed = True
        gate.set()
        said = await asking
        assert said.outcome == "ok"
        assert "limits_unavailable" in notes(said)
        alone = await world.ask("fast")
        assert "limits_alone" in notes(alone)
        swallowed = False
        await until(lambda: store.up and raw().hlen(f"{{{prefix}}}:held") == 0, 5)
        assert notes(await world.ask("fast")) == set()


async def test_flushed_and_restarted_it_goes_on(tmp_path: Path) -> None:
    own = start()
    port = own.port
    try:
        async with world_on(url(own), tmp_path) as (world, store):
            told = canary()
            await world.ask("fast", own=told)
            assert (await world.ask("fast", own=told)).headers["x-bascule-cache"] == "HIT"
            own.client().flushall()
            await until(lambda: len(store.near) == 0, 3)
            again = await world.ask("fast", own=told)
            assert (again.headers["x-bascule-cache"], notes(again)) == ("MISS", set())
            own.stop()
            assert "limits_alone" in notes(await world.ask("fast"))
            own.__init__(port=port, config={"save": ""})  # type: ignore[misc]
            own.start()
            await until(lambda: store.up, 10)
            assert notes(await world.ask("fast")) == set()
    finally:
        own.stop()


async def test_a_server_that_hangs_delays_a_call_once_and_full_it_is_as_if_away(tmp_path: Path) -> None:
    own = start()
    try:
        async with world_on(url(own), tmp_path) as (world, store):
            assert own._process is not None
            os.kill(own._process.pid, signal.SIGSTOP)
            try:
                first = await world.ask("fast")
                assert "limits_alone" in notes(first)
                quick = await world.ask("fast")
                assert (quick.outcome, quick.took_s < 0.25) == ("ok", True)
            finally:
                os.kill(own._process.pid, signal.SIGCONT)
            await until(lambda: store.up, 10)
            assert notes(await world.ask("fast")) == set()
            own.client().config_set("maxmemory", 1)
            assert notes(await world.ask("fast")) >= {"limits_alone", "cache_unavailable"}
            own.client().config_set("maxmemory", 0)
            assert notes(await world.ask("fast")) == set()
    finally:
        own.stop()
