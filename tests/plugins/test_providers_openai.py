from __future__ import annotations

import json
import math
from array import array

import pytest

from bascule.core.chat import ChatRequest
from bascule.core.embedding import EmbeddingRequest
from bascule.core.errors import (
    UpstreamError,
    UpstreamInvalid,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamUnavailable,
)
from bascule.plugins.providers import openai
from bascule.testing.gateway import call, collect, http_client, openai_provider, request, resources, said
from bascule.testing.upstream import Fault, embedding, fake_upstream

OPENAI = "openai.chat"


def addressed(body: str, model: str = "vendor-model", stream: bool = False) -> ChatRequest:
    return ChatRequest(wire=OPENAI, body=body.encode(), view=json.loads(body), model=model, stream=stream)


async def test_the_body_goes_on_byte_for_byte_but_for_the_models_name() -> None:
    body = '{ "temperature":1.0,  "model" : "fast", "messages":[{"role":"user","content":"\\"model\\": \\"fast\\" é\\u00e9"}], "new_knob":{"x":[1e0,null]} }'  # noqa: E501
    async with fake_upstream() as up, http_client() as http:
        response = await openai_provider(up.url, http).chat(addressed(body), call())
    assert up.calls[0].raw.decode() == body.replace('"fast",', '"vendor-model",', 1)
    assert json.loads(response.body)["vendor_extra"] == {"kept": True}


@pytest.mark.parametrize(
    "body",
    [
        '{"messages":[{"role":"user","content":"a","model":"fast"}],"model":"fast"}',
        '{"\\u006dodel":"fast","messages":[{"role":"user","content":"a","model":"evil"}]}',
        '{"messages":[{"role":"user","content":"a"}],"x":{"model":"evil"},"model":"fa\\u0073t"}',
    ],
)
async def test_only_the_top_level_model_is_replaced_however_it_is_written(body: str) -> None:
    async with fake_upstream() as up, http_client() as http:
        await openai_provider(up.url, http).chat(addressed(body), call())
    assert up.calls[0].body == {**json.loads(body), "model": "vendor-model"}


async def test_the_operators_key_is_sent_and_the_body_is_json() -> None:
    async with fake_upstream() as up, http_client() as http:
        await openai_provider(up.url, http).chat(request(), call())
    assert up.calls[0].headers["authorization"] == "Bearer sk-upstream-secret"
    assert up.calls[0].headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "fault",
    [
        Fault(raw=b"<html>login</html>", content_type="text/html"),
        Fault(raw=b"{"),
        Fault(raw=b""),
        Fault(raw=b"[]"),
        Fault(raw=b'{"choices":[{"message":{"content":' + b"[" * 100_000),
        Fault(raw=b'{"object":"chat.completion"}'),
        Fault(raw=b'{"choices":[]}'),
        Fault(raw=b'{"choices":[{}]}'),
        Fault(raw=b'{"choices":"x"}'),
        Fault(raw=b'{"choices":[{"message":{"content":"\xff"},"finish_reason":"stop"}]}'),
        Fault(status=302, raw=b""),
    ],
    ids=[
        "html",
        "half",
        "nothing",
        "list",
        "abyss",
        "no choices",
        "empty choices",
        "no message",
        "text",
        "not utf-8",
        "redirect",
    ],
)
async def test_an_answer_that_is_not_a_completion_is_invalid(fault: Fault) -> None:
    async with fake_upstream() as up, http_client() as http:
        up.always = fault
        with pytest.raises(UpstreamInvalid):
            await openai_provider(up.url, http).chat(request(), call())


async def test_an_answer_larger_than_the_limit_is_invalid_and_not_read_to_its_end() -> None:
    async with fake_upstream() as up, http_client() as http:
        up.always = Fault(content="x" * 2_000_000)
        settings = openai.Settings(base_url=up.url, max_reply_bytes=10_000)
        with pytest.raises(UpstreamInvalid):
            await openai.OpenaiProvider(settings, http, "").chat(request(), call())


async def test_a_plain_answer_cut_in_the_middle_is_unavailable() -> None:
    async with fake_upstream() as up, http_client() as http:
        up.always = Fault(cut_after=1)
        with pytest.raises(UpstreamUnavailable):
            await openai_provider(up.url, http).chat(request(), call())


