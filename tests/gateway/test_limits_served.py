"""Limits as an operator configures them and a client meets them, over real HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bascule.settings import Exact
from bascule.testing.running import running, settings_for

ECHO: dict[str, Any] = {
    "rag": {"enabled": False},
    "providers": {"echo": {"kind": "echo"}},
    "models": {
        "fast": {"targets": [{"provider": "echo", "model": "echo", "output_usd_per_mtok": 1000.0}]},
        "scarce": {"targets": [{"provider": "echo", "model": "echo"}], "limits": {"requests_per_min": 1}},
    },
}


async def ask(http: aiohttp.ClientSession, key: str, text: str, **fields: Any) -> tuple[int, dict[str, str], Any]:
    body = {"model": "fast", "messages": [{"role": "user", "content": text}], "max_tokens": 20} | fields
    headers = {"authorization": f"Bearer {key}"}
    async with http.post("/v1/chat/completions", json=body, headers=headers) as reply:
        return reply.status, {k.lower(): v for k, v in reply.headers.items()}, await reply.json()


async def make(http: aiohttp.ClientSession, admin: str, **fields: Any) -> dict[str, Any]:
    async with http.post(
        "/v1/keys", json={"name": "n"} | fields, headers={"authorization": f"Bearer {admin}"}
    ) as reply:
        assert reply.status in (200, 201), await reply.text()
        made: dict[str, Any] = await reply.json()
        return made


async def test_a_client_is_told_which_limit_refused_it_and_when_to_come_again(tmp_path: Path) -> None:
    limits = {"tenant": {"requests_per_min": 2}, "tenants": {"big": {"requests_per_min": 100}}}
    async with (
        running(settings_for(tmp_path, **ECHO, limits=limits)) as (url, _, admin),
        aiohttp.ClientSession(url) as http,
    ):
        for i in range(2):
            assert (await ask(http, admin, f"{i}"))[0] == 200
        status, headers, body = await ask(http, admin, "x")
        assert (status, headers["x-bascule-limit"]) == (429, "requests per minute of this tenant")
        assert 1 <= int(headers["retry-after"]) <= 60
        assert body["error"]["code"] == "rate_limit_exceeded" and "this tenant" in body["error"]["message"]
        assert "default" not in str(body)


async def test_a_models_limit_and_a_keys_own_budgets_hold(tmp_path: Path) -> None:
    async with running(settings_for(tmp_path, **ECHO)) as (url, _, admin), aiohttp.ClientSession(url) as http:
        assert (await ask(http, admin, "a", model="scarce"))[0] == 200
        status, headers, _ = await ask(http, admin, "b", model="scarce")
        assert (status, headers["x-bascule-limit"]) == (429, "requests per minute of this model")
        made = await make(http, admin, usd_per_month=0.001, concurrent=3)
        assert (made["usd_per_month"], made["concurrent"]) == (0.001, 3)
        status, headers, _ = await ask(http, made["key"], "a")  # 20 tokens of answer may cost 0.02 USD
        assert (status, headers["x-bascule-limit"]) == (429, "USD per month of this key")
        assert int(headers["retry-after"]) >= 1
        rich = await make(http, admin, usd_per_month=100.0)
        assert (await ask(http, rich["key"], "a"))[0] == 200


async def test_the_servers_defaults_hold_for_keys_that_say_nothing(tmp_path: Path) -> None:
    gateway = {"requests_per_min": 1}
    async with (
        running(settings_for(tmp_path, **ECHO, gateway=gateway)) as (url, _, admin),
        aiohttp.ClientSession(url) as http,
    ):
        plain = await make(http, admin, usd_per_day=5.0)
        own = await make(http, admin, requests_per_min=2)
        for key, allowed in ((plain["key"], 1), (own["key"], 2)):
            found = [(await ask(http, key, f"{i}"))[0] for i in range(3)]
            assert found == [200] * allowed + [429] * (3 - allowed)


@pytest.mark.parametrize(
    "bad",
    [
        {"limits": {"tenant": {"usd_per_day": float("nan")}}},
        {"limits": {"tenant": {"concurrent": 0}}},
        {"limits": {"user": {"requests": 5}}},
        {"limits": {"tenants": {"acme": {"tokens_per_min": -1}}}},
        {"gateway": {"usd_per_month": float("inf")}},
    ],
    ids=str,
)
def test_a_limit_that_would_limit_nothing_is_refused_at_start(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        Exact(**bad)
