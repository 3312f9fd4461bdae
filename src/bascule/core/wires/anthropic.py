"""Anthropic's messages, answered by a provider of OpenAI's chat completions: the request there, the answer and its stream back.

Field by field after the types of the `anthropic` and `openai` Python SDKs.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import msgspec

from bascule.core.calls import Usage
from bascule.core.chat import ANTHROPIC_MESSAGES, OPENAI_CHAT, ChatRequest, ChatResponse
from bascule.core.errors import UpstreamInvalid, UpstreamRejected
from bascule.core.wires.anthropic_requests import to_chat_view, wants_thinking
from bascule.core.wires.anthropic_streams import MessageWriter
from bascule.core.wires.anthropic_words import message_usage, stop_of

_ERROR_TYPES: Final = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def error_type(status: int) -> str:
    """Anthropic's name for an error of this HTTP status."""
    return _ERROR_TYPES.get(status) or ("api_error" if status >= 500 else "invalid_request_error")


def error_body(status: int, message: str, request_id: str | None = None) -> bytes:
    """Anthropic's error body, also the data of its stream's `error` event."""
    body: dict[str, Any] = {"type": "error", "error": {"type": error_type(status), "message": message}}
    if request_id:
        body["request_id"] = request_id
    return msgspec.json.encode(body)


class AnthropicTranslator:
    """See `Translator`. A thinking block is given only to a caller who asked for thinking; it has no signature, as only
    Anthropic can give one."""

    __slots__ = ()

    def to_chat(self, request: ChatRequest) -> tuple[ChatRequest, list[str]]:
        view, dropped = to_chat_view(request.view, request.model)
        if request.stream:
            # The usage is not asked for: a provider that can ask does so itself, and tells it on the last chunk.
            view["stream"] = True
        body = msgspec.json.encode(view)
        return ChatRequest(wire=OPENAI_CHAT, body=body, view=view, model=request.model, stream=request.stream), dropped

    def response(self, response: ChatResponse, request: ChatRequest) -> ChatResponse:
        try:
            completion = msgspec.json.decode(response.body)
            choice = completion["choices"][0]
            body = _message(completion, choice, request.view, response.usage)
        except (msgspec.DecodeError, UnicodeDecodeError, KeyError, IndexError, TypeError, AttributeError):
            raise UpstreamInvalid("The model's provider sent an answer that is not a chat completion.") from None
        return ChatResponse(
            wire=ANTHROPIC_MESSAGES,
            body=msgspec.json.encode(body),
            model=response.model,
            provider=response.provider,
            usage=response.usage,
            text=response.text,
            finish=body["stop_reason"],
            complete=response.complete,
        )

    def stream(self, request: ChatRequest, created_s: int) -> MessageWriter:
        return MessageWriter(
            request.model, request.view.get("stop_sequences") or (), thinking=wants_thinking(request.view)
        )

    def error(self, error: UpstreamRejected) -> UpstreamRejected:
        found: Any = None
        with suppress(msgspec.DecodeError, UnicodeDecodeError):
            found = msgspec.json.decode(error.body)
        inner = found.get("error") if isinstance(found, dict) else None
        said = inner.get("message") if isinstance(inner, dict) else inner
        message = said if isinstance(said, str) and said else error.message
        return UpstreamRejected(
            error.message,
            provider=error.provider,
            status=error.http_status,
            body=error_body(error.http_status, message),
            wire=ANTHROPIC_MESSAGES,
        )


def _message(completion: Any, choice: Any, view: Mapping[str, Any], usage: Usage) -> dict[str, Any]:
    said = choice["message"]
    content: list[dict[str, Any]] = []
    reasoning = said.get("reasoning_content") or said.get("reasoning")
    if isinstance(reasoning, str) and reasoning and wants_thinking(view):
        content.append({"type": "thinking", "thinking": reasoning, "signature": ""})
    text = _text(said.get("content")) + (said.get("refusal") or "")
    if text:
        content.append({"type": "text", "text": text})
    calls = said.get("tool_calls") or []
    if not calls and said.get("function_call"):
        calls = [{"id": "toolu_0", "function": said["function_call"]}]
    content.extend(_tool_use(call) for call in calls)
    finish = "refusal" if said.get("refusal") else choice.get("finish_reason")
    reason, sequence = stop_of(finish, choice.get("stop_reason"), view.get("stop_sequences") or (), tools=bool(calls))
    return {
        "id": completion.get("id") or "msg_0",
        "type": "message",
        "role": "assistant",
        "model": completion.get("model") or "",
        "content": content,
        "stop_reason": reason,
        "stop_sequence": sequence,
        "usage": message_usage(usage),
    }


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or "" for part in content or ())


def _tool_use(call: Any) -> dict[str, Any]:
    function = call["function"]
    arguments = msgspec.json.decode(function.get("arguments") or "{}")
    if not isinstance(arguments, dict):
        raise TypeError("a tool's input is an object")
    return {"type": "tool_use", "id": call["id"], "name": function["name"], "input": arguments}


TRANSLATOR: Final = AnthropicTranslator()
