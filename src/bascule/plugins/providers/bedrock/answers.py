"""Converse's answers and event streams as OpenAI's chat completions, by way of Anthropic's shapes, which are nearly the same."""

from __future__ import annotations

import struct
from typing import Any, Final

import msgspec
from botocore.eventstream import EventStreamBuffer, ParserError  # type: ignore[import-untyped]

from bascule.core.anthropic_wire import MessageEvents, to_completion, usage_of
from bascule.core.chat import OPENAI_CHAT, ChatChunk, ChatResponse
from bascule.core.errors import (
    UpstreamError,
    UpstreamInvalid,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamUnavailable,
)

NAME: Final = "bedrock"
_STOPPED_BY_RULES: Final = frozenset({"guardrail_intervened", "content_filtered"})
_MALFORMED: Final = frozenset({"malformed_model_output", "malformed_tool_use"})
_GOOD: Final = frozenset({"end_turn", "stop_sequence", "tool_use"})


def response(body: bytes, identity: str, model: str, created_s: int) -> ChatResponse:
    """Raises UpstreamInvalid."""
    found = _object(body)
    try:
        message = found["output"]["message"]
        content = [block for part in message["content"] for block in _block(part)]
        reason = _reason(found["stopReason"])
        counts = _counts(found.get("usage"))
    except (KeyError, TypeError, AttributeError):
        raise UpstreamInvalid("The model's provider sent an answer that is not a message.", provider=NAME) from None
    whole = {"id": identity, "model": model, "content": content, "stop_reason": reason, "usage": counts}
    completion, text, finish = to_completion(whole, created_s)
    tools = any(block["type"] == "tool_use" for block in content)
    return ChatResponse(
        wire=OPENAI_CHAT,
        body=msgspec.json.encode(completion),
        model=model,
        provider=NAME,
        usage=usage_of(counts),
        text=text,
        finish=finish,
        complete=reason in _GOOD and (bool(text.strip()) or tools),
    )


class ConverseEvents:
    """Reads application/vnd.amazon.eventstream (checksums included), piece by piece, as chat completion chunks."""

    def __init__(self, identity: str, model: str, created_s: int, *, show_usage: bool) -> None:
        self._buffer = EventStreamBuffer()
        self._events = MessageEvents(created_s, show_usage=show_usage)
        self._head = {"id": identity, "model": model}
        self._stopped = False

    def feed(self, piece: bytes) -> list[ChatChunk]:
        """Raises UpstreamInvalid for what is no event stream, and the error that an exception in it names."""
        self._buffer.add_data(piece)
        try:
            messages = list(self._buffer)
        except (ParserError, struct.error, KeyError, IndexError, UnicodeDecodeError):
            raise UpstreamInvalid("The model's provider sent an event stream that is damaged.", provider=NAME) from None
        return [chunk for message in messages for chunk in self._read(message.headers, message.payload)]

    def end(self) -> list[ChatChunk]:
        """The body is over: fine where the message was, and only its counts did not come."""
        return self._translate({"type": "message_stop"}) if self._stopped else []

    def _read(self, headers: Any, payload: bytes) -> list[ChatChunk]:
        kind = headers.get(":message-type")
        if kind != "event":
            raise named_error(str(headers.get(":exception-type") or headers.get(":error-code") or ""), 0, None)
        event = _object(payload)
        try:
            return self._event(str(headers.get(":event-type")), event)
        except (KeyError, TypeError, AttributeError):
            raise UpstreamInvalid("The model's provider sent an event that is not one of its format.") from None

    def _event(self, kind: str, event: dict[str, Any]) -> list[ChatChunk]:
        index = event.get("contentBlockIndex", 0)
        if kind == "messageStart":
            return self._translate({"type": "message_start", "message": self._head})
        if kind == "contentBlockStart" and "toolUse" in event["start"]:
            block = _block({"toolUse": {"input": {}, **event["start"]["toolUse"]}})[0]
            return self._translate({"type": "content_block_start", "index": index, "content_block": block})
        if kind == "contentBlockDelta":
            return self._delta(index, event["delta"])
        if kind == "messageStop":
            self._stopped = True
            return self._translate({"type": "message_delta", "delta": {"stop_reason": _reason(event["stopReason"])}})
        if kind == "metadata" and self._stopped:
            counted = self._translate({"type": "message_delta", "usage": _counts(event.get("usage"))})
            return [c for c in counted if c.finish] + self._translate({"type": "message_stop"})
        return []

    def _delta(self, index: int, delta: dict[str, Any]) -> list[ChatChunk]:
        thought = delta.get("reasoningContent") or {}
        if "redactedContent" in thought:
            block = {"type": "redacted_thinking", "data": thought["redactedContent"]}
            return self._translate({"type": "content_block_start", "index": index, "content_block": block})
        if "text" in delta:
            found: dict[str, Any] = {"type": "text_delta", "text": delta["text"]}
        elif "toolUse" in delta:
            found = {"type": "input_json_delta", "partial_json": delta["toolUse"]["input"]}
        elif "signature" in thought:
            found = {"type": "signature_delta", "signature": thought["signature"]}
        elif "text" in thought:
            found = {"type": "thinking_delta", "thinking": thought["text"]}
        else:
            return []
        return self._translate({"type": "content_block_delta", "index": index, "delta": found})

    def _translate(self, event: dict[str, Any]) -> list[ChatChunk]:
        return self._events.translate(msgspec.json.encode(event))


