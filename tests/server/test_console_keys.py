"""Keys and what they came to on the console's pages: limits that are none, keys that work no more, two of one name."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import aiohttp
import msgspec
import pytest

from bascule.core.usage import UsageRow, UsageRows
from bascule.testing.samples import a_key
from bascule.testing.server import ADMIN, FakeApp, serving


@pytest.fixture
async def fake():
    app = FakeApp()
    async with serving(app) as (url, _):
        jar = aiohttp.CookieJar(unsafe=True)
        async with aiohttp.ClientSession(url, cookie_jar=jar, headers={"origin": url}) as http:
            await http.post("/console/login", data={"key": ADMIN})
            yield app, http


async def page(http: aiohttp.ClientSession, path: str, status: int = 200, **headers: str) -> str:
    async with http.get(path, headers=headers) as reply:
        assert reply.status == status, await reply.text()
        return await reply.text()


async def make(http: aiohttp.ClientSession, **form: str) -> tuple[int, str]:
    token = re.search(r'name="csrf" value="([^"]*)"', await page(http, "/console/keys"))
    assert token is not None
    async with http.post("/console/keys", data={"name": "till", "csrf": token[1], **form}) as reply:
        return reply.status, await reply.text()


LIMITS = ("usd_per_day", "usd_per_month", "requests_per_min", "tokens_per_min", "concurrent")


@pytest.mark.parametrize("wrong", ["nan", "inf", "-inf", "1e999", "NaN"])
async def test_a_budget_that_is_no_number_is_refused_by_name_and_is_not_no_budget(fake, wrong):
    app, http = fake
    for name in LIMITS[:2]:
        status, told = await make(http, **{name: wrong})
        assert status in (400, 422) and name in told
    assert not hasattr(app.keys, "made")


async def test_every_limit_can_be_given_on_the_page(fake):
    app, http = fake
    form = await page(http, "/console/keys")
    assert all(f'name="{name}"' in form for name in LIMITS)
    status, told = await make(http, **dict.fromkeys(LIMITS, "3"))
    assert status == 200, told
    assert {name: app.keys.made[name] for name in LIMITS} == dict.fromkeys(LIMITS, 3)


async def test_a_key_whose_time_is_over_is_not_shown_as_working_and_has_no_budget(fake):
    app, http = fake
    now = datetime.now(UTC)
    old, new = (
        msgspec.structs.replace(a_key(f"k{days}"), name=name, expires_at=at.isoformat(), usd_per_day=2.0)
        for days, name, at in ((1, "over", now - timedelta(days=1)), (2, "lasts", now + timedelta(days=1)))
    )

    async def kept(principal):
        return [old, new]

    app.keys.list = kept
    shown = await page(http, "/console/keys")
    assert shown.index("lasts") < shown.index("over")
    assert shown.count("works until") == 1 and f"expired {(now - timedelta(days=1)).date()}" in shown
    budgets = (await page(http, "/console/operations")).partition("Budgets of keys")[2]
    assert "lasts" in budgets and "over" not in budgets


async def test_two_keys_of_one_name_are_counted_apart_and_what_is_left_out_is_told(fake):
    app, http = fake
    pair = [msgspec.structs.replace(a_key(i), prefix=f"bsk_{i}") for i in ("one", "two")]
    rows = [
        UsageRow(
            day=f"{datetime.now(UTC):%Y-%m-%d}", model="fast", key_id=key.id, calls=calls, failed=0, hits=0,
            input_tokens=1, output_tokens=1, cost_usd=0.0,
        )
        for key, calls in zip(pair, (7111, 8222), strict=True)
    ]  # fmt: skip

    async def kept(principal):
        return pair

    async def usage(principal, since_s):
        return UsageRows(rows, more=True)

    assert "sums fall short" not in await page(http, "/console/operations")
    app.keys.list, app.catalogue.usage = kept, usage
    shown = await page(http, "/console/operations")
    assert "sums fall short" in shown
    by_key = shown.partition("Usage, by key")[2]
    assert "demo (bsk_one…)" in by_key and "demo (bsk_two…)" in by_key
    assert "7,111" in by_key and "8,222" in by_key and "15,333" not in by_key


async def test_no_other_site_makes_somebody_read_what_is_noted_in_the_audit_log(fake):
    _, http = fake
    http.cookie_jar.clear()
    for path, by_itself in (
        ("/console/operations", True),
        ("/console/keys", True),
        ("/console/answers/a1?truth=on", False),
        ("/console/answers/a1", False),
        ("/console/calls/c1", False),
        ("/console/calls", False),
        ("/console/review", False),
        ("/console/evaluations/r1", False),
    ):
        told = await page(http, path, **{"sec-fetch-site": "cross-site"})
        assert ('http-equiv="refresh"' in told) is by_itself, path
        assert by_itself or "Go on to the page" in told
