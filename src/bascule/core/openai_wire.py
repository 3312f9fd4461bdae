"""OpenAI's chat completions and embeddings as they come over the wire, for every provider that speaks them. Pure."""

from __future__ import annotations

import base64
import binascii
from array import array
from typing import Any, Final

import msgspec

from bascule.core.calls import Usage
from bascule.core.chat import OPENAI_CHAT, ChatChunk, ChatRequest, ChatResponse
from bascule.core.embedding import EmbeddingRequest, unit
from bascule.core.errors import UpstreamInvalid, UpstreamUnavailable
from bascule.core.json_splice import with_member, with_model

_USAGE_ASKED: Final = {"include_usage": True}
_GOOD: Final = frozenset({"stop", "tool_calls", "function_call"})


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: dict[str, Any] | None = None

    def plain(self) -> Usage:
        cached = (self.prompt_tokens_details or {}).get("cached_tokens")
        return Usage(
            input_tokens=self.prompt_tokens,
            output_tokens=self.completion_tokens,
            cached_tokens=cached if isinstance(cached, int) else 0,
        )


class _Message(msgspec.Struct):
    content: Any = None
    tool_calls: list[Any] | None = None
    function_call: Any = None
    refusal: str | None = None


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: str | None = None


class _Completion(msgspec.Struct):
    choices: list[_Choice]
    usage: _Usage | None = None


class _ChunkChoice(msgspec.Struct):
    delta: _Message | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    choices: list[_ChunkChoice] = []
    usage: _Usage | None = None
    error: Any = None


class _Embedding(msgspec.Struct):
    embedding: str | list[float]
    index: int = -1


class _Embeddings(msgspec.Struct):
    data: list[_Embedding]
    usage: _Usage | None = None


_decode_completion = msgspec.json.Decoder(_Completion).decode
_decode_chunk = msgspec.json.Decoder(_Chunk).decode
_decode_embeddings = msgspec.json.Decoder(_Embeddings).decode


def completion(body: bytes, *, model: str, provider: str) -> ChatResponse:
    """The envelope of a chat completion's bytes. Raises UpstreamInvalid."""
    try:
        found = _decode_completion(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise UpstreamInvalid("The model's provider sent an answer that is not a chat completion.") from None
    if not found.choices:
        raise UpstreamInvalid("The model's provider sent an answer without choices.")
    first = found.choices[0]
    return ChatResponse(
        wire=OPENAI_CHAT,
        body=body,
        model=model,
        provider=provider,
        usage=found.usage.plain() if found.usage else Usage(estimated=True),
        text=_text(first.message.content),
        finish=first.finish_reason,
        complete=all(_is_good(choice) for choice in found.choices),
    )


def asking_for_usage(request: ChatRequest) -> tuple[bytes, bool]:
    """A stream's body for the vendor, and whether the usage event it asks for is hidden from the caller, who did not."""
    body = with_model(request.body, request.view, request.model)
    options = request.view.get("stream_options")
    if isinstance(options, dict) and options.get("include_usage") is True:
        return body, False
    asked = {**options, **_USAGE_ASKED} if isinstance(options, dict) else _USAGE_ASKED
    return with_member(body, request.view, "stream_options", asked), True


class ChunkReader:
    """Reads a chat completion's stream, event by event. With `hide_usage` the event that brings only the usage is kept back;
    its figures are on the last chunk."""

    __slots__ = ("_hidden", "_hide_usage")

    def __init__(self, *, hide_usage: bool = False) -> None:
        self._hide_usage = hide_usage
        self._hidden: Usage | None = None

    def read(self, event: str, data: bytes) -> ChatChunk | None:
        """None for an event that is kept back.

        Raises UpstreamInvalid, or UpstreamUnavailable for an error that the vendor sends mid-stream.
        """
        if data == b"[DONE]":
            return ChatChunk(data, event, usage=self._hidden, last=True)
        try:
            chunk = _decode_chunk(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise UpstreamInvalid("The model's provider sent an event that is not a chat chunk.") from None
        if chunk.error is not None or event == "error":
            raise UpstreamUnavailable("The model's provider reported an error in the middle of its answer.")
        usage = chunk.usage.plain() if chunk.usage is not None else None
        if usage is not None and not chunk.choices and self._hide_usage:
            self._hidden = usage
            return None
        text, finish = "", None
        for choice in chunk.choices:
            delta = choice.delta
            if delta is not None:
                text += _text(delta.content)
                finish = "refusal" if delta.refusal else finish
            finish = finish or choice.finish_reason
        return ChatChunk(data, event, text, finish, usage)


def embeddings_body(request: EmbeddingRequest) -> bytes:
    """The body for /embeddings. Vectors are asked for as base64: a quarter of the bytes, and no digits to parse."""
    asked: dict[str, Any] = {"model": request.model, "input": request.texts, "encoding_format": "base64"}
    if request.dimensions is not None:
        asked["dimensions"] = request.dimensions
    return msgspec.json.encode(asked)


def vectors(body: bytes, count: int) -> tuple[tuple[bytes, ...], Usage]:
    """`count` vectors of unit length, in the order of the texts, and the usage. Raises UpstreamInvalid."""
    try:
        answer = _decode_embeddings(body)
        data = sorted(answer.data, key=lambda e: e.index) if all(e.index >= 0 for e in answer.data) else answer.data
        found = tuple(unit(_floats(entry.embedding)) for entry in data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, binascii.Error, ValueError, OverflowError):
        raise UpstreamInvalid("The model's provider sent an answer that is not embeddings.") from None
    if len(found) != count or not found[0] or len({len(v) for v in found}) != 1:
        raise UpstreamInvalid("The model's provider sent another number of embeddings than texts, or uneven ones.")
    return found, answer.usage.plain() if answer.usage else Usage(estimated=True)


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(p["text"] for p in content if isinstance(p, dict) and isinstance(p.get("text"), str))
    return ""


def _is_good(choice: _Choice) -> bool:
    message = choice.message
    if choice.finish_reason not in _GOOD or message.refusal:
        return False
    return bool(_text(message.content).strip()) or bool(message.tool_calls) or message.function_call is not None


def _floats(embedding: str | list[float]) -> array[float]:
    if isinstance(embedding, list):
        return array("f", embedding)
    values = array("f")
    values.frombytes(base64.b64decode(embedding, validate=True))
    return values