@pytest.mark.parametrize(
    ("status", "error"),
    [(429, UpstreamRateLimited), (500, UpstreamUnavailable), (503, UpstreamUnavailable), (529, UpstreamUnavailable),
     (408, UpstreamUnavailable), (400, UpstreamRejected), (401, UpstreamRejected), (404, UpstreamRejected)],
)  # fmt: skip
async def test_a_status_becomes_the_right_error(status: int, error: type[UpstreamError]) -> None:
    async with fake_upstream() as up, http_client() as http:
        up.always = Fault(status=status, retry_after="3")
        for stream in (False, True):
            provider = openai_provider(up.url, http)
            with pytest.raises(error) as caught:
                await (provider.stream if stream else provider.chat)(request(stream=stream), call())
            assert caught.value.retry_after_s == (None if error is UpstreamRejected else 3)


async def test_nobody_listening_is_unavailable() -> None:
    async with fake_upstream() as up:
        url = up.url
    async with http_client() as http:
        with pytest.raises(UpstreamUnavailable):
            await openai_provider(url, http).chat(request(), call())


async def test_the_key_is_in_no_error_even_when_the_vendor_repeats_it() -> None:
    async with fake_upstream() as up, http_client() as http:
        up.always = Fault(status=400, raw=b'{"error":{"message":"bad key sk-upstream-secret"}}')
        with pytest.raises(UpstreamRejected) as caught:
            await openai_provider(up.url, http).chat(request(), call())
        assert b"sk-upstream" not in caught.value.body
        assert "sk-upstream" not in repr(caught.value)


async def test_a_stream_is_passed_on_event_by_event() -> None:
    async with fake_upstream() as up, http_client() as http:
        chunks = await collect(await openai_provider(up.url, http).stream(request("é漢🙂", stream=True), call()))
    assert said(chunks) == "answer 1 to é漢🙂"
    assert [c.last for c in chunks[-2:]] == [False, True]
    assert chunks[-2].finish == "stop"


async def test_usage_is_asked_for_in_streams_and_hidden_from_a_caller_who_did_not() -> None:
    async with fake_upstream() as up, http_client() as http:
        provider = openai_provider(up.url, http)
        hidden = await collect(await provider.stream(request(stream=True), call()))
        assert up.calls[0].body["stream_options"] == {"include_usage": True}
        assert not any(b"prompt_tokens" in c.data for c in hidden)
        assert (hidden[-1].usage.input_tokens, hidden[-1].usage.output_tokens) == (11, 7)  # type: ignore[union-attr]
        shown = await collect(
            await provider.stream(request(stream=True, stream_options={"include_usage": True}), call())
        )
        assert sum(b"prompt_tokens" in c.data for c in shown) == 1
        await collect(
            await provider.stream(request(stream=True, stream_options={"include_usage": False, "x": 1}), call())
        )
        assert up.calls[2].body["stream_options"] == {"include_usage": True, "x": 1}


async def test_a_server_that_refuses_stream_options_is_not_sent_any() -> None:
    async with fake_upstream() as up, http_client() as http:
        provider = openai.OpenaiProvider(openai.Settings(base_url=up.url, stream_usage=False), http, "")
        await collect(await provider.stream(request(stream=True), call()))
    assert "stream_options" not in up.calls[0].body


async def test_crlf_streams_are_understood() -> None:
    async with fake_upstream() as up, http_client() as http:
        up.always = Fault(crlf=True)
        assert said(await collect(await openai_provider(up.url, http).stream(request(stream=True), call())))


@pytest.mark.parametrize("cut_after", [0, 1, 4])
async def test_a_stream_without_its_proper_end_is_an_error(cut_after: int) -> None:
    async with fake_upstream() as up, http_client() as http:
        up.always = Fault(cut_after=cut_after)
        with pytest.raises(UpstreamUnavailable):
            await collect(await openai_provider(up.url, http).stream(request(stream=True), call()))


async def test_a_stream_that_ends_cleanly_but_without_done_was_cut() -> None:
    async with fake_upstream() as up, http_client() as http:
        raw = b'data: {"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}\n\n'
        up.always = Fault(raw=raw, content_type="text/event-stream")
        with pytest.raises(UpstreamUnavailable):
            await collect(await openai_provider(up.url, http).stream(request(stream=True), call()))


