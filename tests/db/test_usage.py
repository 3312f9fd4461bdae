"""Usage added up on both engines: by day, model and key, and only of what one may see."""

import pytest

from bascule.core.calls import CallRecord
from bascule.core.ids import new_id
from bascule.testing.catalogue_world import admin, person

DAY_S = 86_400
NOON_S = 20_000 * DAY_S + 43_200.0  # 2024-10-04


def a_record(**given):
    told = {
        "id": new_id(), "tenant": "t", "subject": "ann", "key_id": "k1", "operation": "chat", "model": "fast", "provider": "p",
        "provider_model": "m", "started_at_s": NOON_S, "latency_s": 0.1, "outcome": "ok", "input_tokens": 10,
        "output_tokens": 5, "cost_usd": 0.5, "cache": "MISS",
        "first_byte_s": None, "cache_reason": "", "error": "", "attempts": (),
    }  # fmt: skip
    return CallRecord(**{**told, **given})


async def test_calls_are_added_up_by_day_model_and_key(catalogue):
    tenant = admin().tenant
    await catalogue.add_calls([
        a_record(tenant=tenant),
        a_record(tenant=tenant, cache="HIT", cost_usd=0.0, input_tokens=10, output_tokens=5),
        a_record(tenant=tenant, outcome="error", cost_usd=None, input_tokens=0, output_tokens=0),
        a_record(tenant=tenant, started_at_s=NOON_S - DAY_S),
        a_record(tenant=tenant, model="slow", key_id="k2", subject="ben"),
        a_record(tenant=tenant, started_at_s=NOON_S - 90 * DAY_S),
        a_record(tenant="rival"),
    ])  # fmt: skip
    found = await catalogue.usage(admin(), NOON_S - 2 * DAY_S)
    assert [(row.day, row.model, row.key_id, row.calls) for row in found] == [
        ("2024-10-04", "fast", "k1", 3),
        ("2024-10-04", "slow", "k2", 1),
        ("2024-10-03", "fast", "k1", 1),
    ]
    first = found[0]
    assert (first.failed, first.hits, first.input_tokens, first.output_tokens) == (1, 1, 20, 10)
    assert first.cost_usd == pytest.approx(0.5)
    assert [row.key_id for row in await catalogue.usage(person("ben"), 0.0)] == ["k2"]
    assert await catalogue.usage(person("ben", tenant="rival"), 0.0) == []
