"""Between OpenAI's chat completions and Anthropic's messages: requests one way, answers and streams the other. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

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
    {"model", "messages", "max_tokens", "max_completion_tokens", "stop", "temperature", "top_p", "stream", "tools",
     "tool_choice", "parallel_tool_calls", "user", "stream_options"}
)  # fmt: skip
# Leaving these out would change what the caller gets, so they are refused rather than dropped.
_REFUSED: Final[Mapping[str, Callable[[Any], bool]]] = {
    "n": lambda v: v not in (None, 1),
    "logprobs": bool,
    "response_format": lambda v: isinstance(v, dict) and v.get("type") not in (None, "text"),
    "functions": bool,
    "audio": bool,
}


def to_messages(view: Mapping[str, Any], model: str, default_max_tokens: int) -> tuple[dict[str, Any], list[str]]:
    """The body for /v1/messages, and the names of fields that have no counterpart and were left out.

    Raises InvalidRequest for what cannot be translated.
    """
    for field, wanted in _REFUSED.items():
        if wanted(view.get(field)):
            raise InvalidRequest(f"This model's provider does not support {field!r}.", param=field)
    system, messages = _conversation(view["messages"])
    longest = view.get("max_completion_tokens") or view.get("max_tokens") or default_max_tokens
    body: dict[str, Any] = {"model": model, "max_tokens": longest, "messages": messages}
    if system:
        body["system"] = system
    for field in ("temperature", "top_p", "stream"):
        if view.get(field) is not None:
            body[field] = view[field]
    if view.get("stop"):
        body["stop_sequences"] = [view["stop"]] if isinstance(view["stop"], str) else view["stop"]
    if isinstance(view.get("user"), str):
        body["metadata"] = {"user_id": view["user"]}
    if view.get("tools"):
        body["tools"] = [_tool(tool) for tool in view["tools"]]
        choice = _tool_choice(view)
        if choice:
            body["tool_choice"] = choice
    dropped = sorted(
        name for name, value in view.items() if name not in _TAKEN and name not in _REFUSED and value is not None
    )
    return body, dropped


def _conversation(messages: list[dict[str, Any]]) -> tuple[str, list[dict[str, Any]]]:
    """System text, and turns: neighbours of one role become one, as Anthropic wants tool results in one user turn."""
    system: list[str] = []
    turns: list[dict[str, Any]] = []
    for message in messages:
        role = message["role"]
        if role in ("system", "developer"):
            system.append(_plain_text(message.get("content")))
            continue
        blocks = _blocks(message)
        role = "assistant" if role == "assistant" else "user"
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"].extend(blocks)
        elif blocks:
            turns.append({"role": role, "content": blocks})
    return "\n\n".join(filter(None, system)), turns


def _blocks(message: dict[str, Any]) -> list[dict[str, Any]]:
    content = message.get("content")
    if message["role"] == "tool":
        return [{"type": "tool_result", "tool_use_id": message.get("tool_call_id"), "content": _plain_text(content)}]
    if isinstance(content, str):
        blocks = [{"type": "text", "text": content}] if content else []
    else:
        blocks = [_part(part) for part in content or ()]
    blocks.extend(_tool_use(call) for call in message.get("tool_calls") or ())
    return blocks


def _part(part: Any) -> dict[str, Any]:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text":
        return {"type": "text", "text": part.get("text", "")}
    if kind == "image_url":
        url = str((part.get("image_url") or {}).get("url", ""))
        head, comma, data = url.partition(";base64,")
        if comma and head.startswith("data:"):
            return {"type": "image", "source": {"type": "base64", "media_type": head[5:], "data": data}}
        return {"type": "image", "source": {"type": "url", "url": url}}
    raise InvalidRequest(f"This model's provider does not take a part of type {kind!r}.", param="messages")


def _plain_text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(str(p.get("text", "")) for p in content or () if isinstance(p, dict))


def _tool_use(call: Any) -> dict[str, Any]:
    try:
        function = call["function"]
        arguments = msgspec.json.decode(function["arguments"] or "{}")
        return {"type": "tool_use", "id": call["id"], "name": function["name"], "input": arguments}
    except (KeyError, TypeError, msgspec.DecodeError):
        raise InvalidRequest(
            "A tool call needs an id, a function's name and JSON arguments.", param="messages"
        ) from None


def _tool(tool: Any) -> dict[str, Any]:
    try:
        function = tool["function"]
        found = {"name": function["name"], "input_schema": function.get("parameters") or {"type": "object"}}
    except (KeyError, TypeError, AttributeError):
        raise InvalidRequest("A tool is a function with a name.", param="tools") from None
    if function.get("description"):
        found["description"] = function["description"]
    return found


def _tool_choice(view: Mapping[str, Any]) -> dict[str, Any] | None:
    wanted = view.get("tool_choice")
    choice: dict[str, Any] = {"type": {"required": "any", "none": "none"}.get(str(wanted), "auto")}
    if isinstance(wanted, dict):
        choice = {"type": "tool", "name": (wanted.get("function") or {}).get("name")}
    if view.get("parallel_tool_calls") is False and choice["type"] != "none":
        choice["disable_parallel_tool_use"] = True
    return choice if wanted is not None or len(choice) > 1 else None


def usage_of(counts: Any) -> Usage:
    """Anthropic counts cached input apart; here `input_tokens` is all of it."""
    found = counts if isinstance(counts, dict) else {}

    def number(name: str) -> int:
        value = found.get(name)
        return value if isinstance(value, int) else 0

    cached = number("cache_read_input_tokens")
    whole = number("input_tokens") + cached + number("cache_creation_input_tokens")
    return Usage(input_tokens=whole, output_tokens=number("output_tokens"), cached_tokens=cached)


def to_completion(message: dict[str, Any], created_s: int) -> tuple[dict[str, Any], str, str | None]:
    """OpenAI's chat completion, its text and its finish. Raises UpstreamInvalid."""
    try:
        text = "".join(b["text"] for b in message["content"] if b["type"] == "text")
        calls = [_tool_call(b) for b in message["content"] if b["type"] == "tool_use"]
        answer: dict[str, Any] = {"role": "assistant", "content": text or None if calls else text}
        finish = FINISHES.get(message.get("stop_reason") or "")
        head = {"id": message["id"], "object": "chat.completion", "created": created_s, "model": message["model"]}
    except (KeyError, TypeError):
        raise UpstreamInvalid("The model's provider sent an answer that is not a message.") from None
    if calls:
        answer["tool_calls"] = calls
    usage = openai_usage(usage_of(message.get("usage")))
    return head | {"choices": [{"index": 0, "message": answer, "finish_reason": finish}], "usage": usage}, text, finish


