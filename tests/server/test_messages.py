"""POST /v1/messages over real HTTP: what goes in as it is, what comes out in Anthropic's shape, errors and cut streams too."""

from __future__ import annotations

import json

import aiohttp
import pytest

from bascule.core.chat import ANTHROPIC_MESSAGES
from bascule.core.errors import LimitExceeded, ServerStopping, UpstreamRejected, UpstreamTimeout, UpstreamUnavailable
from bascule.testing.server import ADMIN, CHATTER, READER, FakeApp, serving

MESSAGES = "/v1/messages"
COUNT = "/v1/messages/count_tokens"
BODY = {"model": "fast", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}


def auth(key: str = CHATTER) -> dict[str, str]:
    return {"x-api-key": key}


async def test_the_bytes_reach_the_gateway_as_sent_and_the_id_is_in_the_header():
    app = FakeApp()
    sent = (
        b'{"model":"fast", "max_tokens":9,"messages":[{"role":"user","content":"Hi"}],  "vendor_extra":{"a":[1,2.50]}}'
    )
    async with serving(app) as (url, _), aiohttp.ClientSession() as http:
        async with http.post(url + MESSAGES, data=sent, headers=auth()) as reply:
            assert reply.status == 200
            assert reply.headers["request-id"] == reply.headers["x-request-id"]
            assert reply.headers["x-bascule-cache"] == "MISS"
    request, call = app.gateway.requests[0]
    assert (request.body, request.wire, request.betas) == (sent, ANTHROPIC_MESSAGES, ())
    assert request.view["vendor_extra"] == {"a": [1, 2.5]}
    assert call.principal.key_id == "k3"


async def test_betas_travel_with_the_request_each_once():
    app = FakeApp()
    async with serving(app) as (url, _), aiohttp.ClientSession() as http:
        headers = auth() | {"anthropic-beta": "one-2026-01-01, two-2026-01-01,one-2026-01-01"}
        async with http.post(url + MESSAGES, json=BODY, headers=headers) as reply:
            assert reply.status == 200
    assert app.gateway.requests[0][0].betas == ("one-2026-01-01", "two-2026-01-01")


@pytest.mark.parametrize("header", ["a b", ",".join(map(str, range(21))), "x" * 101])
async def test_a_header_that_is_no_list_of_names_is_refused(header):
    app = FakeApp()
    async with serving(app) as (url, _), aiohttp.ClientSession() as http:
        async with http.post(url + MESSAGES, json=BODY, headers=auth() | {"anthropic-beta": header}) as reply:
            assert (reply.status, (await reply.json())["error"]["type"]) == (400, "invalid_request_error")
    assert app.gateway.requests == []


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (
            LimitExceeded("Too many.", limit="requests per minute of this key", retry_after_s=3.2),
            429,
            "rate_limit_error",
        ),
        (UpstreamTimeout("Late."), 504, "timeout_error"),
        (UpstreamUnavailable("Down."), 502, "api_error"),
        (ServerStopping("Stopping."), 503, "overloaded_error"),
        (UpstreamRejected("No.", status=401, body=b"sk-secret", wire=ANTHROPIC_MESSAGES), 502, "api_error"),
        (UpstreamRejected("No.", status=402), 402, "billing_error"),
        (RuntimeError("secret prompt"), 500, "api_error"),
    ],
)
async def test_every_failure_is_told_in_anthropics_words(error, status, kind):
    app = FakeApp()
    app.gateway.fails = error
    async with serving(app) as (url, _), aiohttp.ClientSession() as http:
        async with http.post(url + MESSAGES, json=BODY, headers=auth()) as reply:
            text = await reply.text()
            told = json.loads(text)
            assert (reply.status, told["type"], told["error"]["type"]) == (status, "error", kind)
            assert told["request_id"] == reply.headers["request-id"]
            assert "secret" not in text
            if status == 429:
                assert (reply.headers["retry-after"], reply.headers["x-bascule-limit"]) == (
                    "4",
                    "requests per minute of this key",
                )


async def test_a_refusal_in_the_callers_format_is_passed_on_as_it_is():
    app = FakeApp()
    body = b'{"type":"error","error":{"type":"invalid_request_error","message":"max_tokens: too large"},"request_id":"req_1"}'
    app.gateway.fails = UpstreamRejected("No.", status=400, body=body, wire=ANTHROPIC_MESSAGES)
    async with serving(app) as (url, _), aiohttp.ClientSession() as http:
        async with http.post(url + MESSAGES, json=BODY, headers=auth()) as reply:
            assert (reply.status, await reply.read()) == (400, body)


@pytest.mark.parametrize("path", [MESSAGES, COUNT])
@pytest.mark.parametrize(
    ("key", "body", "status", "kind"),
    [
        ("", BODY, 401, "authentication_error"),
        ("wrong", BODY, 401, "authentication_error"),
        (READER, BODY, 403, "permission_error"),
        (ADMIN, {**BODY, "model": "rag/nowhere"}, 404, "not_found_error"),
        (ADMIN, {**BODY, "model": 5}, 400, "invalid_request_error"),
        (ADMIN, {**BODY, "messages": []}, 400, "invalid_request_error"),
        (ADMIN, [], 400, "invalid_request_error"),
    ],
)
async def test_what_is_refused_before_any_model_is_too(path, key, body, status, kind):
    app = FakeApp()
    async with serving(app) as (url, _), aiohttp.ClientSession() as http:
        async with http.post(url + path, json=body, headers=auth(key) if key else {}) as reply:
            told = await reply.json()
            assert (reply.status, told["type"], told["error"]["type"]) == (status, "error", kind)
    assert app.gateway.requests == []


@pytest.mark.parametrize("path", [MESSAGES, COUNT])
async def test_another_method_is_told_which_one_to_use(path):
    async with serving(FakeApp()) as (url, _), aiohttp.ClientSession() as http:
        async with http.get(url + path, headers=auth()) as reply:
            assert (reply.status, reply.headers["allow"], (await reply.json())["type"]) == (405, "POST", "error")


async def test_a_stream_that_is_cut_ends_with_anthropics_error_event():
    app = FakeApp()
    app.gateway.cut = True
    async with serving(app) as (url, _), aiohttp.ClientSession() as http:
        async with http.post(url + MESSAGES, json={**BODY, "stream": True}, headers=auth()) as reply:
            assert reply.status == 200
            events = (await reply.text()).strip().split("\n\n")
            request_id = reply.headers["x-request-id"]
    name, _, data = events[-1].partition("\n")
    assert name == "event: error"
    told = json.loads(data.removeprefix("data: "))
    assert told == {
        "type": "error",
        "error": {"type": "api_error", "message": "The model's answer was cut off."},
        "request_id": request_id,
    }
    assert app.gateway.closed > 0


async def test_a_body_over_the_limit_is_request_too_large():
    app = FakeApp(server={"max_body_bytes": 200})
    async with serving(app) as (url, _), aiohttp.ClientSession() as http:
        async with http.post(url + MESSAGES, json={**BODY, "system": "x" * 300}, headers=auth()) as reply:
            assert (reply.status, (await reply.json())["error"]["type"]) == (413, "request_too_large")
