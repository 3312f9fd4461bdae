"""OpenAI's responses as a vendor sends them: read for what the gateway must know, passed on as they are. Pure."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from bascule.core.calls import Usage
from bascule.core.chat import OPENAI_RESPONSES, ChatChunk, ChatResponse
from bascule.core.errors import (
    UpstreamError,
    UpstreamInvalid,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamUnavailable,
)

COMPLETED: Final = "completed"
CALLS: Final = "function_call"  # the finish of a completed answer that calls a function
_CALLS: Final = frozenset({"function_call", "custom_tool_call"})
_ENDS: Final = frozenset({"response.completed", "response.incomplete"})
_VENDOR_FAULTS: Final = frozenset({None, "server_error", "vector_store_timeout"})


class _Part(msgspec.Struct):
    type: str = ""
    text: Any = None


class _Item(msgspec.Struct):
    type: str = ""
    content: list[_Part] | None = None


class _Usage(msgspec.Struct):
    input_tokens: int = 0
    output_tokens: int = 0
    input_tokens_details: dict[str, Any] | None = None

    def plain(self) -> Usage:
        cached = (self.input_tokens_details or {}).get("cached_tokens")
        return Usage(
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            cached_tokens=cached if isinstance(cached, int) else 0,
        )


class _Fault(msgspec.Struct):
    code: str | None = None


class _Response(msgspec.Struct):
    status: str
    output: list[_Item]
    usage: _Usage | None = None
    error: _Fault | None = None


class _Head(msgspec.Struct):
    type: str
    delta: Any = None
    code: str | None = None
    error: _Fault | None = None


class _End(msgspec.Struct):
    response: _Response


_decode_response = msgspec.json.Decoder(_Response).decode
_decode_head = msgspec.json.Decoder(_Head).decode
_decode_end = msgspec.json.Decoder(_End).decode


def answer(body: bytes, *, model: str, provider: str) -> ChatResponse:
    """The envelope of a response's bytes. Raises UpstreamInvalid, or the error that a failed response names."""
    try:
        found = _decode_response(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise UpstreamInvalid("The model's provider sent an answer that is not a response.") from None
    if found.status == "failed":
        raise _failed(found.error)
    text = _text(found)
    finish = _finish(found)
    return ChatResponse(
        wire=OPENAI_RESPONSES,
        body=body,
        model=model,
        provider=provider,
        usage=found.usage.plain() if found.usage else Usage(estimated=True),
        text=text,
        finish=finish,
        complete=finish == CALLS or (finish == COMPLETED and bool(text.strip())),
    )


class EventReader:
    """Reads a response's stream, event by event; its proper end is `response.completed` or `response.incomplete`."""

    __slots__ = ()

    def read(self, event: str, data: bytes) -> ChatChunk | None:
        """None for what is no event of the format.

        Raises UpstreamInvalid, or the error that `error` or `response.failed` names.
        """
        if data == b"[DONE]":
            return None
        try:
            head = _decode_head(data)
            if head.type in _ENDS:
                return _end(data, event)
            if head.type == "response.failed":
                raise _failed(_decode_end(data).response.error)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise UpstreamInvalid("The model's provider sent an event that is not one of its format.") from None
        if head.type == "error":
            raise _failed(head.error or _Fault(head.code))
        if head.type == "response.output_text.delta" and isinstance(head.delta, str):
            return ChatChunk(data, event, head.delta)
        return ChatChunk(data, event)


def _end(data: bytes, event: str) -> ChatChunk:
    response = _decode_end(data).response
    usage = response.usage.plain() if response.usage else None
    return ChatChunk(data, event, finish=_finish(response), usage=usage, last=True)


def _finish(response: _Response) -> str:
    """The status, but for two kinds of completed answers: those that refuse and those that call a function."""
    if response.status != COMPLETED:
        return response.status
    if any(part.type == "refusal" for item in response.output for part in item.content or ()):
        return "refusal"
    return CALLS if any(item.type in _CALLS for item in response.output) else COMPLETED


def _text(response: _Response) -> str:
    parts = (part for item in response.output for part in item.content or () if part.type == "output_text")
    return "".join(part.text for part in parts if isinstance(part.text, str))


def _failed(fault: _Fault | None) -> UpstreamError:
    code = fault.code if fault is not None else None
    if code == "rate_limit_exceeded":
        return UpstreamRateLimited("The model's provider limits requests.")
    if code in _VENDOR_FAULTS:
        return UpstreamUnavailable("The model's provider could not finish its answer.")
    return UpstreamRejected(f"The model's provider refused the request ({str(code)[:60]}).")
