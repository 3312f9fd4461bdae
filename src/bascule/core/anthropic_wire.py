"""Between OpenAI's chat completions and Anthropic's messages: requests one way, answers and streams the other. Pure.

Thinking comes to OpenAI's callers as `reasoning_content`, and with its signatures as `reasoning_details` (the shape of
OpenRouter's): a caller who sends those back with the assistant's message keeps the thread of a model that thinks between tools.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from bascule.core.anthropic_blocks import conversation
from bascule.core.anthropic_options import Thinking, format_of, think, tools_of
from bascule.core.calls import Usage
from bascule.core.chat import ChatChunk
from bascule.core.errors import InvalidRequest, UpstreamInvalid, UpstreamUnavailable

FINISHES: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_TAKEN: Final = frozenset(
    {"model", "messages", "max_tokens", "max_completion_tokens", "stop", "temperature", "top_p", "top_k", "stream", "tools",
     "tool_choice", "parallel_tool_calls", "user", "safety_identifier", "stream_options", "response_format",
     "reasoning_effort", "thinking"}
)  # fmt: skip
# Leaving these out would change what the caller gets, so they are refused rather than dropped.
_REFUSED: Final[Mapping[str, Callable[[Any], bool]]] = {
    "n": lambda v: v not in (None, 1),
    "logprobs": bool,
    "functions": bool,
    "audio": bool,
    "modalities": lambda v: isinstance(v, list) and v != ["text"],
    "web_search_options": lambda v: v is not None,
}


def to_messages(
    view: Mapping[str, Any], model: str, default_max_tokens: int, *, thinking: Thinking = "adaptive"
) -> tuple[dict[str, Any], list[str]]:
    """The body for /v1/messages, and the names of fields that have no counterpart and were left out.

    Raises InvalidRequest for what cannot be translated.
    """
    try:
        return _translated(view, model, default_max_tokens, thinking)
    except (TypeError, KeyError, AttributeError, ValueError, IndexError):
        # A field of another type than its format says: the vendor would refuse it too.
        raise InvalidRequest("The request does not have the shape that its format says.") from None


def _translated(
    view: Mapping[str, Any], model: str, default_max_tokens: int, thinking: Thinking
) -> tuple[dict[str, Any], list[str]]:
    for field, wanted in _REFUSED.items():
        if wanted(view.get(field)):
            raise InvalidRequest(f"This model's provider does not support {field!r}.", param=field)
    system, messages = conversation(view["messages"])
    stated = view.get("max_completion_tokens") or view.get("max_tokens")
    body: dict[str, Any] = {"model": model, "max_tokens": stated or default_max_tokens, "messages": messages}
    if system:
        body["system"] = system
    body |= {field: view[field] for field in ("temperature", "top_p", "top_k", "stream") if view.get(field) is not None}
    if view.get("stop"):
        body["stop_sequences"] = [view["stop"]] if isinstance(view["stop"], str) else view["stop"]
    user = view.get("user") or view.get("safety_identifier")
    if isinstance(user, str):
        body["metadata"] = {"user_id": user}
    body |= tools_of(view)
    output_format = format_of(view.get("response_format"))
    if output_format is not None:
        body["output_config"] = {"format": output_format}
    dropped = think(body, view, thinking, stated=bool(stated))
    known = _TAKEN | _REFUSED.keys()
    return body, sorted([*dropped, *(name for name, value in view.items() if name not in known and value is not None)])


def usage_of(counts: Any) -> Usage:
    """Anthropic counts cached input apart; here `input_tokens` is all of it. `estimated` where there are no counts."""
    if not isinstance(counts, dict) or not counts:
        return Usage(estimated=True)
    found = counts

    def number(name: str) -> int:
        value = found.get(name)
        return value if isinstance(value, int) else 0

    cached = number("cache_read_input_tokens")
    whole = number("input_tokens") + cached + number("cache_creation_input_tokens")
    return Usage(input_tokens=whole, output_tokens=number("output_tokens"), cached_tokens=cached)


def text_of(message: dict[str, Any]) -> str:
    """A message's text. Raises UpstreamInvalid."""
    try:
        return "".join(block["text"] for block in message["content"] if block["type"] == "text")
    except (KeyError, TypeError):
        raise UpstreamInvalid("The model's provider sent an answer that is not a message.") from None


def to_completion(message: dict[str, Any], created_s: int) -> tuple[dict[str, Any], str, str | None]:
    """OpenAI's chat completion, its text and its finish. Raises UpstreamInvalid."""
    text = text_of(message)
    try:
        calls = [_tool_call(b) for b in message["content"] if b["type"] == "tool_use"]
        answer: dict[str, Any] = {"role": "assistant", "content": text or None if calls else text}
        answer |= _reasoning(message["content"])
        finish = FINISHES.get(message.get("stop_reason") or "")
        head = {"id": message["id"], "object": "chat.completion", "created": created_s, "model": message["model"]}
    except (KeyError, TypeError):
        raise UpstreamInvalid("The model's provider sent an answer that is not a message.") from None
    if calls:
        answer["tool_calls"] = calls
    if finish == "content_filter":
        answer["refusal"] = _inner(message, "stop_details").get("explanation")
    usage = openai_usage(message.get("usage"))
    return head | {"choices": [{"index": 0, "message": answer, "finish_reason": finish}], "usage": usage}, text, finish


def _tool_call(block: dict[str, Any]) -> dict[str, Any]:
    arguments = msgspec.json.encode(block["input"]).decode()
    return {"id": block["id"], "type": "function", "function": {"name": block["name"], "arguments": arguments}}


