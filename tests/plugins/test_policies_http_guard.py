"""A guard by HTTP, over real sockets: its verdicts, its silence, and what is sent to it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from bascule.core.errors import PolicyRefused, PolicyUnavailable
from bascule.core.policies import Matter
from bascule.plugins.policies import http_guard
from bascule.testing.gateway import ScriptedModel, call, http_client, request
from bascule.testing.policies import with_policies


class FakeGuard:
    def __init__(self) -> None:
        self.url = ""
        self.asked: list[tuple[Mapping[str, str], Any]] = []
        self.says: Any = {"action": "allow"}
        self.gate: asyncio.Event | None = None

    async def handle(self, asked: web.Request) -> web.Response:
        self.asked.append(({k.lower(): v for k, v in asked.headers.items()}, await asked.json()))
        if self.gate is not None:
            await self.gate.wait()
        if isinstance(self.says, int):
            return web.Response(status=self.says)
        return web.Response(body=self.says if isinstance(self.says, bytes) else json.dumps(self.says).encode())


@asynccontextmanager
async def fake_guard() -> AsyncIterator[FakeGuard]:
    guard, app = FakeGuard(), web.Application()
    app.router.add_post("/judge", guard.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        guard.url = f"http://127.0.0.1:{runner.addresses[0][1]}/judge"
        yield guard
    finally:
        await runner.cleanup()


def policy(guard: FakeGuard, http: Any, **fields: Any) -> http_guard.HttpGuardPolicy:
    return http_guard.HttpGuardPolicy(http_guard.Settings(url=guard.url, **fields), http, "guard-key")


MATTER = Matter(direction="in", model="fast", left_s=5.0)


async def test_it_is_asked_with_texts_direction_and_model_and_the_operators_key() -> None:
    async with fake_guard() as guard, http_client() as http:
        assert (await policy(guard, http).judge(["a", "b"], MATTER)).action == "pass"
        headers, body = guard.asked[0]
        assert body == {"direction": "in", "model": "fast", "texts": ["a", "b"]}
        assert headers["authorization"] == "Bearer guard-key"


async def test_it_refuses_and_rewrites_in_both_directions() -> None:
    async with fake_guard() as guard, http_client() as http:
        b = with_policies([model := ScriptedModel()], {"guard": policy(guard, http)}, cache_ttl_s=0)
        guard.says = {"action": "refuse", "reason": "off topic\n"}
        with pytest.raises(PolicyRefused, match="'guard' refused this request: off topic"):
            await b.gateway.chat(request("x"), call())
        guard.says = {"action": "mask", "texts": ["clean"]}
        response = await b.gateway.chat(request("dirty"), call())
        assert b"clean" in model.requests[0].body and b"dirty" not in model.requests[0].body
        assert response.text == "clean"


@pytest.mark.parametrize(
    "says", [500, b"no json", {"action": "other"}, {"action": "mask", "texts": []}, {"action": "mask"}, []]
)
async def test_one_that_does_not_answer_well_stops_the_call_or_lets_it_pass_as_configured(says: Any) -> None:
    async with fake_guard() as guard, http_client() as http:
        guard.says = says
        with pytest.raises(PolicyUnavailable):
            await policy(guard, http).judge(["a"], MATTER)
        verdict = await policy(guard, http, on_failure="pass").judge(["a"], MATTER)
        assert (verdict.action, verdict.degraded) == ("pass", True)


async def test_a_silent_one_is_given_up_in_time_and_a_call_that_passes_says_so() -> None:
    async with fake_guard() as guard, http_client() as http:
        guard.gate = asyncio.Event()
        slow = {"guard": policy(guard, http, timeout_s=0.05, on_failure="pass", directions=("in",))}
        b = with_policies([ScriptedModel()], slow)
        asked = call()
        await b.gateway.chat(request(), asked)
        assert asked.degraded == ["policy_unavailable:guard"] and asked.elapsed_s < 2
        strict = with_policies([model := ScriptedModel()], {"guard": policy(guard, http, timeout_s=0.05)})
        with pytest.raises(PolicyUnavailable) as caught:
            await strict.gateway.chat(request(), call())
        assert caught.value.http_status == 503 and not model.requests
