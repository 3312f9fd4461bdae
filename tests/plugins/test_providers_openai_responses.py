"""A vendor that speaks OpenAI's responses itself: requests forwarded as they are, answers read for what the gateway must know."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from bascule.core.chat import OPENAI_CHAT, OPENAI_RESPONSES, ChatRequest
from bascule.core.errors import (
    InvalidRequest,
    UpstreamInvalid,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamUnavailable,
)
from bascule.plugins.providers import openai
from bascule.testing.gateway import call, collect, http_client, said
from bascule.testing.responses import answers, function_call, message, response, streams
from bascule.testing.upstream import Fault, fake_upstream


def asked(body: str, *, stream: bool = False) -> ChatRequest:
    view = json.loads(body)
    return ChatRequest(wire=OPENAI_RESPONSES, body=body.encode(), view=view, model="vendor-model", stream=stream)


PLAIN = '{"model":"fast","input":"Hi"}'
STREAM = '{"model":"fast","input":"Hi","stream":true}'


@pytest.fixture
async def native():
    async with fake_upstream() as up, http_client() as http:
        yield up, openai.OpenaiProvider(openai.Settings(base_url=up.url, responses=True), http, "sk-upstream-secret")


def test_what_a_provider_takes_is_its_own_setting() -> None:
    made = [openai.OpenaiProvider(openai.Settings(base_url="http://x", responses=on), None, "") for on in (False, True)]  # type: ignore[arg-type]
    assert [provider.wires for provider in made] == [{OPENAI_CHAT}, {OPENAI_CHAT, OPENAI_RESPONSES}]


async def test_a_provider_that_does_not_speak_it_refuses_it() -> None:
    async with fake_upstream() as up, http_client() as http:
        provider = openai.OpenaiProvider(openai.Settings(base_url=up.url), http, "")
        with pytest.raises(InvalidRequest):
            await provider.chat(asked(PLAIN), call())
    assert up.calls == []


async def test_the_body_goes_on_byte_for_byte_and_the_answer_comes_back_so(native: Any) -> None:
    up, provider = native
    up.always = answers(message("Hello"))
    body = (
        '{ "input":[{"role":"user","content":"\\u00e9"}], "model" : "fast", "tools":[{"type":"web_search"}],"x":1e0 }'
    )
    found = await provider.chat(asked(body), call())
    assert (up.calls[0].path, up.calls[0].raw.decode()) == ("/v1/responses", body.replace('"fast"', '"vendor-model"'))
    assert found.body == up.always.raw
    assert (found.wire, found.text, found.finish, found.complete) == (OPENAI_RESPONSES, "Hello", "completed", True)
    assert (found.usage.input_tokens, found.usage.output_tokens, found.usage.cached_tokens) == (11, 7, 3)


@pytest.mark.parametrize(
    ("fault", "finish", "complete"),
    [
        (answers(function_call()), "function_call", True),
        (answers(message("  ")), "completed", False),
        (answers(), "completed", False),
        (answers(message("x"), status="incomplete", incomplete_details={"reason": "max_output_tokens"}), "incomplete", False),
        (answers(status="queued", usage=None), "queued", False),
        (answers({**message(""), "content": [{"type": "refusal", "refusal": "No."}]}), "refusal", False),
    ],
    ids=["call", "blank", "nothing", "cut short", "queued", "refusal"],
)  # fmt: skip
async def test_only_finished_answers_that_say_something_are_complete(
    native: Any, fault: Fault, finish: str, complete: bool
) -> None:
    up, provider = native
    up.always = fault
    found = await provider.chat(asked(PLAIN), call())
    assert (found.finish, found.complete) == (finish, complete)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("server_error", UpstreamUnavailable),
        ("rate_limit_exceeded", UpstreamRateLimited),
        ("invalid_prompt", UpstreamRejected),
        (None, UpstreamUnavailable),
    ],
)
async def test_a_failed_response_is_the_error_it_names_and_its_words_stay_here(
    native: Any, code: str | None, error: type[Exception]
) -> None:
    up, provider = native
    fault = {"code": code, "message": "secret inner state"}
    failed = response(status="failed", error=fault)
    frames = [{"type": "response.failed", "response": failed}, {"type": "error", **fault}]
    up.faults.extend([answers(status="failed", error=fault), *(streams("Hi", frame) for frame in frames)])
    with pytest.raises(error) as caught:
        await provider.chat(asked(PLAIN), call())
    assert "secret" not in str(caught.value)
    for _ in frames:
        with pytest.raises(error) as caught:
            await collect(await provider.stream(asked(STREAM, stream=True), call()))
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "raw", [b"{", b"[]", b"{}", b'{"status":"completed"}', b'{"status":1,"output":[]}', b"<html>", b"[" * 100_000]
)
async def test_an_answer_that_is_no_response_is_invalid(native: Any, raw: bytes) -> None:
    up, provider = native
    up.faults.extend([Fault(raw=raw), Fault(raw=b"data: " + raw + b"\n\n", content_type="text/event-stream")])
    with pytest.raises(UpstreamInvalid):
        await provider.chat(asked(PLAIN), call())
    with pytest.raises(UpstreamInvalid):
        await provider.stream(asked(STREAM, stream=True), call())


async def test_a_stream_is_passed_on_event_by_event_to_its_end(native: Any) -> None:
    up, provider = native
    up.always = streams("é漢🙂")
    chunks = await collect(await provider.stream(asked(STREAM, stream=True), call()))
    assert said(chunks) == "é漢🙂"
    assert [msgspec.json.decode(c.data)["type"] for c in chunks] == [c.event for c in chunks]
    assert (chunks[-1].last, chunks[-1].finish, chunks[-1].event) == (True, "completed", "response.completed")
    assert (chunks[-1].usage.input_tokens, chunks[-1].usage.output_tokens) == (11, 7)
    assert "stream_options" not in up.calls[0].body


@pytest.mark.parametrize("cut_after", [0, 1, 6])
async def test_a_stream_without_its_proper_end_was_cut(native: Any, cut_after: int) -> None:
    up, provider = native
    up.always = streams("Hello", cut_after=cut_after)
    with pytest.raises(UpstreamUnavailable):
        await collect(await provider.stream(asked(STREAM, stream=True), call()))


async def test_a_refusal_by_status_keeps_the_vendors_words(native: Any) -> None:
    up, provider = native
    up.always = Fault(status=400)
    with pytest.raises(UpstreamRejected) as caught:
        await provider.chat(asked(PLAIN), call())
    assert json.loads(caught.value.body)["error"]["code"] == "fault"