def _reasoning(blocks: list[dict[str, Any]]) -> dict[str, Any]:
    texts: list[str] = []
    details: list[dict[str, Any]] = []
    for block in blocks:
        if block["type"] == "thinking":
            texts.append(block["thinking"])
            signature = block.get("signature")
            details.append({"type": "reasoning.text", "text": block["thinking"], "signature": signature})
        elif block["type"] == "redacted_thinking":
            details.append({"type": "reasoning.encrypted", "data": block["data"]})
    if not details:
        return {}
    return {"reasoning_content": "".join(texts), "reasoning_details": details}


def openai_usage(counts: Any) -> dict[str, Any]:
    """OpenAI's counts for Anthropic's `usage`."""
    usage = usage_of(counts)
    found = counts if isinstance(counts, dict) else {}
    shown: dict[str, Any] = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }
    if found.get("cache_creation_input_tokens"):
        shown["prompt_tokens_details"]["cache_write_tokens"] = found["cache_creation_input_tokens"]
    thought = _inner(found, "output_tokens_details").get("thinking_tokens")
    if thought is not None:
        shown["completion_tokens_details"] = {"reasoning_tokens": thought}
    return shown


class MessageEvents:
    """Reads Anthropic's stream: `read` returns the chunk as it is (for a caller of that format), `translate` OpenAI's chunks."""

    def __init__(self, created_s: int, *, show_usage: bool = False) -> None:
        self._frame: dict[str, Any] = {"object": "chat.completion.chunk", "created": created_s}
        self._show_usage = show_usage
        self._counts: dict[str, Any] = {}
        self._tools: dict[int, int] = {}

    def parse(self, data: bytes) -> dict[str, Any]:
        """Raises UpstreamInvalid, or UpstreamUnavailable for an error the vendor sends mid-stream."""
        try:
            event = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            event = None
        if not isinstance(event, dict) or not isinstance(event.get("type"), str):
            raise UpstreamInvalid("The model's provider sent an event that is not one of its format.")
        if event["type"] == "error":
            raise UpstreamUnavailable("The model's provider reported an error in the middle of its answer.")
        return event

    def read(self, name: str, data: bytes) -> ChatChunk:
        event = self.parse(data)
        text, finish = "", None
        if event["type"] == "content_block_delta":
            text = str(_inner(event, "delta").get("text") or "")
        finish = self._count(event)
        last = event["type"] == "message_stop"
        return ChatChunk(data, name, text, finish, usage_of(self._counts) if last else None, last)

    def translate(self, data: bytes) -> list[ChatChunk]:
        event = self.parse(data)
        kind, finish = event["type"], self._count(event)
        if kind == "message_start":
            message = _inner(event, "message")
            self._frame |= {"id": message.get("id"), "model": message.get("model")}
            return [self._chunk({"role": "assistant", "content": ""})]
        if kind == "content_block_start":
            return self._block_start(event)
        if kind == "content_block_delta":
            return self._delta(event)
        if kind == "message_delta":
            return [self._chunk({}, FINISHES.get(finish or ""))]
        return self._end() if kind == "message_stop" else []

    def _count(self, event: dict[str, Any]) -> str | None:
        """Note token counts; the stop reason where this event brings it."""
        if event["type"] == "message_start":
            self._counts |= _inner(_inner(event, "message"), "usage")
        if event["type"] != "message_delta":
            return None
        self._counts |= {k: v for k, v in _inner(event, "usage").items() if v is not None}
        reason = _inner(event, "delta").get("stop_reason")
        return reason if isinstance(reason, str) else None

    def _block_start(self, event: dict[str, Any]) -> list[ChatChunk]:
        block = _inner(event, "content_block")
        if block.get("type") == "redacted_thinking":
            detail = {"type": "reasoning.encrypted", "index": event.get("index", 0), "data": block.get("data")}
            return [self._chunk({"reasoning_details": [detail]})]
        if block.get("type") != "tool_use":
            return []
        place = self._tools[event.get("index", 0)] = len(self._tools)
        function = {"name": block.get("name"), "arguments": ""}
        return [
            self._chunk(
                {"tool_calls": [{"index": place, "id": block.get("id"), "type": "function", "function": function}]}
            )
        ]

    def _delta(self, event: dict[str, Any]) -> list[ChatChunk]:
        delta = _inner(event, "delta")
        kind, place = delta.get("type"), event.get("index", 0)
        if kind == "text_delta":
            return [self._chunk({"content": delta.get("text", "")})]
        if kind == "input_json_delta" and place in self._tools:
            piece = {"arguments": delta.get("partial_json", "")}
            return [self._chunk({"tool_calls": [{"index": self._tools[place], "function": piece}]})]
        if kind == "thinking_delta":
            thought = delta.get("thinking", "")
            detail = {"type": "reasoning.text", "index": place, "text": thought}
            return [self._chunk({"reasoning_content": thought, "reasoning_details": [detail]})]
        if kind == "signature_delta":
            detail = {"type": "reasoning.text", "index": place, "signature": delta.get("signature")}
            return [self._chunk({"reasoning_details": [detail]})]
        return []

    def _end(self) -> list[ChatChunk]:
        usage = usage_of(self._counts)
        done = ChatChunk(b"[DONE]", usage=usage, last=True)
        if not self._show_usage:
            return [done]
        shown = msgspec.json.encode(self._frame | {"choices": [], "usage": openai_usage(self._counts)})
        return [ChatChunk(shown, usage=usage), done]

    def _chunk(self, delta: dict[str, Any], finish: str | None = None) -> ChatChunk:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        data = msgspec.json.encode(self._frame | {"choices": [choice]})
        return ChatChunk(data, text=str(delta.get("content") or ""), finish=finish)


def _inner(event: dict[str, Any], name: str) -> dict[str, Any]:
    found = event.get(name)
    return found if isinstance(found, dict) else {}
