"""Callers who leave at any instant, over pools of very few connections: nobody ever gets another's answer, nothing is left.

1,000 calls, or the promised 100,000 with BASCULE_TEST_FULL=1.
"""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import aiohttp
import pytest

from bascule.testing.after import no_descriptor_leaked, nothing_leaked, wrongs
from bascule.testing.fault_proxy import HEALTHY, Plan
from bascule.testing.fault_world import Said, World, canary, fault_world
from bascule.testing.upstream import Fault

CALLS = 100_000 if os.environ.get("BASCULE_TEST_FULL") else 1_000
SEED = 20261124
AT_ONCE = 24
DEADLINE_S = 10.0


class Crowd:
    """`AT_ONCE` callers one after the other: some stay, some leave after a moment drawn by chance."""

    def __init__(self, world: World, chance: random.Random) -> None:
        self._world = world
        self._chance = chance
        self._shared = [canary() for _ in range(10)]
        self.left = 0
        self.told: dict[str, int] = {}
        self.wrong: list[str] = []

    async def run(self, calls: int) -> None:
        turns = iter(range(calls))

        async def caller() -> None:
            for _ in turns:
                await self._one()

        await asyncio.gather(*(caller() for _ in range(AT_ONCE)))

    async def _one(self) -> None:
        chance = self._chance
        own = chance.choice(self._shared) if chance.random() < 0.2 else canary()
        model, stream = chance.choice(list(self._world.proxies)), chance.random() < 0.5
        # Before the headers, in the body, in the stream, or never.
        stays_s = chance.choice((0.0, 0.001, 0.004, 0.01, 0.02, 0.05, None, None))
        extra = {"temperature": chance.random()} if chance.random() < 0.3 else {}
        try:
            async with asyncio.timeout(stays_s):
                said = await self._world.ask(model, own=own, stream=stream, **extra)
        except TimeoutError:
            self.left += 1
            return
        except aiohttp.ClientError as error:
            self.wrong.append(f"no answer: {type(error).__name__}")
            return
        self._judge(said)

    def _judge(self, said: Said) -> None:
        self.told[said.outcome] = self.told.get(said.outcome, 0) + 1
        self.wrong += wrongs(said, DEADLINE_S)


@pytest.mark.timeout(3600 if os.environ.get("BASCULE_TEST_FULL") else 120)
@pytest.mark.parametrize("pool_size", [2, 4])
async def test_callers_who_leave_at_any_instant_leave_nothing_and_never_get_anothers_answer(
    tmp_path: Path, pool_size: int
) -> None:
    plans = {"well": HEALTHY, "torn": Plan(slice_bytes=60)}
    async with no_descriptor_leaked():
        async with fault_world(tmp_path, plans, timeout_s=DEADLINE_S, pool_size=pool_size) as world:
            world.upstream.always = Fault(delay_s=0.002)
            crowd = Crowd(world, random.Random(SEED + pool_size))
            async with nothing_leaked(world):
                await crowd.run(CALLS // 2)
            assert crowd.wrong == []
            assert set(crowd.told) == {"ok"}
            assert crowd.left > CALLS // 10 < crowd.told["ok"]
            assert all(proxy.open <= pool_size for proxy in world.proxies.values())
