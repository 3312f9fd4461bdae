from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from bascule.core.calls import Call, Usage
from bascule.core.chat import ANTHROPIC_MESSAGES, OPENAI_CHAT, ChatChunk, ChatRequest, ChatResponse, ChatStream
from bascule.core.errors import InvalidRequest, UpstreamInvalid, UpstreamRejected
from bascule.gateway.translate import Translating, in_any_wire
from bascule.testing.gateway import ScriptedModel, bench, call, collect, request

DONE = ChatChunk(b"[DONE]", usage=Usage(input_tokens=3, output_tokens=1), last=True)


def messages(
    *, stream: bool = False, wire: str = ANTHROPIC_MESSAGES, betas: tuple[str, ...] = (), **fields: Any
) -> ChatRequest:
    view = {"model": "fast", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}], **fields}
    if stream:
        view["stream"] = True
    body = msgspec.json.encode(view)
    return ChatRequest(wire=wire, body=body, view=view, model="fast", stream=stream, betas=betas)


class ChatVendor:
    """Speaks OPENAI_CHAT only and notes what it was asked. `chunks` are its streams; `error` is raised instead."""

    def __init__(self, *chunks: ChatChunk, error: Exception | None = None) -> None:
        self.requests: list[ChatRequest] = []
        self.chunks = chunks
        self.error = error
        self.closed = 0

    async def chat(self, request: ChatRequest, call: Call) -> ChatResponse:
        self._note(request)
        body = {"id": "c1", "model": "m", "choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]}
        return ChatResponse(
            wire=OPENAI_CHAT, body=msgspec.json.encode(body), model=request.model, provider="v", usage=Usage(input_tokens=3),
            text="Hello", finish="stop", complete=True,
        )  # fmt: skip

    async def stream(self, request: ChatRequest, call: Call) -> ChatStream:
        self._note(request)

        async def close() -> None:
            self.closed += 1

        return ChatStream(self._chunks(), wire=OPENAI_CHAT, model="m", provider="v", close=close)

    async def _chunks(self) -> AsyncIterator[ChatChunk]:
        for chunk in self.chunks:
            yield chunk

    def _note(self, request: ChatRequest) -> None:
        assert request.wire == OPENAI_CHAT
        self.requests.append(request)
        if self.error is not None:
            raise self.error


TEXT = ChatChunk(
    b'{"choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":"stop"}]}', text="Hello", finish="stop"
)


async def test_a_request_in_the_providers_own_format_passes_as_it_is() -> None:
    vendor = ScriptedModel()
    asked = request()
    await in_any_wire(vendor).chat(asked, call())
    assert vendor.requests[0] is asked


async def test_a_provider_says_which_formats_it_takes() -> None:
    class Both(ScriptedModel):
        wires = frozenset({OPENAI_CHAT, ANTHROPIC_MESSAGES})

    vendor = Both()
    asked = messages()
    await in_any_wire(vendor).chat(asked, call())
    assert vendor.requests[0] is asked


async def test_another_format_is_asked_in_openais_and_answered_in_its_own() -> None:
    vendor = ChatVendor()
    now = call()
    response = await in_any_wire(vendor).chat(messages(top_k=3, betas=("b",)), now)
    assert vendor.requests[0].view["max_completion_tokens"] == 9
    assert (response.wire, response.finish, response.text) == (ANTHROPIC_MESSAGES, "end_turn", "Hello")
    assert msgspec.json.decode(response.body)["content"] == [{"type": "text", "text": "Hello"}]
    assert now.degraded == ["not_supported:top_k", "not_supported:anthropic-beta"]


async def test_what_was_left_out_is_said_once_however_often_it_is_tried() -> None:
    now = call()
    model = in_any_wire(ChatVendor())
    await model.chat(messages(top_k=3), now)
    await model.chat(messages(top_k=3), now)
    assert now.degraded == ["not_supported:top_k"]


async def test_a_stream_is_translated_event_by_event_and_closed() -> None:
    vendor = ChatVendor(TEXT, DONE)
    stream = await in_any_wire(vendor).stream(messages(stream=True), call())
    chunks = await collect(stream)
    assert stream.wire == ANTHROPIC_MESSAGES
    assert [chunk.event for chunk in chunks][:2] == ["message_start", "ping"]
    assert (chunks[-1].event, chunks[-1].last, chunks[-1].usage) == ("message_stop", True, DONE.usage)
    assert vendor.closed > 0


async def test_a_stream_without_its_end_is_invalid() -> None:
    stream = await in_any_wire(ChatVendor(TEXT)).stream(messages(stream=True), call())
    with pytest.raises(UpstreamInvalid):
        await collect(stream)


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_refusal_comes_back_in_the_callers_format(streamed: bool) -> None:
    refused = UpstreamRejected(
        "no", provider="v", status=400, body=b'{"error":{"message":"too long"}}', wire=OPENAI_CHAT
    )
    model = in_any_wire(ChatVendor(error=refused))
    with pytest.raises(UpstreamRejected) as raised:
        await (model.stream(messages(stream=True), call()) if streamed else model.chat(messages(), call()))
    assert raised.value.wire == ANTHROPIC_MESSAGES
    assert msgspec.json.decode(raised.value.body)["error"] == {"type": "invalid_request_error", "message": "too long"}


async def test_a_format_nobody_knows_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        await Translating(ChatVendor(), frozenset({OPENAI_CHAT})).chat(messages(wire="morse"), call())  # type: ignore[arg-type]


async def test_an_answer_of_another_format_is_kept_and_replayed_byte_for_byte() -> None:
    vendor = ChatVendor(TEXT, DONE)
    gateway = bench(vendor).gateway
    first = await collect(await gateway.stream(messages(stream=True), call()))
    again = call()
    second = await collect(await gateway.stream(messages(stream=True), again))
    assert (again.cache, len(vendor.requests)) == ("HIT", 1)
    assert [(c.event, c.data, c.last) for c in first] == [(c.event, c.data, c.last) for c in second]


async def test_the_usage_of_a_translated_stream_is_accounted() -> None:
    made = bench(ChatVendor(TEXT, DONE))
    await collect(await made.gateway.stream(messages(stream=True), call()))
    assert (made.records[0].input_tokens, made.records[0].output_tokens, made.records[0].outcome) == (3, 1, "ok")


async def test_a_target_of_another_format_may_stand_in() -> None:
    down = ChatVendor(error=UpstreamInvalid("down"))
    vendor = ChatVendor()
    response = await bench(down, vendor).gateway.chat(messages(), call())
    assert (response.wire, len(vendor.requests)) == (ANTHROPIC_MESSAGES, 1)


async def test_betas_are_part_of_the_question() -> None:
    vendor = ChatVendor()
    gateway = bench(vendor).gateway
    for betas in ((), ("a",), ("b",), ("a",)):
        await gateway.chat(messages(betas=betas), call())
    assert len(vendor.requests) == 3
