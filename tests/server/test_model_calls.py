"""The hot routes over real HTTP: formats, headers, streams, cut streams, clients that leave."""

from __future__ import annotations

import asyncio
import base64
import json

import aiohttp
import pytest

from bascule.core.errors import AllTargetsFailed, LimitExceeded, UpstreamRejected, UpstreamUnavailable
from bascule.testing.server import ADMIN, CHATTER, READER, FakeApp, serving, until

CHAT = "/v1/chat/completions"
BODY = {"model": "fast", "messages": [{"role": "user", "content": "Hi"}]}


def auth(key: str = CHATTER) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


async def test_a_chat_call_is_answered_with_the_providers_bytes_and_the_verdict_in_headers():
    app = FakeApp()
    async with serving(app) as (url, _), aiohttp.ClientSession() as http:
        async with http.post(url + CHAT, json=BODY, headers=auth()) as reply:
            answer = await reply.json()
            assert reply.status == 200
            assert answer["choices"][0]["message"]["content"] == "Hello there"
            assert reply.headers["x-bascule-cache"] == "MISS"
            assert reply.headers["x-bascule-cache-reason"] == "first time"
            assert reply.headers["x-request-id"] == app.gateway.requests[0][1].id
            assert reply.headers["cache-control"] == "private, no-store"
            assert reply.headers["x-content-type-options"] == "nosniff"
            assert "server" not in reply.headers


async def test_unknown_fields_reach_the_gateway_in_the_bytes_as_sent():
    app = FakeApp()
    sent = b'{"model":"fast","messages":[{"role":"user","content":"Hi"}],  "vendor_extra":{"a":[1,2.50]}}'
    async with serving(app) as (url, _), aiohttp.ClientSession() as http:
        async with http.post(url + CHAT, data=sent, headers=auth()) as reply:
            assert reply.status == 200
    assert app.gateway.requests[0][0].body == sent


async def test_the_key_may_come_as_x_api_key():
    async with serving(FakeApp()) as (url, _), aiohttp.ClientSession() as http:
        async with http.post(url + CHAT, json=BODY, headers={"x-api-key": CHATTER}) as reply:
            assert reply.status == 200


async def test_the_callers_cache_wishes_travel_with_the_call():
    app = FakeApp()
    async with serving(app) as (url, _), aiohttp.ClientSession() as http:
        headers = auth() | {"cache-control": "no-cache, max-age=30"}
        async with http.post(url + CHAT, json=BODY, headers=headers) as reply:
            assert reply.status == 200
        async with http.post(url + CHAT, json=BODY, headers=auth()) as reply:
            assert reply.status == 200
    wishes = app.gateway.requests[0][1].directives
    assert (wishes.no_cache, wishes.no_store, wishes.max_age_s) == (True, False, 30.0)
    assert app.gateway.requests[1][1].directives is None


async def test_the_deadline_is_the_models_own_where_it_has_one():
    models = {"fast": {"targets": [{"provider": "p", "model": "m"}], "timeout_s": 3}}
    app = FakeApp(providers={"p": {"kind": "echo"}}, models=models)
    async with serving(app) as (url, _), aiohttp.ClientSession() as http:
        for model in ("fast", "other"):
            async with http.post(url + CHAT, json=BODY | {"model": model}, headers=auth()) as reply:
                assert reply.status == 200
    own, default = (call.deadline.left_s() for _, call in app.gateway.requests)
    assert own < 3.01 and 10 < default < 15.01


@pytest.mark.parametrize(
    ("sent", "param"),
    [
        (b"{", None),
        (b"[1]", None),
        (b'"text"', None),
        (b'{"model":"fast"}', "messages"),
        (b'{"messages":[{}]}', "model"),
        (b'{"model":7,"messages":[{}]}', "model"),
        (b'{"model":"fast","messages":[]}', "messages"),
        (b'{"model":"fast","messages":[{}],"stream":"yes"}', "stream"),
        (b"\xff\xfe{}", None),
        (b"[" * 100_000, None),
    ],
)
async def test_a_malformed_chat_body_is_a_400_in_openais_shape(sent, param):
    async with serving(FakeApp()) as (url, _), aiohttp.ClientSession() as http:
        async with http.post(url + CHAT, data=sent, headers=auth()) as reply:
            error = (await reply.json())["error"]
            assert reply.status == 400
            assert set(error) == {"message", "type", "param", "code"}
            assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_request")
            assert error["param"] == param


async def test_no_key_or_a_wrong_one_is_a_401_that_names_the_scheme():
    async with serving(FakeApp()) as (url, _), aiohttp.ClientSession() as http:
        for headers in ({}, auth("bsk_wrong"), {"authorization": "Basic eDp5"}):
            async with http.post(url + CHAT, json=BODY, headers=headers) as reply:
                assert reply.status == 401
                assert reply.headers["www-authenticate"] == "Bearer"
                assert (await reply.json())["error"]["code"] == "invalid_api_key"


