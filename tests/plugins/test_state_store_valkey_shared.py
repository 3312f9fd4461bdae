"""Several servers on one Valkey: limits are exact over all of them."""

from __future__ import annotations

import asyncio

import pytest

from bascule.core.state import Claim
from bascule.gateway.routes import Limits
from bascule.testing.limits import admitted
from bascule.testing.state_store_contract import HandClock, claim
from bascule.testing.valkey import new_prefix
from bascule.testing.valkey import store as open_store


@pytest.mark.parametrize("kind", ["slot", "window", "month"])
async def test_a_thousand_parallel_reservations_over_two_servers_at_a_limit_of_ten_are_ten(kind: str) -> None:
    one = Claim(key="k", amount=1, limit=10, window_s=86_400, name="n", kind=kind)  # type: ignore[arg-type]
    prefix = new_prefix()
    async with open_store(prefix, timeout_s=5) as a, open_store(prefix, timeout_s=5) as b:
        results = await asyncio.gather(*((a, b)[i % 2].reserve([one], 30) for i in range(1000)))
        assert sum(admission.admitted for _, admission in results) == 10
        assert not any(admission.degraded for _, admission in results)
        ids = [held for held, admission in results if admission.admitted]
        assert len(set(ids)) == 10
        await b.settle(ids[0], [0.0])
        assert (await a.reserve([one], 30))[1].admitted
        assert not (await b.reserve([one], 30))[1].admitted


async def test_a_thousand_parallel_requests_over_two_servers_at_a_limit_of_ten_admit_ten() -> None:
    prefix = new_prefix()
    async with open_store(prefix, timeout_s=5) as a, open_store(prefix, timeout_s=5) as b:
        results = await asyncio.gather(*((a, b)[i % 2].admit("k", 10, 3600) for i in range(1000)))
    assert sum(r.admitted for r in results) == 10


@pytest.mark.parametrize(
    "limits",
    [
        Limits(requests_per_min=10),
        Limits(concurrent=10),
        Limits(tokens_per_min=5_500),
        Limits(usd_per_day=0.01),
        Limits(usd_per_month=0.01),
    ],
    ids=["requests", "concurrent", "tokens", "day", "month"],
)
async def test_gateways_on_one_valkey_admit_together_what_one_would(limits: Limits) -> None:
    prefix, clock = new_prefix(), HandClock()  # no minute ends in the middle
    async with open_store(prefix, timeout_s=5, clock=clock) as a, open_store(prefix, timeout_s=5, clock=clock) as b:
        refusals = await admitted([a, b], limits, calls=400)
    assert refusals.count(None) == 10
    told = [refusal for refusal in refusals if refusal is not None]
    assert all(refusal.limit and (refusal.retry_after_s or 0) > 0 for refusal in told)


async def test_reservations_and_settlements_of_many_servers_in_disorder_never_exceed_the_limit() -> None:
    prefix, most, held = new_prefix(), 0, 0.0
    async with open_store(prefix, timeout_s=5) as a, open_store(prefix, timeout_s=5) as b:

        async def one(number: int) -> None:
            nonlocal most, held
            store = (a, b)[number % 2]
            reserved, admission = await store.reserve([claim("k", 7, 50, 86_400)], 30)
            if admission.admitted:
                held += 7
                most = max(most, int(held))
                await asyncio.sleep(0)
                held -= 7
                await (b, a)[number % 2].settle(reserved, [0.0])

        await asyncio.gather(*map(one, range(600)))
        assert 0 < most <= 50
        assert (await a.reserve([claim("k", 50, 50, 86_400)], 30))[1].admitted
