"""What every provider of chats must do. Subclass `ProviderContract`, give the fixtures `vendor` (a `Vendor` being served) and
`provider` (connected to it over `http`, with every secret being `SECRET`), and pytest runs it.

Requests are OpenAI's chat completions, the format every provider takes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from email.utils import formatdate
from time import time
from typing import Any

import pytest

from bascule.core.chat import ChatChunk, ChatModel, ChatRequest
from bascule.core.errors import (
    UpstreamError,
    UpstreamInvalid,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from bascule.core.http import HttpClient
from bascule.plugins.http_clients import httptools
from bascule.testing.gateway import call, collect, request, said, until
from bascule.testing.vendors import SECRET, Vendor

TOOLS: dict[str, Any] = {
    "tools": [{"type": "function", "function": {"name": "weather", "description": "How warm it is.",
               "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}],
}  # fmt: skip
PIXEL = "iVBORw0KGgo="
CHOSEN: dict[str, Any] = {
    "api_key": "sk-callers", "base_url": "http://127.0.0.1:1/evil", "api_base": "http://127.0.0.1:1/evil",
    "api_version": "1999-01-01", "organization": "evil", "extra_headers": {"authorization": "Bearer sk-callers"},
    "aws_region_name": "evil-1", "aws_access_key_id": "AKIDEVIL", "project": "evil", "location": "evil",
}  # fmt: skip


def asked(text: str = "hello", *, stream: bool = False, **fields: Any) -> ChatRequest:
    return request(text, model="vendor-model", stream=stream, **fields)


class ProviderContract:
    @pytest.fixture
    async def http(self) -> AsyncIterator[HttpClient]:
        async with httptools.connect(httptools.Settings(pool_size=16)) as client:
            yield client

    async def test_text_and_usage_come_back(self, provider: ChatModel, vendor: Vendor) -> None:
        vendor.answers("Grüezi 漢🙂", (5, 3))
        found = await provider.chat(asked("What's up?"), call())
        assert (found.text, found.complete, found.usage.estimated) == ("Grüezi 漢🙂", True, False)
        assert (found.usage.input_tokens, found.usage.output_tokens) == (5, 3)
        message = json.loads(found.body)["choices"][0]
        assert (message["message"]["content"], message["finish_reason"]) == ("Grüezi 漢🙂", "stop")
        assert b"What's up?" in vendor.calls[0].raw
        assert "vendor-model" in vendor.calls[0].path + vendor.calls[0].raw.decode()

    async def test_a_stream_arrives_piece_by_piece_and_ends(self, provider: ChatModel, vendor: Vendor) -> None:
        vendor.streams("first", "second", usage=(5, 3))
        gate = vendor.waits_before("second")
        stream = await provider.stream(asked(stream=True), call())
        chunks: list[ChatChunk] = []
        it = aiter(stream)
        async with asyncio.timeout(3):
            while said(chunks) != "first":
                chunks.append(await anext(it))
        gate.set()
        chunks += [chunk async for chunk in it]
        await stream.aclose()
        assert (said(chunks), chunks[-1].last, chunks[-1].data) == ("firstsecond", True, b"[DONE]")
        assert [c.finish for c in chunks if c.finish] == ["stop"]
        last = chunks[-1].usage
        assert last is not None
        assert (last.input_tokens, last.output_tokens) == (5, 3)

    async def test_usage_is_shown_in_a_stream_to_those_who_ask(self, provider: ChatModel, vendor: Vendor) -> None:
        vendor.streams("x", usage=(5, 3))
        chunks = await collect(
            await provider.stream(asked(stream=True, stream_options={"include_usage": True}), call())
        )
        counts = [u for c in chunks[:-1] if (u := json.loads(c.data).get("usage"))]
        assert [(u["prompt_tokens"], u["completion_tokens"]) for u in counts] == [(5, 3)]

    @pytest.mark.parametrize("torn", [1, 3, 7])
    async def test_a_stream_torn_anywhere_is_whole(self, provider: ChatModel, vendor: Vendor, torn: int) -> None:
        vendor.streams("é漢", "🙂!", torn=torn)
        assert said(await collect(await provider.stream(asked(stream=True), call()))) == "é漢🙂!"

    async def test_a_cut_stream_is_an_error_wherever_it_is_cut(self, provider: ChatModel, vendor: Vendor) -> None:
        vendor.streams("one", "two")
        for count in range(len(vendor.reply.pieces)):
            vendor.streams("one", "two")
            vendor.ends_after(count, "cut")
            with pytest.raises(UpstreamUnavailable):
                await collect(await provider.stream(asked(stream=True), call()))

    async def test_a_stream_that_ends_in_the_middle_of_its_text_was_cut(
        self, provider: ChatModel, vendor: Vendor
    ) -> None:
        vendor.streams("one", "two")
        place = next(i for i, piece in enumerate(vendor.reply.pieces) if b"one" in piece)
        vendor.ends_after(place + 1, "clean")
        with pytest.raises(UpstreamError) as caught:
            await collect(await provider.stream(asked(stream=True), call()))
        assert caught.value.retryable

    @pytest.mark.parametrize("stream", [False, True])
    async def test_a_limit_says_when_to_come_back(self, provider: ChatModel, vendor: Vendor, stream: bool) -> None:
        for value in ("7", formatdate(time() + 7, usegmt=True)):
            vendor.refuses(429, headers={"retry-after": value})
            with pytest.raises(UpstreamRateLimited) as caught:
                await _ask(provider, stream)
            assert caught.value.retry_after_s == pytest.approx(7, abs=2)

    @pytest.mark.parametrize("stream", [False, True])
    @pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
    async def test_a_refusal_is_not_retryable(
        self, provider: ChatModel, vendor: Vendor, status: int, stream: bool
    ) -> None:
        vendor.refuses(status)
        with pytest.raises(UpstreamRejected) as caught:
            await _ask(provider, stream)
        assert (caught.value.retryable, caught.value.http_status, caught.value.wire) == (False, status, "openai.chat")
        assert "message" in json.loads(caught.value.body)["error"]

    @pytest.mark.parametrize("stream", [False, True])
    @pytest.mark.parametrize("status", [500, 502, 503, 504, 529, 408])
    async def test_a_vendor_in_trouble_is_retryable(
        self, provider: ChatModel, vendor: Vendor, status: int, stream: bool
    ) -> None:
        vendor.refuses(status)
        with pytest.raises(UpstreamUnavailable) as caught:
            await _ask(provider, stream)
        assert caught.value.retryable

    @pytest.mark.parametrize("stream", [False, True])
    @pytest.mark.parametrize(
        ("raw", "kind"),
        [(b"<html>Sign in</html>", "text/html"), (b"{", ""), (b"", ""), (b"[]", ""), (b"null", ""), (b"{}", ""),
         (b"\xff\xfe", ""), (b"[" * 100_000, "")],
        ids=["html", "half", "nothing", "list", "null", "empty object", "no text", "abyss"],
    )  # fmt: skip
    async def test_what_is_no_answer_is_an_error(
        self, provider: ChatModel, vendor: Vendor, raw: bytes, kind: str, stream: bool
    ) -> None:
        vendor.says(raw, kind or (vendor.stream_type if stream else "application/json"))
        with pytest.raises(UpstreamError if stream else UpstreamInvalid) as caught:
            await _ask(provider, stream)
        assert caught.value.retryable

    @pytest.mark.parametrize("text", ["", "  \n"])
    async def test_an_answer_that_says_nothing_is_not_a_good_one(
        self, provider: ChatModel, vendor: Vendor, text: str
    ) -> None:
        vendor.answers(text)
        assert not (await provider.chat(asked(), call())).complete

    async def test_unknown_fields_go_on_or_are_named(self, provider: ChatModel, vendor: Vendor) -> None:
        vendor.answers("ok")
        c = call()
        await provider.chat(asked(new_knob={"x": [1, None]}), c)
        assert b"new_knob" in vendor.calls[0].raw or "not_supported:new_knob" in c.degraded

    async def test_a_request_chooses_neither_credentials_nor_address(self, provider: ChatModel, vendor: Vendor) -> None:
        vendor.answers("ok")
        await provider.chat(asked(), call())
        await provider.chat(asked(**CHOSEN), call())
        plain, chosen = vendor.calls
        assert (chosen.path, vendor.credential(chosen)) == (plain.path, vendor.credential(plain))
        assert vendor.credential(plain)
        assert not any("evil" in value.lower() or "callers" in value for value in chosen.headers.values())

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500])
    async def test_no_error_tells_the_key(self, provider: ChatModel, vendor: Vendor, status: int) -> None:
        vendor.refuses(status, f"wrong key {SECRET}", {"x-echo": SECRET})
        with pytest.raises(UpstreamError) as caught:
            await provider.chat(asked(), call())
        error: Any = caught.value
        assert SECRET not in f"{error} {error.message} {error.args} {getattr(error, 'body', b'').decode()}"

    async def test_a_caller_who_leaves_closes_the_vendors_connection(self, provider: ChatModel, vendor: Vendor) -> None:
        vendor.hangs()
        for stream in (False, True):
            task = asyncio.create_task(_ask(provider, stream))
            await until(lambda: len(vendor.calls) > stream)  # noqa: B023
            task.cancel()
            await asyncio.wait([task])
            await until(lambda: vendor.aborted == 1 + stream)  # noqa: B023

    async def test_a_stream_closed_in_its_middle_closes_the_vendors_connection(
        self, provider: ChatModel, vendor: Vendor
    ) -> None:
        vendor.streams("one", "two")
        vendor.waits_before("two")
        stream = await provider.stream(asked(stream=True), call())
        await anext(aiter(stream))
        await stream.aclose()
        await until(lambda: vendor.aborted == 1)

    async def test_a_vendor_that_hangs_ends_with_the_callers_deadline(
        self, provider: ChatModel, vendor: Vendor
    ) -> None:
        vendor.hangs()
        for stream in (False, True):
            with pytest.raises(UpstreamTimeout):
                await _ask(provider, stream, timeout_s=0.15)
        vendor.streams("one", "two")
        vendor.waits_before("two")
        with pytest.raises(UpstreamTimeout):
            await _ask(provider, True, timeout_s=0.3)

    @pytest.mark.parametrize("stream", [False, True])
    async def test_a_tool_call_comes_back(self, provider: ChatModel, vendor: Vendor, stream: bool) -> None:
        vendor.calls_a_tool("weather", {"city": "Bern", "days": [1, 2]}, stream=stream)
        name, arguments = "", ""
        if stream:
            chunks = await collect(await provider.stream(asked(stream=True, **TOOLS), call()))
            deltas = [choice["delta"] for c in chunks[:-1] for choice in json.loads(c.data)["choices"]]
            assert [c.finish for c in chunks if c.finish] == ["tool_calls"]
        else:
            found = await provider.chat(asked(**TOOLS), call())
            deltas = [json.loads(found.body)["choices"][0]["message"]]
            assert (found.finish, found.complete) == ("tool_calls", True)
        for part in (p for delta in deltas for p in delta.get("tool_calls") or ()):
            name += part["function"].get("name") or ""
            arguments += part["function"].get("arguments") or ""
        assert (name, json.loads(arguments)) == ("weather", {"city": "Bern", "days": [1, 2]})
        assert b"How warm it is." in vendor.calls[0].raw

    async def test_a_tools_result_and_an_image_go_out(self, provider: ChatModel, vendor: Vendor) -> None:
        vendor.answers("ok")
        function = {"name": "weather", "arguments": '{"city":"Bern"}'}
        messages = [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [
                {"type": "text", "text": "Look"},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
            ]},
            {"role": "assistant", "content": None, "tool_calls": [{"id": "call_1", "type": "function", "function": function}]},
            {"role": "tool", "tool_call_id": "call_1", "content": "minus four"},
        ]  # fmt: skip
        await provider.chat(asked(messages=messages, **TOOLS), call())
        sent = vendor.calls[0].raw
        assert all(part in sent for part in (b"Be brief.", b"Look", PIXEL.encode(), b"Bern", b"minus four"))


async def _ask(provider: ChatModel, stream: bool, timeout_s: float = 5.0) -> None:
    if stream:
        await collect(await provider.stream(asked(stream=True), call(timeout_s=timeout_s)))
    else:
        await provider.chat(asked(), call(timeout_s=timeout_s))
