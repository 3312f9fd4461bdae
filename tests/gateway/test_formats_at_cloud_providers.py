"""OpenAI's and Anthropic's requests through the whole gateway to Azure, Bedrock and Gemini: plain, streamed, with tools."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bascule.core.chat import ANTHROPIC_MESSAGES, OPENAI_CHAT, ChatRequest
from bascule.plugins.http_clients import httptools
from bascule.plugins.providers import azure_openai, bedrock, gemini
from bascule.testing.bedrock import BedrockVendor
from bascule.testing.gateway import Bench, bench, call, collect, request, resources, said
from bascule.testing.gemini import GeminiVendor
from bascule.testing.provider_contract import TOOLS
from bascule.testing.vendor_words import OpenaiVendor
from bascule.testing.vendors import Vendor, serving

CITY = {"city": "Bern"}


def asked(wire: str, *, stream: bool) -> ChatRequest:
    if wire == OPENAI_CHAT:
        return request("How warm is it?", stream=stream, **TOOLS)
    tool = {"name": "weather", "description": "How warm it is.", "input_schema": {"type": "object"}}
    view: dict[str, Any] = {"model": "fast", "max_tokens": 9, "system": "Be brief.", "tools": [tool]}
    view["messages"] = [{"role": "user", "content": "How warm is it?"}]
    view |= {"stream": True} if stream else {}
    return ChatRequest(wire=wire, body=json.dumps(view).encode(), view=view, model="fast", stream=stream)


CLOUDS: dict[str, tuple[Any, type[Vendor], dict[str, str]]] = {
    "azure_openai": (azure_openai, OpenaiVendor, {}),
    "bedrock": (bedrock, BedrockVendor, {"region": "eu-central-1"}),
    "gemini": (gemini, GeminiVendor, {}),
}


@pytest.fixture(params=CLOUDS)
async def cloud(request: Any) -> AsyncIterator[tuple[Bench, Vendor]]:
    module, kind, own = CLOUDS[request.param]
    vendor = kind()
    async with serving(vendor), httptools.connect(httptools.Settings()) as http:
        given = {"base_url": vendor.url, "api_key": "env:KEY", **own}
        async with module.connect(module.Settings(**given), resources(http)) as provider:
            made = bench(provider)
            yield made, vendor
            await made.gateway.aclose()


@pytest.mark.parametrize("wire", [OPENAI_CHAT, ANTHROPIC_MESSAGES])
async def test_an_answer_comes_back_in_the_callers_format(cloud: tuple[Bench, Vendor], wire: str) -> None:
    made, vendor = cloud
    vendor.answers("Minus four.", (5, 3))
    found = await made.gateway.chat(asked(wire, stream=False), call())
    body = json.loads(found.body)
    text = body["content"][0]["text"] if wire == ANTHROPIC_MESSAGES else body["choices"][0]["message"]["content"]
    assert (found.wire, found.text, text) == (wire, "Minus four.", "Minus four.")
    assert (made.records[0].input_tokens, made.records[0].output_tokens, made.records[0].outcome) == (5, 3, "ok")
    assert b"How warm it is." in vendor.calls[0].raw


@pytest.mark.parametrize("wire", [OPENAI_CHAT, ANTHROPIC_MESSAGES])
async def test_a_stream_comes_back_in_the_callers_format(cloud: tuple[Bench, Vendor], wire: str) -> None:
    made, vendor = cloud
    vendor.streams("Minus ", "four.", usage=(5, 3))
    chunks = await collect(await made.gateway.stream(asked(wire, stream=True), call()))
    assert (said(chunks), chunks[-1].last) == ("Minus four.", True)
    assert chunks[-1].event == ("message_stop" if wire == ANTHROPIC_MESSAGES else "")
    assert (made.records[0].input_tokens, made.records[0].output_tokens, made.records[0].outcome) == (5, 3, "ok")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("wire", [OPENAI_CHAT, ANTHROPIC_MESSAGES])
async def test_a_tool_call_comes_back_in_the_callers_format(
    cloud: tuple[Bench, Vendor], wire: str, stream: bool
) -> None:
    made, vendor = cloud
    vendor.calls_a_tool("weather", CITY, stream=stream)
    if stream:
        chunks = await collect(await made.gateway.stream(asked(wire, stream=True), call()))
        whole = b"".join(chunk.data for chunk in chunks)
        finish = next(chunk.finish for chunk in chunks if chunk.finish)
    else:
        found = await made.gateway.chat(asked(wire, stream=False), call())
        whole, finish = found.body, found.finish
    assert b"weather" in whole
    assert finish == ("tool_use" if wire == ANTHROPIC_MESSAGES else "tool_calls")
