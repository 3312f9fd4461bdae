"""The response object: made from a request's fields, a chat completion's message and its counts. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from bascule.core.calls import Usage
from bascule.core.ids import new_id

_INCOMPLETE: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}
_ECHOED: Final = (
    "instructions", "max_output_tokens", "max_tool_calls", "metadata", "prompt_cache_key", "reasoning", "safety_identifier",
    "service_tier", "temperature", "text", "tool_choice", "tools", "top_logprobs", "top_p", "truncation", "user",
    "parallel_tool_calls",
)  # fmt: skip
_DEFAULTS: Final[Mapping[str, Any]] = {
    "error": None, "incomplete_details": None, "instructions": None, "max_output_tokens": None, "metadata": {},
    "parallel_tool_calls": True, "previous_response_id": None, "reasoning": {"effort": None, "summary": None},
    "temperature": None, "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [], "top_p": None,
    "truncation": "disabled", "usage": None, "user": None, "background": False, "store": False,
}  # fmt: skip


def frame(view: Mapping[str, Any], model: str, created_s: int) -> dict[str, Any]:
    """A response in progress: a new id, and what the request asked for."""
    echoed = {name: view[name] for name in _ECHOED if view.get(name) is not None}
    head = {"id": f"resp_{fresh()}", "object": "response", "created_at": created_s, "status": "in_progress"}
    return {**head, **_DEFAULTS, **echoed, "model": model, "output": []}


def fresh() -> str:
    """32 hex characters, never given before: clients tell answers apart by their ids."""
    return new_id().replace("-", "")


def ended(response: dict[str, Any], finish: str | None, output: list[dict[str, Any]], usage: Any) -> dict[str, Any]:
    """The response with its output, by the finish of a chat completion: cut short, refused by a filter, or completed."""
    reason = _INCOMPLETE.get(finish or "")
    status = "incomplete" if reason or finish is None else "completed"
    details = {"reason": reason} if reason else None
    return response | {"status": status, "incomplete_details": details, "output": output, "usage": usage}


def usage_of(counts: Mapping[str, Any]) -> dict[str, Any]:
    """From the usage of a chat completion."""

    def number(holder: Any, name: str) -> int:
        value = holder.get(name) if isinstance(holder, dict) else None
        return value if isinstance(value, int) else 0

    into, out = number(counts, "prompt_tokens"), number(counts, "completion_tokens")
    read, written = counts.get("prompt_tokens_details"), counts.get("completion_tokens_details")
    return {
        "input_tokens": into,
        "input_tokens_details": {
            "cached_tokens": number(read, "cached_tokens"),
            "cache_write_tokens": number(read, "cache_write_tokens"),
        },
        "output_tokens": out,
        "output_tokens_details": {"reasoning_tokens": number(written, "reasoning_tokens")},
        "total_tokens": into + out,
    }


def counts_of(usage: Usage) -> dict[str, Any]:
    """The usage of a chat completion, where only ours is known."""
    details = {"cached_tokens": usage.cached_tokens}
    return {
        "prompt_tokens": usage.input_tokens, "completion_tokens": usage.output_tokens, "prompt_tokens_details": details,
    }  # fmt: skip


# ------------------------------------------------------------ items


def reasoning_item(text: str, status: str = "completed") -> dict[str, Any]:
    content = [{"type": "reasoning_text", "text": text}] if text else []
    return {"type": "reasoning", "id": f"rs_{fresh()}", "summary": [], "content": content, "status": status}


def message_item(parts: list[dict[str, Any]], status: str = "completed") -> dict[str, Any]:
    return {"type": "message", "id": f"msg_{fresh()}", "role": "assistant", "content": parts, "status": status}


def call_item(call_id: str, name: str, arguments: str, status: str = "completed") -> dict[str, Any]:
    head = {"type": "function_call", "id": f"fc_{fresh()}", "call_id": call_id or f"call_{fresh()}"}
    return {**head, "name": name, "arguments": arguments, "status": status}


def text_part(text: str, annotations: list[Any] | None = None, logprobs: list[Any] | None = None) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": annotations or [], "logprobs": logprobs or []}


def refusal_part(text: str) -> dict[str, Any]:
    return {"type": "refusal", "refusal": text}


def output_of(message: Mapping[str, Any], logprobs: Any, status: str) -> list[dict[str, Any]]:
    """The items of a chat completion's message: thoughts, text, calls. Raises KeyError or TypeError for one that is none.

    Thoughts are read under both names that vendors use: `reasoning_content` (DeepSeek, vLLM) and `reasoning` (OpenRouter, Ollama).
    """
    items, parts = [], []
    thought = message.get("reasoning_content") or message.get("reasoning")
    if isinstance(thought, str) and thought:
        items.append(reasoning_item(thought))
    if message.get("content"):
        parts.append(text_part(text_of(message["content"]), _citations(message), logprobs_of(logprobs)))
    if message.get("refusal"):
        parts.append(refusal_part(message["refusal"]))
    calls = message.get("tool_calls") or []
    if parts or not calls:
        items.append(message_item(parts or [text_part("")], status))
    for call in calls:
        function = call["function"]
        items.append(call_item(call.get("id") or "", function["name"], function.get("arguments") or "", status))
    return items


def text_of(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(p["text"] for p in content if isinstance(p, dict) and isinstance(p.get("text"), str))


def logprobs_of(logprobs: Any) -> list[Any]:
    found = logprobs.get("content") if isinstance(logprobs, dict) else None
    return found if isinstance(found, list) else []


def _citations(message: Mapping[str, Any]) -> list[Any]:
    found = message.get("annotations")
    return [
        {"type": "url_citation", **note["url_citation"]}
        for note in (found if isinstance(found, list) else ())
        if isinstance(note, dict) and isinstance(note.get("url_citation"), dict)
    ]