@pytest.mark.parametrize("data", [b"nonsense", b"[1]", b'{"choices":5}'])
async def test_an_event_that_is_not_of_the_format_is_invalid(data: bytes) -> None:
    async with fake_upstream() as up, http_client() as http:
        up.always = Fault(raw=b"data: " + data + b"\n\n", content_type="text/event-stream")
        with pytest.raises(UpstreamInvalid):
            await openai_provider(up.url, http).stream(request(stream=True), call())


async def test_an_error_event_in_a_stream_is_an_error_and_its_words_stay_here() -> None:
    async with fake_upstream() as up, http_client() as http:
        up.always = Fault(raw=b'data: {"error":{"message":"secret inner state"}}\n\n', content_type="text/event-stream")
        with pytest.raises(UpstreamUnavailable) as caught:
            await openai_provider(up.url, http).stream(request(stream=True), call())
        assert "secret" not in caught.value.message


async def test_a_plain_answer_to_a_stream_request_is_invalid() -> None:
    async with fake_upstream() as up, http_client() as http:
        up.always = Fault(raw=b'{"choices":[]}')
        with pytest.raises(UpstreamInvalid):
            await openai_provider(up.url, http).stream(request(stream=True), call())


async def test_embeddings_come_in_order_at_unit_length_with_a_fingerprint() -> None:
    async with fake_upstream() as up, http_client() as http:
        provider = openai_provider(up.url, http)
        response = await provider.embed(EmbeddingRequest(model="e", texts=("one", "two")), call())
    assert (response.dimension, up.calls[0].body["encoding_format"]) == (8, "base64")
    for text, vector in zip(("one", "two"), response.vectors, strict=True):
        raw = embedding(text, 8)
        norm = math.sqrt(sum(v * v for v in raw))
        assert array("f", vector).tolist() == pytest.approx([v / norm for v in raw], abs=1e-6)
    assert response.fingerprint.startswith("openai:")


async def test_another_model_url_or_dimension_has_another_fingerprint() -> None:
    async with fake_upstream() as up, fake_upstream() as other, http_client() as http:
        provider = openai_provider(up.url, http)
        base = await provider.embed(EmbeddingRequest(model="e", texts=("a",)), call())
        model = await provider.embed(EmbeddingRequest(model="f", texts=("a",)), call())
        elsewhere = await openai_provider(other.url, http).embed(EmbeddingRequest(model="e", texts=("a",)), call())
        up.dimension = 4
        shorter = await provider.embed(EmbeddingRequest(model="e", texts=("a",), dimensions=4), call())
    assert up.calls[-1].body["dimensions"] == 4
    assert len({r.fingerprint for r in (base, model, elsewhere, shorter)}) == 4


@pytest.mark.parametrize(
    "raw",
    [b"{}", b'{"data":[]}', b'{"data":[{"embedding":[0,0]}]}', b'{"data":[{"embedding":"%%"}]}', b'{"data":[{"embedding":[]}]}',
     b'{"data":[{"embedding":[1]},{"embedding":[1]}]}', b'{"data":[{"embedding":"AAA="}]}'],
)  # fmt: skip
async def test_embeddings_that_are_none_are_invalid(raw: bytes) -> None:
    async with fake_upstream() as up, http_client() as http:
        up.always = Fault(raw=raw)
        with pytest.raises(UpstreamInvalid):
            await openai_provider(up.url, http).embed(EmbeddingRequest(model="e", texts=("a",)), call())


async def test_embeddings_as_numbers_and_out_of_order_are_understood() -> None:
    async with fake_upstream() as up, http_client() as http:
        up.always = Fault(raw=b'{"data":[{"index":1,"embedding":[0,2]},{"index":0,"embedding":[3,0]}]}')
        response = await openai_provider(up.url, http).embed(EmbeddingRequest(model="e", texts=("a", "b")), call())
    assert [array("f", v).tolist() for v in response.vectors] == [[1, 0], [0, 1]]


async def test_the_plugin_connects_with_a_key_by_reference() -> None:
    async with fake_upstream() as up, http_client() as http:
        settings = openai.Settings(base_url=up.url, api_key="env:KEY")
        async with openai.connect(settings, resources(http)) as provider:
            await provider.chat(request(), call())
    assert up.calls[0].headers["authorization"] == "Bearer sk-upstream-secret"
