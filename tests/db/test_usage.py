"""Usage added up on both engines: by day, model and key, and only of what one may see."""

import msgspec
import pytest
import sqlalchemy as sa

from bascule.core.calls import CallRecord
from bascule.core.ids import new_id
from bascule.db import usage
from bascule.db.tables import calls
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
    told = await catalogue.usage(admin(), NOON_S - 2 * DAY_S)
    found, more = told.rows, told.more
    assert not more
    assert [(row.day, row.model, row.key_id, row.calls) for row in found] == [
        ("2024-10-04", "fast", "k1", 3),
        ("2024-10-04", "slow", "k2", 1),
        ("2024-10-03", "fast", "k1", 1),
    ]
    first = found[0]
    assert (first.failed, first.hits, first.input_tokens, first.output_tokens) == (1, 1, 20, 10)
    assert first.cost_usd == pytest.approx(0.5)
    assert [row.key_id for row in (await catalogue.usage(person("ben"), 0.0)).rows] == ["k2"]
    assert not (await catalogue.usage(person("ben", tenant="rival"), 0.0)).rows


async def test_a_nul_in_a_kept_label_makes_no_sum_fail(catalogue):
    """The server keeps none; records of before, and other labels, may hold one."""
    marks = ("a\0b", "a\\\0b", "\\u0000", "\0\0")
    await catalogue.add_calls([a_record(tenant=admin().tenant, end_user=mark) for mark in marks])
    (row,) = (await catalogue.usage(admin(), 0.0)).rows
    assert (row.calls, row.input_tokens) == (4, 40)


async def test_sums_are_larger_than_an_integer_and_no_vendors_nonsense_makes_them_fail(catalogue):
    counts = (1_500_000_000, 1_500_000_000, 10**30, -5)
    await catalogue.add_calls([a_record(tenant=admin().tenant, input_tokens=count) for count in counts])
    (row,) = (await catalogue.usage(admin(), 0.0)).rows
    assert row.input_tokens == 3_000_000_000 + 10**12


async def test_rows_that_are_left_out_are_told(catalogue, monkeypatch):
    monkeypatch.setattr(usage, "MOST_ROWS", 2)
    tenant = admin().tenant
    await catalogue.add_calls([a_record(tenant=tenant, started_at_s=NOON_S - day * DAY_S) for day in range(3)])
    found = await catalogue.usage(admin(), 0.0)
    assert [row.day for row in found.rows] == ["2024-10-04", "2024-10-03"] and found.more
    found = await catalogue.usage(admin(), NOON_S - 1.5 * DAY_S)
    assert len(found.rows) == 2 and not found.more


async def test_a_record_that_holds_half_a_character_is_found_by_its_model(catalogue):
    await catalogue.add_calls([a_record(tenant=admin().tenant, end_user="\ud800")])
    body = await catalogue._call_database.read(lambda c: c.execute(sa.select(calls.c.body)).scalar_one())
    assert '"model":"fast"' in body and msgspec.json.decode(body)["end_user"] == "?"