def named_error(name: str, status: int, retry_after_s: float | None) -> UpstreamError:
    """The error for an exception of the service, as a status or in a stream. Its words stay here: they can hold the signed
    request, the account and its roles."""
    kind = name.partition(":")[0].rpartition("#")[2]
    lowered = kind[:1].lower() + kind[1:]
    if lowered in ("throttlingException", "serviceQuotaExceededException"):
        return UpstreamRateLimited("The model's provider limits requests.", provider=NAME, retry_after_s=retry_after_s)
    if lowered == "validationException":
        message = "The model's provider refused the request."
        return UpstreamRejected(message, provider=NAME, status=400, body=_told(message, kind), wire=OPENAI_CHAT)
    if 400 <= status < 500 and status not in (408, 409, 424, 425, 429):
        message = f"The model's provider refused the request with status {status}."
        return UpstreamRejected(message, provider=NAME, status=status, body=_told(message, kind), wire=OPENAI_CHAT)
    if status == 429 and lowered != "modelNotReadyException":
        return UpstreamRateLimited("The model's provider limits requests.", provider=NAME, retry_after_s=retry_after_s)
    message = "The model's provider could not answer."
    return UpstreamUnavailable(message, provider=NAME, retry_after_s=retry_after_s)


def _told(message: str, kind: str) -> bytes:
    said = {"message": message, "type": "upstream_error", "param": None, "code": kind or "upstream_rejected"}
    return msgspec.json.encode({"error": said})


def _block(part: dict[str, Any]) -> list[dict[str, Any]]:
    if "text" in part:
        return [{"type": "text", "text": str(part["text"])}]
    if "toolUse" in part:
        use = part["toolUse"]
        return [{"type": "tool_use", "id": use["toolUseId"], "name": use["name"], "input": use["input"]}]
    if "citationsContent" in part:
        return [{"type": "text", "text": str(p["text"])} for p in part["citationsContent"].get("content") or ()]
    thought = part.get("reasoningContent") or {}
    if "redactedContent" in thought:
        return [{"type": "redacted_thinking", "data": thought["redactedContent"]}]
    if "reasoningText" in thought:
        said = thought["reasoningText"]
        return [{"type": "thinking", "thinking": said["text"], "signature": said.get("signature")}]
    return []


def _reason(stated: str) -> str:
    if stated in _MALFORMED:
        raise UpstreamInvalid("The model gave an answer that its provider could not read.", provider=NAME)
    return "refusal" if stated in _STOPPED_BY_RULES else stated


def _counts(usage: Any) -> dict[str, int]:
    """Anthropic's counts: like those, `inputTokens` leaves out what was read from or written to the cache."""
    found = usage if isinstance(usage, dict) else {}
    names = {"inputTokens": "input_tokens", "outputTokens": "output_tokens", "cacheReadInputTokens": "cache_read_input_tokens",
             "cacheWriteInputTokens": "cache_creation_input_tokens"}  # fmt: skip
    return {told: found[name] for name, told in names.items() if isinstance(found.get(name), int)}


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UpstreamInvalid("The model's provider sent something that is not an answer.", provider=NAME)
    return found
