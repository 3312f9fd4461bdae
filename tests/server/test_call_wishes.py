"""What a caller wishes by header, over real HTTP."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from bascule.core.calls import CacheDirectives
from bascule.server.cache_wishes import directives
from bascule.testing.server import CHATTER, FakeApp, serving

BODY = {"model": "fast", "messages": [{"role": "user", "content": "hi"}]}
PROVIDERS = {"p": {"kind": "echo"}}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("no-store", CacheDirectives(no_store=True)),
        ("No-Cache, max-age=5", CacheDirectives(no_cache=True, max_age_s=5)),
        ("only-if-cached", CacheDirectives(only_if_cached=True)),
        ('max-age="60"', CacheDirectives(max_age_s=60)),
        ("max-age=soon", None),
        ("max-stale=9, no-transform, x=y", None),
        ("", None),
    ],
)
def test_directives_of_the_standard_are_understood_and_others_ignored(text: str, found: CacheDirectives | None) -> None:
    assert directives(text) == found


@pytest.mark.parametrize(
    ("model", "header", "expected_s"),
    [
        ({}, None, 15.0),
        ({"batch": True}, None, 120.0),
        ({"timeout_s": 40}, None, 40.0),
        ({"timeout_s": 40, "batch": True}, None, 40.0),
        ({}, "2.5", 2.5),
        ({}, "600", 15.0),
        ({"batch": True}, "60", 60.0),
    ],
)
async def test_a_call_has_its_models_time_or_less_where_the_caller_asks(
    model: dict, header: str | None, expected_s: float
) -> None:
    models = {"fast": {"targets": [{"provider": "p", "model": "m"}], **model}}
    app = FakeApp(providers=PROVIDERS, models=models)
    headers = {"authorization": f"Bearer {CHATTER}"} | ({"x-bascule-timeout-s": header} if header else {})
    async with serving(app) as (url, _), aiohttp.ClientSession(url) as http:
        async with http.post("/v1/chat/completions", json=BODY, headers=headers) as reply:
            assert reply.status == 200
    call = app.gateway.requests[0][1]
    assert call.deadline.at_s - call.started_s == pytest.approx(expected_s, abs=0.2)


@pytest.mark.parametrize("header", ["soon", "0", "-1", "nan"])
async def test_a_time_that_is_none_is_refused(header: str) -> None:
    app = FakeApp()
    headers = {"authorization": f"Bearer {CHATTER}", "x-bascule-timeout-s": header}
    async with serving(app) as (url, _), aiohttp.ClientSession(url) as http:
        async with http.post("/v1/chat/completions", json=BODY, headers=headers) as reply:
            assert reply.status == 400
    assert not app.gateway.requests
    await asyncio.sleep(0)
