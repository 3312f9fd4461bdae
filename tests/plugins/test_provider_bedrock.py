"""Bedrock over real HTTP: the provider contract signed and with an API key, and what is Converse's own."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import pytest
from pydantic import ValidationError

from bascule.core.chat import ChatModel
from bascule.core.errors import (
    InvalidRequest,
    UpstreamInvalid,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamUnavailable,
)
from bascule.core.http import HttpClient
from bascule.plugins.http_clients import httptools
from bascule.plugins.providers import bedrock
from bascule.plugins.providers.bedrock import signing
from bascule.plugins.providers.bedrock.provider import BedrockProvider
from bascule.testing.bedrock import BedrockVendor, converse, frame, stream
from bascule.testing.gateway import call, collect, request, resources, said
from bascule.testing.provider_contract import ProviderContract, asked
from bascule.testing.vendors import SECRET, Vendor, serving


class TestBedrockWithApiKey(ProviderContract):
    @pytest.fixture
    async def vendor(self) -> AsyncIterator[Vendor]:
        vendor = BedrockVendor()
        async with serving(vendor):
            yield vendor

    @pytest.fixture
    async def provider(self, vendor: Vendor, http: HttpClient) -> AsyncIterator[ChatModel]:
        settings = bedrock.Settings(region="eu-central-1", base_url=vendor.url, api_key="env:K")
        async with bedrock.connect(settings, resources(http)) as provider:
            yield provider


class TestBedrockSigned(TestBedrockWithApiKey):
    @pytest.fixture
    def provider(self, vendor: Vendor, http: HttpClient) -> ChatModel:
        return signed(vendor, http)


def signed(vendor: Vendor, http: HttpClient, token: str | None = None, **settings: Any) -> BedrockProvider:
    made = bedrock.Settings(region="eu-central-1", base_url=vendor.url, **settings)
    return BedrockProvider(made, http, signing.fixed("AKIDEXAMPLE", SECRET, token, "eu-central-1"))


@pytest.fixture
async def world() -> AsyncIterator[tuple[BedrockVendor, HttpClient]]:
    vendor = BedrockVendor()
    async with serving(vendor), httptools.connect(httptools.Settings()) as http:
        yield vendor, http


@pytest.mark.parametrize("token", [None, "session/token=="])
@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("anthropic.claude-3-haiku-20240307-v1:0", "/model/anthropic.claude-3-haiku-20240307-v1%3A0/converse"),
        ("arn:aws:bedrock:eu-central-1:123456789012:inference-profile/eu.x-v1:0",
         "/model/arn%3Aaws%3Abedrock%3Aeu-central-1%3A123456789012%3Ainference-profile%2Feu.x-v1%3A0/converse"),
    ],
)  # fmt: skip
async def test_a_models_name_of_any_letters_is_escaped_and_signed_so(
    world: Any, model: str, path: str, token: str | None
) -> None:
    vendor, http = world
    vendor.answers("ok")
    await signed(vendor, http, token).chat(request("hi", model=model), call())
    assert vendor.calls[0].path == path
    assert vendor.credential(vendor.calls[0]).endswith("/eu-central-1/bedrock/aws4_request")
    assert vendor.calls[0].headers.get("x-amz-security-token") == token
    vendor.calls[0].raw += b" "
    with pytest.raises(AssertionError):
        vendor.credential(vendor.calls[0])


async def test_a_request_is_translated_whole(world: Any) -> None:
    vendor, http = world
    vendor.answers("ok")
    thought = {"type": "reasoning.text", "text": "Hm.", "signature": "c2ln"}
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [
            {"type": "text", "text": "Look", "cache_control": {"type": "ephemeral"}},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
            {"type": "file", "file": {"filename": "a_b.pdf", "file_data": "data:application/pdf;base64,BBBB"}},
        ]},
        {"role": "assistant", "content": None, "reasoning_details": [thought, {"type": "reasoning.encrypted", "data": "eA=="}],
         "tool_calls": [{"id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}]},
        {"role": "tool", "tool_call_id": "t1", "content": "one"},
    ]  # fmt: skip
    schema = {"type": "object", "properties": {}}
    fields: dict[str, Any] = {
        "messages": messages, "max_completion_tokens": 9, "stop": "END", "temperature": 0.5, "top_p": 0.9, "seed": 1,
        "top_k": 5, "thinking": {"type": "enabled"}, "reasoning_effort": "high", "serviceTier": {"type": "flex"},
        "additionalModelRequestFields": {"y": 2},
        "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": schema, "strict": True}}],
        "tool_choice": "required", "parallel_tool_calls": True,
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}},
    }  # fmt: skip
    c = call()
    await signed(vendor, http).chat(request(model="m", **fields), c)
    assert json.loads(vendor.calls[0].raw) == {
        "system": [{"text": "Be brief."}],
        "messages": [
            {"role": "user", "content": [
                {"text": "Look"}, {"cachePoint": {"type": "default"}},
                {"image": {"format": "png", "source": {"bytes": "AAAA"}}},
                {"document": {"format": "pdf", "name": "a b pdf", "source": {"bytes": "BBBB"}}},
            ]},
            {"role": "assistant", "content": [
                {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "c2ln"}}},
                {"reasoningContent": {"redactedContent": "eA=="}},
                {"toolUse": {"toolUseId": "t1", "name": "f", "input": {"x": 1}}},
            ]},
            {"role": "user", "content": [{"toolResult": {"toolUseId": "t1", "content": [{"text": "one"}]}}]},
        ],
        "inferenceConfig": {"maxTokens": 9, "temperature": 0.5, "topP": 0.9, "stopSequences": ["END"]},
        "toolConfig": {
            "tools": [{"toolSpec": {"name": "f", "description": "d", "inputSchema": {"json": schema}, "strict": True}}],
            "toolChoice": {"any": {}},
        },
        "outputConfig": {"effort": "high", "textFormat": {"type": "json_schema", "structure": {
            "jsonSchema": {"name": "n", "schema": '{"type":"object","properties":{}}'}}}},
        "serviceTier": {"type": "flex"},
        "additionalModelRequestFields": {"top_k": 5, "thinking": {"type": "enabled"}, "y": 2},
    }  # fmt: skip
    assert c.degraded == ["not_supported:parallel_tool_calls", "not_supported:seed"]


async def test_thoughts_and_cached_tokens_come_back(world: Any) -> None:
    vendor, http = world
    content = [{"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "c2ln"}}}, {"text": "Yes."}]
    vendor.says(converse(content, cacheReadInputTokens=5, cacheWriteInputTokens=2))
    found = await signed(vendor, http).chat(asked(), call())
    message = json.loads(found.body)["choices"][0]["message"]
    assert (message["reasoning_content"], message["reasoning_details"][0]["signature"]) == ("Hm.", "c2ln")
    assert (found.text, found.usage.input_tokens, found.usage.cached_tokens) == ("Yes.", 18, 5)
    deltas = [{"reasoningContent": {"text": "Hm."}}, {"reasoningContent": {"signature": "c2ln"}}, {"text": "Yes."}]
    vendor.streams("x")
    vendor.reply.pieces = stream(deltas)
    chunks = await collect(await signed(vendor, http).stream(asked(stream=True), call()))
    shown = [json.loads(c.data)["choices"][0]["delta"] for c in chunks[:-1]]
    assert "".join(d.get("reasoning_content", "") for d in shown) == "Hm."
    assert [x["signature"] for d in shown for x in d.get("reasoning_details", ()) if "signature" in x] == ["c2ln"]
    assert said(chunks) == "Yes."


@pytest.mark.parametrize(
    ("stop", "finish", "complete"),
    [("guardrail_intervened", "content_filter", False), ("content_filtered", "content_filter", False),
     ("max_tokens", "length", False), ("stop_sequence", "stop", True), ("model_context_window_exceeded", "length", False)],
)  # fmt: skip
async def test_why_it_stopped_is_told(world: Any, stop: str, finish: str, complete: bool) -> None:
    vendor, http = world
    vendor.says(converse([{"text": "Sorry."}], stop))
    found = await signed(vendor, http).chat(asked(), call())
    assert (found.finish, found.complete) == (finish, complete)


async def test_a_malformed_model_output_is_invalid(world: Any) -> None:
    vendor, http = world
    vendor.says(converse([{"text": "{"}], "malformed_tool_use"))
    with pytest.raises(UpstreamInvalid):
        await signed(vendor, http).chat(asked(), call())


@pytest.mark.parametrize(
    ("status", "name", "error"),
    [(429, "ThrottlingException:http://x/", UpstreamRateLimited), (400, "ServiceQuotaExceededException", UpstreamRateLimited),
     (429, "ModelNotReadyException", UpstreamUnavailable), (424, "ModelErrorException", UpstreamUnavailable),
     (408, "ModelTimeoutException", UpstreamUnavailable), (400, "ValidationException", UpstreamRejected),
     (403, "ExpiredTokenException", UpstreamRejected), (403, "AccessDeniedException", UpstreamRejected)],
)  # fmt: skip
async def test_an_errors_type_says_what_it_is(world: Any, status: int, name: str, error: type[Exception]) -> None:
    vendor, http = world
    vendor.refuses(status, "arn:aws:iam::123456789012:user/x", {"x-amzn-errortype": name})
    with pytest.raises(error) as caught:
        await signed(vendor, http).chat(asked(), call())
    assert "123456789012" not in f"{caught.value}{getattr(caught.value, 'body', b'')!r}"


@pytest.mark.parametrize(
    ("name", "error"),
    [("modelStreamErrorException", UpstreamUnavailable), ("internalServerException", UpstreamUnavailable),
     ("throttlingException", UpstreamRateLimited), ("validationException", UpstreamRejected)],
)  # fmt: skip
async def test_an_exception_in_a_stream_is_its_error(world: Any, name: str, error: type[Exception]) -> None:
    vendor, http = world
    vendor.streams("one")
    failed = frame({"message": "secret inner state"}, kind="exception", exception=name)
    vendor.reply.pieces = [*vendor.reply.pieces[:2], failed]
    with pytest.raises(error) as caught:
        await collect(await signed(vendor, http).stream(asked(stream=True), call()))
    assert "secret inner" not in str(caught.value)


async def test_a_damaged_event_is_invalid(world: Any) -> None:
    vendor, http = world
    vendor.streams("one")
    damaged = bytearray(vendor.reply.pieces[1])
    damaged[-6] ^= 1
    vendor.reply.pieces = [vendor.reply.pieces[0], bytes(damaged), *vendor.reply.pieces[2:]]
    with pytest.raises(UpstreamInvalid):
        await collect(await signed(vendor, http).stream(asked(stream=True), call()))


async def test_the_operators_guardrail_stands(world: Any) -> None:
    vendor, http = world
    vendor.answers("ok")
    c = call()
    await signed(vendor, http, guardrail_id="g1", guardrail_version="2").chat(asked(guardrailConfig={"x": 1}), c)
    assert json.loads(vendor.calls[0].raw)["guardrailConfig"] == {"guardrailIdentifier": "g1", "guardrailVersion": "2"}
    assert c.degraded == ["not_supported:guardrailConfig"]


@pytest.mark.parametrize(
    "fields",
    [{"n": 2}, {"logprobs": True}, {"response_format": {"type": "json_object"}},
     {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/a.png"}}]}]},
     {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/tiff;base64,AA"}}]}]}],
)  # fmt: skip
async def test_what_cannot_be_translated_is_refused(world: Any, fields: dict[str, Any]) -> None:
    vendor, http = world
    with pytest.raises(InvalidRequest):
        await signed(vendor, http).chat(request(model="m", **fields), call())
    assert not vendor.calls


class TestSettings:
    wrong: ClassVar[list[dict[str, Any]]] = [
        {"access_key_id": "env:A"}, {"session_token": "env:T"}, {"api_key": "env:K", "profile": "p"}, {"region": "a/b"},
    ]  # fmt: skip

    @pytest.mark.parametrize("given", wrong)
    def test_settings_that_do_not_fit_are_refused(self, given: dict[str, Any]) -> None:
        with pytest.raises(ValidationError):
            bedrock.Settings(**{"region": "eu-central-1", **given})