async def test_a_key_without_the_scope_is_a_403():
    async with serving(FakeApp()) as (url, _), aiohttp.ClientSession() as http:
        async with http.post(url + CHAT, json=BODY, headers=auth(READER)) as reply:
            assert reply.status == 403
            assert (await reply.json())["error"]["code"] == "scope_missing"


async def test_a_body_over_the_limit_is_a_413_whether_its_length_is_declared_or_not():
    app = FakeApp(server={"max_body_bytes": 1000})

    async def pieces():
        for _ in range(50):
            yield b"x" * 100

    async with serving(app) as (url, _), aiohttp.ClientSession() as http:
        for data in (b"x" * 1001, pieces()):
            async with http.post(url + CHAT, data=data, headers=auth()) as reply:
                assert reply.status == 413
                assert (await reply.json())["error"]["code"] == "too_large"
    assert app.gateway.requests == []


async def test_a_limit_is_a_429_with_retry_after_and_the_limits_name():
    app = FakeApp()
    app.gateway.fails = LimitExceeded("Too many requests.", limit="requests per minute of this key", retry_after_s=2.2)
    async with serving(app) as (url, _), aiohttp.ClientSession() as http:
        async with http.post(url + CHAT, json=BODY, headers=auth()) as reply:
            assert reply.status == 429
            assert reply.headers["retry-after"] == "3"
            assert reply.headers["x-bascule-limit"] == "requests per minute of this key"
            assert reply.headers["x-bascule-cache"] == "BYPASS"


async def test_a_vendors_refusal_of_the_request_is_passed_on_as_it_is():
    app = FakeApp()
    body = b'{"error":{"message":"no such option","type":"invalid_request_error","param":"n","code":null}}'
    rejected = UpstreamRejected("refused", provider="p", status=422, body=body, wire="openai.chat")
    app.gateway.fails = AllTargetsFailed("all failed", last=rejected)
    async with serving(app) as (url, _), aiohttp.ClientSession() as http:
        async with http.post(url + CHAT, json=BODY, headers=auth()) as reply:
            assert (reply.status, await reply.read()) == (422, body)


async def test_a_vendor_that_refuses_our_credential_is_a_502_that_quotes_nothing():
    app = FakeApp()
    body = b'{"error":{"message":"Incorrect API key provided: sk-abcd"}}'
    app.gateway.fails = UpstreamRejected("sk-abcd refused", provider="p", status=401, body=body, wire="openai.chat")
    async with serving(app) as (url, _), aiohttp.ClientSession() as http:
        async with http.post(url + CHAT, json=BODY, headers=auth()) as reply:
            text = await reply.text()
            assert reply.status == 502
            assert "sk-abcd" not in text


async def test_an_unforeseen_error_is_a_500_that_says_nothing_and_logs_no_message(caplog):
    app = FakeApp()
    app.gateway.fails = ValueError("the secret document text")
    async with serving(app) as (url, _), aiohttp.ClientSession() as http:
        async with http.post(url + CHAT, json=BODY, headers=auth()) as reply:
            text = await reply.text()
            assert reply.status == 500
            assert json.loads(text)["error"]["code"] == "internal_error"
            assert reply.headers["x-request-id"] in caplog.text
    assert "secret" not in text and "secret" not in caplog.text
    assert "unforeseen ValueError" in caplog.text


async def test_a_stream_passes_every_event_on_and_ends_with_done():
    app = FakeApp()
    async with serving(app) as (url, _), aiohttp.ClientSession() as http:
        async with http.post(url + CHAT, json=BODY | {"stream": True}, headers=auth()) as reply:
            text = await reply.text()
            assert reply.headers["content-type"].startswith("text/event-stream")
            assert reply.headers["x-bascule-cache"] == "MISS"
    events = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    assert [json.loads(e)["choices"][0]["delta"]["content"] for e in events[:-1]] == ["Hello", "there"]
    assert events[-1] == "[DONE]"
    assert app.gateway.closed == 1


async def test_the_first_event_is_not_held_back_until_the_second():
    app = FakeApp()
    app.gateway.hold = asyncio.Event()
    async with serving(app) as (url, _), aiohttp.ClientSession() as http:
        async with http.post(url + CHAT, json=BODY | {"stream": True}, headers=auth()) as reply:
            async with asyncio.timeout(5):
                first = await reply.content.readuntil(b"\n\n")
            assert b"Hello" in first
            app.gateway.hold.set()
            assert b"[DONE]" in await reply.content.read()