def _tool_call(block: dict[str, Any]) -> dict[str, Any]:
    arguments = msgspec.json.encode(block["input"]).decode()
    return {"id": block["id"], "type": "function", "function": {"name": block["name"], "arguments": arguments}}


def openai_usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }


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
        except (msgspec.DecodeError, UnicodeDecodeError):
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
        if kind == "content_block_start" and _inner(event, "content_block").get("type") == "tool_use":
            return [self._tool_start(event)]
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

    def _tool_start(self, event: dict[str, Any]) -> ChatChunk:
        block = _inner(event, "content_block")
        place = self._tools[event.get("index", 0)] = len(self._tools)
        function = {"name": block.get("name"), "arguments": ""}
        return self._chunk(
            {"tool_calls": [{"index": place, "id": block.get("id"), "type": "function", "function": function}]}
        )

    def _delta(self, event: dict[str, Any]) -> list[ChatChunk]:
        delta = _inner(event, "delta")
        if delta.get("type") == "text_delta":
            return [self._chunk({"content": delta.get("text", "")})]
        if delta.get("type") == "input_json_delta":
            place = self._tools.get(event.get("index", 0), 0)
            piece = {"arguments": delta.get("partial_json", "")}
            return [self._chunk({"tool_calls": [{"index": place, "function": piece}]})]
        return []

    def _end(self) -> list[ChatChunk]:
        usage = usage_of(self._counts)
        done = ChatChunk(b"[DONE]", usage=usage, last=True)
        if not self._show_usage:
            return [done]
        shown = msgspec.json.encode(self._frame | {"choices": [], "usage": openai_usage(usage)})
        return [ChatChunk(shown, usage=usage), done]

    def _chunk(self, delta: dict[str, Any], finish: str | None = None) -> ChatChunk:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        data = msgspec.json.encode(self._frame | {"choices": [choice]})
        return ChatChunk(data, text=str(delta.get("content") or ""), finish=finish)


def _inner(event: dict[str, Any], name: str) -> dict[str, Any]:
    found = event.get(name)
    return found if isinstance(found, dict) else {}
