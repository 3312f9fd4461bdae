"""What a vendor that speaks OpenAI's responses itself sends, with the fields the openai SDK's types name."""

from __future__ import annotations

import json
from typing import Any

from bascule.testing.upstream import Fault

USAGE: dict[str, Any] = {
    "input_tokens": 11,
    "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 0},
    "output_tokens": 7,
    "output_tokens_details": {"reasoning_tokens": 2},
    "total_tokens": 18,
}


def message(text: str) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]}


def function_call() -> dict[str, Any]:
    head = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "status": "completed"}
    return {**head, "name": "weather", "arguments": '{"city":"Bern"}'}


def response(*output: dict[str, Any], status: str = "completed", **fields: Any) -> dict[str, Any]:
    head = {"id": "resp_1", "object": "response", "created_at": 1, "status": status, "model": "vendor-model"}
    more = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "vendor_extra": {"kept": True}}
    return {**head, **more, "output": list(output), "usage": USAGE, **fields}


def answers(*output: dict[str, Any], status: str = "completed", **fields: Any) -> Fault:
    """One plain answer."""
    return Fault(raw=json.dumps(response(*output, status=status, **fields)).encode())


def events(text: str, end: dict[str, Any] | None = None) -> list[bytes]:
    """The events of a stream that says `text`; `end` instead of `response.completed`."""
    item = message(text)
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    empty = {**item, "status": "in_progress", "content": []}
    begun = response(status="in_progress", usage=None)
    found: list[dict[str, Any]] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
        {"type": "response.output_item.added", "output_index": 0, "item": empty},
        {"type": "response.content_part.added", **place, "part": {**item["content"][0], "text": ""}},
        *({"type": "response.output_text.delta", **place, "delta": c, "logprobs": []} for c in text),
        {"type": "response.output_text.done", **place, "text": text, "logprobs": []},
        {"type": "response.content_part.done", **place, "part": item["content"][0]},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        end or {"type": "response.completed", "response": response(item)},
    ]
    return [
        f"event: {e['type']}\ndata: {json.dumps({**e, 'sequence_number': n})}\n\n".encode() for n, e in enumerate(found)
    ]


def streams(text: str, end: dict[str, Any] | None = None, *, cut_after: int | None = None) -> Fault:
    """One streamed answer; `cut_after` that many events it ends without its proper end."""
    return Fault(raw=b"".join(events(text, end)[:cut_after]), content_type="text/event-stream")