@pytest.mark.parametrize("cut", [UpstreamUnavailable("The connection was reset."), True])
async def test_a_cut_upstream_ends_in_an_error_event_and_never_in_done(cut):
    app = FakeApp()
    app.gateway.cut = cut
    async with serving(app) as (url, _), aiohttp.ClientSession() as http:
        async with http.post(url + CHAT, json=BODY | {"stream": True}, headers=auth()) as reply:
            text = await reply.text()
    last = text.strip().split("\n\n")[-1]
    assert last.startswith("event: error\ndata: ")
    assert json.loads(last.partition("data: ")[2])["error"]["code"] == "upstream_unavailable"
    assert "[DONE]" not in text
    assert app.gateway.closed == 1


async def test_an_error_before_the_first_event_of_a_stream_has_its_own_status():
    app = FakeApp()
    app.gateway.fails = UpstreamUnavailable("down")
    async with serving(app) as (url, _), aiohttp.ClientSession() as http:
        async with http.post(url + CHAT, json=BODY | {"stream": True}, headers=auth()) as reply:
            assert reply.status == 502


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_cancels_its_call_within_100_ms(stream):
    app = FakeApp()
    app.gateway.hold = asyncio.Event()
    async with serving(app) as (url, application), aiohttp.ClientSession() as http:
        asking = asyncio.create_task(http.post(url + CHAT, json=BODY | {"stream": stream}, headers=auth()))
        await until(lambda: app.gateway.requests, 5)
        if stream:
            reply = await asking
            reply.close()
        else:
            asking.cancel()
        loop = asyncio.get_running_loop()
        left_at = loop.time()
        await until(lambda: app.gateway.cancelled == 1, 5, every_s=0.002)
        assert loop.time() - left_at < 0.1 + 0.05  # the watch begins 20 ms into a request
        await until(lambda: application.running == 0, 5)
    assert app.gateway.closed == (1 if stream else 0)


async def test_embeddings_come_as_floats_or_base64():
    app = FakeApp()
    body = {"model": "fast", "input": ["a", "b"]}
    async with serving(app) as (url, _), aiohttp.ClientSession() as http:
        async with http.post(url + "/v1/embeddings", json=body, headers=auth()) as reply:
            answer = await reply.json()
            assert reply.headers["x-bascule-cache"] == "MISS"
        assert [item["embedding"] for item in answer["data"]] == [[1.0, 0.0], [1.0, 0.0]]
        assert answer["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
        wanted = {"model": "fast", "input": "a", "encoding_format": "base64"}
        async with http.post(url + "/v1/embeddings", json=wanted, headers=auth()) as reply:
            data = (await reply.json())["data"]
    assert base64.b64decode(data[0]["embedding"]) == b"\x00\x00\x80\x3f\x00\x00\x00\x00"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"model": "fast"}, "input"),
        ({"model": "fast", "input": []}, "input"),
        ({"model": "fast", "input": [1, 2.5]}, "input"),
        ({"model": "fast", "input": [[1], []]}, "input"),
        ({"model": "fast", "input": "a", "encoding_format": "hex"}, "encoding_format"),
        ({"model": "fast", "input": "a", "speed": 3}, "speed"),
    ],
)
async def test_an_embedding_request_that_cannot_be_served_names_the_field(body, param):
    async with serving(FakeApp()) as (url, _), aiohttp.ClientSession() as http:
        async with http.post(url + "/v1/embeddings", json=body, headers=auth()) as reply:
            assert reply.status == 400
            assert (await reply.json())["error"]["param"] == param


async def test_models_lists_the_gateways_and_the_collections_one_may_ask():
    app = FakeApp()
    async with serving(app) as (url, _), aiohttp.ClientSession() as http:
        for key, names in ((CHATTER, ["fast"]), (ADMIN, ["fast", "rag/handbook"])):
            async with http.get(url + "/v1/models", headers=auth(key)) as reply:
                assert [card["id"] for card in (await reply.json())["data"]] == names
        async with http.get(url + "/v1/models/rag/handbook", headers=auth(ADMIN)) as reply:
            assert (await reply.json())["id"] == "rag/handbook"
        async with http.get(url + "/v1/models/rag/handbook", headers=auth(CHATTER)) as reply:
            assert reply.status == 404


async def test_models_answers_while_the_catalogue_does_not():
    from bascule.core.errors import StorageError

    app = FakeApp()
    app.catalogue.fails = StorageError("down")
    async with serving(app) as (url, _), aiohttp.ClientSession() as http:
        async with http.get(url + "/v1/models", headers=auth(ADMIN)) as reply:
            assert [card["id"] for card in (await reply.json())["data"]] == ["fast"]
