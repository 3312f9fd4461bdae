"""POST /v1/responses over real HTTP: headers, events, a cut in the middle, and what is never there."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest

from bascule.core.chat import OPENAI_RESPONSES
from bascule.core.errors import UpstreamTimeout, UpstreamUnavailable
from bascule.testing.server import ADMIN, FakeApp, serving

ASKED = {"model": "fast", "input": "Hi"}


@pytest.fixture
async def fake():
    app = FakeApp(server={"max_body_bytes": 20_000})
    headers = {"authorization": f"Bearer {ADMIN}"}
    async with serving(app) as (url, _), aiohttp.ClientSession(url, headers=headers) as http:
        yield app, http


async def events_of(reply: aiohttp.ClientResponse) -> list[tuple[str, Any]]:
    found = []
    for block in (await reply.text()).strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        data = fields["data"]
        found.append((fields.get("event", ""), data if data == "[DONE]" else json.loads(data)))
    return found


async def test_the_body_reaches_the_gateway_as_it_came(fake):
    app, http = fake
    raw = b'{ "model":"fast", "input":"Hi", "x": 1e0 }'
    async with http.post("/v1/responses", data=raw) as reply:
        assert reply.status == 200
        assert (reply.headers["x-bascule-cache"], reply.headers["x-request-id"]) == (
            "MISS",
            app.gateway.requests[0][1].id,
        )
    request, call = app.gateway.requests[0]
    assert (request.wire, request.body, request.model, request.stream) == (OPENAI_RESPONSES, raw, "fast", False)
    assert call.directives is None


@pytest.mark.parametrize("field", ["conversation", "background"])
async def test_what_leaves_a_trace_at_the_vendor_is_neither_kept_nor_shared(fake, field):
    app, http = fake
    async with http.post("/v1/responses", json={**ASKED, field: True}) as reply:
        assert reply.status == 200
    assert app.gateway.requests[0][1].directives.no_store


async def test_a_stream_is_passed_on(fake):
    app, http = fake
    async with http.post("/v1/responses", json={**ASKED, "stream": True}) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        assert [data for _, data in await events_of(reply)][-1] == "[DONE]"
    assert app.gateway.closed == 1


@pytest.mark.parametrize("cut", [UpstreamUnavailable("The model's answer was cut off."), True])
async def test_a_cut_stream_ends_in_an_error_event_with_the_next_number(fake, cut):
    app, http = fake
    app.gateway.cut = cut
    async with http.post("/v1/responses", json={**ASKED, "stream": True}) as reply:
        found = await events_of(reply)
    name, data = found[-1]
    assert (name, data["type"], data["sequence_number"]) == ("error", "error", len(found) - 1)
    assert data["code"] == data["error"]["code"] == "upstream_unavailable"
    assert data["message"] == data["error"]["message"]
    assert app.gateway.closed == 1


async def test_an_error_before_the_first_event_has_its_status(fake):
    app, http = fake
    app.gateway.fails = UpstreamTimeout("The model did not answer within the deadline.")
    for stream in (False, True):
        async with http.post("/v1/responses", json={**ASKED, "stream": stream}) as reply:
            assert (reply.status, (await reply.json())["error"]["code"]) == (504, "upstream_timeout")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": "Hi"}, "model"),
        ({**ASKED, "model": 5}, "model"),
        ({**ASKED, "stream": "yes"}, "stream"),
        ([], None),
    ],
)
async def test_a_malformed_request_is_refused_by_name(fake, body, param):
    app, http = fake
    async with http.post("/v1/responses", json=body) as reply:
        assert (reply.status, (await reply.json())["error"]["param"]) == (400, param)
    assert app.gateway.requests == []


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_no_response_is_kept_and_the_answer_says_so(fake, method):
    _, http = fake
    async with http.request(method, "/v1/responses/resp_1") as reply:
        assert reply.status == 404
        assert "not kept" in (await reply.json())["error"]["message"]
