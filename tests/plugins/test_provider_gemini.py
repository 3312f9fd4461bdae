"""Gemini's API and Vertex AI over real HTTP: the provider contract with each credential, and what is Gemini's own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from bascule.core.chat import ChatModel
from bascule.core.errors import (
    ConfigError,
    InvalidRequest,
    UpstreamInvalid,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamUnavailable,
)
from bascule.core.http import HttpClient
from bascule.plugins.http_clients import httptools
from bascule.plugins.providers import gemini, vertex
from bascule.plugins.providers.vertex import tokens
from bascule.testing.gateway import call, collect, request, resources, said
from bascule.testing.gemini import GeminiVendor, event, generated, service_account_key
from bascule.testing.provider_contract import ProviderContract, asked
from bascule.testing.vendors import SECRET, Vendor, serving


class TestGemini(ProviderContract):
    @pytest.fixture
    async def vendor(self) -> AsyncIterator[Vendor]:
        vendor = GeminiVendor()
        async with serving(vendor):
            yield vendor

    @pytest.fixture
    async def provider(self, vendor: Vendor, http: HttpClient) -> AsyncIterator[ChatModel]:
        async with gemini.connect(gemini.Settings(base_url=vendor.url, api_key="env:K"), resources(http)) as provider:
            yield provider


class TestVertexWithServiceAccount(TestGemini):
    @pytest.fixture
    def provider(self, vendor: Vendor, http: HttpClient) -> ChatModel:
        return with_account(vendor, http)[0]


def with_account(vendor: Vendor, http: HttpClient, **fields: Any) -> tuple[vertex.VertexProvider, Any]:
    settings = vertex.Settings(project="p", location="europe-west1", base_url=vendor.url + "/v1", **fields)
    made = tokens.of_service_account(service_account_key(vendor.url))
    return vertex.VertexProvider(settings, http, "", made), made._credentials


@pytest.fixture
async def world() -> AsyncIterator[tuple[GeminiVendor, HttpClient]]:
    vendor = GeminiVendor()
    async with serving(vendor), httptools.connect(httptools.Settings()) as http:
        yield vendor, http


def plain(vendor: Vendor, http: HttpClient, **fields: Any) -> gemini.GeminiProvider:
    return gemini.GeminiProvider(gemini.Settings(base_url=vendor.url, api_key="env:K", **fields), http, SECRET)


async def test_a_request_is_translated_whole(world: Any) -> None:
    vendor, http = world
    vendor.answers("ok")
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [
            {"type": "text", "text": "Look"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        ]},
        {"role": "assistant", "content": None,
         "reasoning_details": [{"type": "reasoning.text", "text": "Hm.", "signature": "gemini:c2ln"}],
         "tool_calls": [{"id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}]},
        {"role": "tool", "tool_call_id": "t1", "content": "one"},
    ]  # fmt: skip
    schema = {"type": "object", "properties": {}}
    fields: dict[str, Any] = {
        "messages": messages, "max_completion_tokens": 9, "stop": "END", "temperature": 0.5, "top_p": 0.9, "top_k": 5, "seed": 1,
        "presence_penalty": 0.1, "frequency_penalty": 0.2, "reasoning_effort": "high", "user": "u", "cachedContent": "x",
        "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": schema, "strict": True}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}}, "parallel_tool_calls": True,
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}},
    }  # fmt: skip
    c = call()
    await plain(vendor, http, safety={"HARM_CATEGORY_HARASSMENT": "BLOCK_NONE"}).chat(request(model="m/x", **fields), c)
    assert vendor.calls[0].path == "/models/m%2Fx:generateContent"
    assert json.loads(vendor.calls[0].raw) == {
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [
            {"role": "user", "parts": [{"text": "Look"}, {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]},
            {"role": "model", "parts": [
                {"functionCall": {"id": "t1", "name": "f", "args": {"x": 1}}, "thoughtSignature": "c2ln"}]},
            {"role": "user", "parts": [{"functionResponse": {"id": "t1", "name": "f", "response": {"output": "one"}}}]},
        ],
        "tools": [{"functionDeclarations": [{"name": "f", "description": "d", "parametersJsonSchema": schema}]}],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
        "generationConfig": {
            "temperature": 0.5, "topP": 0.9, "topK": 5, "seed": 1, "presencePenalty": 0.1, "frequencyPenalty": 0.2,
            "maxOutputTokens": 9, "stopSequences": ["END"], "responseMimeType": "application/json", "responseJsonSchema": schema,
            "thinkingConfig": {"thinkingLevel": "HIGH", "includeThoughts": True},
        },
        "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
    }  # fmt: skip
    assert c.degraded == [f"not_supported:{name}" for name in ("cachedContent", "parallel_tool_calls", "user")]


@pytest.mark.parametrize(
    ("how", "fields", "wanted"),
    [("budget", {"reasoning_effort": "medium"}, {"thinkingBudget": 8192, "includeThoughts": True}),
     ("budget", {"reasoning_effort": "none"}, {"thinkingBudget": 0, "includeThoughts": False}),
     ("level", {"reasoning_effort": "none"}, {"thinkingLevel": "MINIMAL", "includeThoughts": False}),
     ("level", {"thinking": {"type": "enabled", "budget_tokens": 2000}}, {"thinkingBudget": 2000, "includeThoughts": True}),
     ("level", {"thinking": {"type": "disabled"}}, {"thinkingBudget": 0, "includeThoughts": False})],
)  # fmt: skip
async def test_thinking_is_asked_for_as_the_model_takes_it(world: Any, how: Any, fields: Any, wanted: Any) -> None:
    vendor, http = world
    vendor.answers("ok")
    await plain(vendor, http, thinking=how).chat(asked(**fields), call())
    assert json.loads(vendor.calls[0].raw)["generationConfig"]["thinkingConfig"] == wanted


async def test_json_without_a_schema_is_asked_for(world: Any) -> None:
    vendor, http = world
    vendor.answers("{}")
    await plain(vendor, http).chat(asked(response_format={"type": "json_object"}), call())
    assert json.loads(vendor.calls[0].raw)["generationConfig"] == {"responseMimeType": "application/json"}


async def test_another_vendors_thoughts_are_left_out(world: Any) -> None:
    vendor, http = world
    vendor.answers("ok")
    thoughts = [
        {"type": "reasoning.text", "text": "Hm.", "signature": "claude"},
        {"type": "reasoning.encrypted", "data": "x"},
    ]
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "reasoning_details": thoughts}]
    await plain(vendor, http).chat(asked(messages=messages), call())
    assert json.loads(vendor.calls[0].raw)["contents"][1] == {"role": "model", "parts": [{"text": "b"}]}


@pytest.mark.parametrize(
    "message",
    [{"role": "tool", "tool_call_id": "never", "content": "x"},
     {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}]}],
)  # fmt: skip
async def test_what_cannot_be_said_is_refused_before_any_call(world: Any, message: dict[str, Any]) -> None:
    vendor, http = world
    with pytest.raises(InvalidRequest):
        await plain(vendor, http).chat(asked(messages=[message]), call())
    assert vendor.calls == []


async def test_thoughts_and_counts_come_back(world: Any) -> None:
    vendor, http = world
    parts = [
        {"text": "Hm.", "thought": True},
        {"functionCall": {"id": "k", "name": "f", "args": {}}, "thoughtSignature": "c2ln"},
    ]
    whole = generated(parts, usage=(20, 7), cachedContentTokenCount=5, thoughtsTokenCount=4)
    vendor.says(json.dumps(whole).encode())
    found = await plain(vendor, http).chat(asked(), call())
    body = json.loads(found.body)
    message = body["choices"][0]["message"]
    assert (message["reasoning_content"], message["tool_calls"][0]["id"]) == ("Hm.", "k")
    assert [d["signature"] for d in message["reasoning_details"]] == [None, "gemini:c2ln"]
    assert (found.usage.input_tokens, found.usage.cached_tokens, found.usage.output_tokens) == (20, 5, 11)
    assert body["usage"]["completion_tokens_details"] == {"reasoning_tokens": 4}
    vendor.streams("x")
    vendor.reply.pieces = [
        event(generated(parts[:1], None)),
        event(generated(parts[1:])),
        event(generated([{"text": "late"}])),
    ]
    chunks = await collect(await plain(vendor, http).stream(asked(stream=True), call()))
    deltas = [json.loads(c.data)["choices"][0]["delta"] for c in chunks[:-1]]
    assert "".join(d.get("reasoning_content", "") for d in deltas) == "Hm."
    details = [x for d in deltas for x in d.get("reasoning_details", ())]
    assert [x["signature"] for x in details if "signature" in x] == ["gemini:c2ln"]
    assert said(chunks) == ""


async def test_calls_without_a_name_of_their_own_get_one_each(world: Any) -> None:
    vendor, http = world
    parts = [{"functionCall": {"name": "f", "args": {"x": 1}}}, {"functionCall": {"name": "f"}}]
    vendor.says(json.dumps(generated(parts)).encode())
    found = json.loads((await plain(vendor, http).chat(asked(), call())).body)["choices"][0]["message"]["tool_calls"]
    vendor.streams("x")
    vendor.reply.pieces = [event(generated(parts[:1], None)), event(generated(parts[1:]))]
    chunks = await collect(await plain(vendor, http).stream(asked(stream=True), call()))
    streamed = [
        t for c in chunks[:-1] for t in json.loads(c.data)["choices"][0]["delta"].get("tool_calls", ()) if "id" in t
    ]
    assert len({c["id"] for c in found}) == len({t["id"] for t in streamed}) == 2
    assert [t["index"] for t in streamed] == [0, 1]


@pytest.mark.parametrize("stop", ["SAFETY", "RECITATION", "SPII", "SOMETHING_NEW"])
async def test_an_answer_stopped_by_rules_says_so_and_is_not_a_good_one(world: Any, stop: str) -> None:
    vendor, http = world
    vendor.says(json.dumps(generated([{"text": "So"}], stop)).encode())
    found = await plain(vendor, http).chat(asked(), call())
    assert (found.finish, found.complete) == ("content_filter", False)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_question_that_is_not_let_through_is_a_filtered_answer(world: Any, stream: bool) -> None:
    vendor, http = world
    blocked = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 4}, "responseId": "r"}
    if stream:
        vendor.says(event(blocked), "text/event-stream")
        chunks = await collect(await plain(vendor, http).stream(asked(stream=True), call()))
        assert [c.finish for c in chunks if c.finish] == ["content_filter"]
    else:
        vendor.says(json.dumps(blocked).encode())
        found = await plain(vendor, http).chat(asked(), call())
        assert (found.finish, found.complete, found.usage.input_tokens) == ("content_filter", False, 4)


@pytest.mark.parametrize("stop", ["MALFORMED_FUNCTION_CALL", "OTHER"])
async def test_an_answer_that_went_wrong_is_invalid(world: Any, stop: str) -> None:
    vendor, http = world
    vendor.says(json.dumps(generated([], stop)).encode())
    with pytest.raises(UpstreamInvalid):
        await plain(vendor, http).chat(asked(), call())


async def test_counts_after_the_last_words_are_waited_for(world: Any) -> None:
    vendor, http = world
    last = generated([{"text": "end"}])
    usage = last.pop("usageMetadata")
    vendor.streams("x")
    vendor.reply.pieces = [event(last), event({"usageMetadata": usage, "responseId": "r1"})]
    chunks = await collect(await plain(vendor, http).stream(asked(stream=True), call()))
    assert chunks[-1].usage is not None
    assert (said(chunks), chunks[-1].usage.input_tokens) == ("end", 11)


async def test_a_limit_told_in_the_body_says_when_to_come_back(world: Any) -> None:
    vendor, http = world
    vendor.refuses(429)
    detail = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "17.5s"}
    vendor.reply.pieces = [json.dumps({"error": {"code": 429, "details": ["x", detail]}}).encode()]
    with pytest.raises(UpstreamRateLimited) as caught:
        await plain(vendor, http).chat(asked(), call())
    assert caught.value.retry_after_s == 17.5


@pytest.mark.parametrize(("code", "error"), [(429, UpstreamRateLimited), (503, UpstreamUnavailable)])
async def test_an_error_in_a_stream_is_its_error(world: Any, code: int, error: type[Exception]) -> None:
    vendor, http = world
    vendor.streams("one", "two")
    vendor.reply.pieces = [vendor.reply.pieces[0], event({"error": {"code": code, "message": "inner state"}})]
    with pytest.raises(error) as caught:
        await collect(await plain(vendor, http).stream(asked(stream=True), call()))
    assert "inner" not in str(caught.value)


async def test_only_what_is_wrong_with_the_request_is_told_in_the_vendors_words(world: Any) -> None:
    vendor, http = world
    for status, wanted in ((400, "*** is odd"), (403, "refused the request with status 403")):
        vendor.refuses(status, f"{SECRET} is odd")
        with pytest.raises(UpstreamRejected) as caught:
            await plain(vendor, http).chat(asked(), call())
        assert wanted in json.loads(caught.value.body)["error"]["message"]


async def test_vertex_is_asked_at_its_project_with_one_token_for_many_calls(world: Any) -> None:
    vendor, http = world
    vendor.answers("ok")
    provider, credentials = with_account(vendor, http)
    await asyncio.gather(*(provider.chat(asked(), call()) for _ in range(5)))
    assert (
        vendor.calls[0].path
        == "/v1/projects/p/locations/europe-west1/publishers/google/models/vendor-model:generateContent"
    )
    assert vendor.calls[0].headers["authorization"] == f"Bearer {SECRET}"
    assert vendor.tokens == 1
    credentials.expiry = datetime.utcnow() + timedelta(seconds=30)
    vendor.token_status = 500
    await provider.chat(asked(), call())  # the old token still holds
    vendor.token_status = 200
    await provider.chat(request(model="endpoints/12"), call())
    assert vendor.calls[-1].path == "/v1/projects/p/locations/europe-west1/endpoints/12:generateContent"


async def test_vertex_without_a_token_is_away(world: Any) -> None:
    vendor, http = world
    vendor.token_status = 401
    with pytest.raises(UpstreamUnavailable) as caught:
        await with_account(vendor, http)[0].chat(asked(), call())
    assert caught.value.retryable
    assert vendor.calls == []


async def test_vertex_takes_a_key_in_place_of_an_account(world: Any) -> None:
    vendor, http = world
    vendor.answers("ok")
    settings = vertex.Settings(api_key="env:K", base_url=vendor.url)
    async with vertex.connect(settings, resources(http)) as provider:
        await provider.chat(asked(), call())
    assert vendor.calls[0].path == "/publishers/google/models/vendor-model:generateContent"
    assert vendor.calls[0].headers["x-goog-api-key"]


async def test_credentials_that_are_none_say_so_without_showing_them(world: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        tokens.of_service_account('{"private_key": "sk-inner"}')
    assert "sk-inner" not in str(caught.value)


@pytest.mark.parametrize("given", [{}, {"api_key": "env:K", "credentials": "env:C"}, {"project": "p/../q"}])
def test_settings_that_cannot_be_right_are_refused(given: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        vertex.Settings(**given)


@pytest.mark.parametrize(
    ("location", "base"),
    [
        ("global", "https://aiplatform.googleapis.com"),
        ("europe-west1", "https://europe-west1-aiplatform.googleapis.com"),
    ],
)
def test_a_location_has_its_address(location: str, base: str) -> None:
    assert vertex.Settings(project="p", location=location).address() == f"{base}/v1/projects/p/locations/{location}/"
