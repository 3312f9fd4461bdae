"""Anthropic's messages gone wrong, for a caller who speaks OpenAI's format: translated into the same honest ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bascule.testing.after import no_descriptor_leaked, scenes
from bascule.testing.fault_proxy import Plan, canned, http_answer
from bascule.testing.fault_world import fault_world

DEADLINE_S = 3.0
OK = "ok"
EMPTY = "empty"
TIMEOUT = "upstream_timeout"
GONE = "upstream_unavailable"
INVALID = "upstream_invalid"
LIMITED = "upstream_rate_limited"
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}


def message(**fields: Any) -> Plan:
    whole: dict[str, Any] = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_sequence": None}
    whole |= {"content": [{"type": "text", "text": "x"}], "stop_reason": "end_turn"}
    whole |= {"usage": {"input_tokens": 1, "output_tokens": 1}}
    return canned(http_answer(json.dumps(whole | fields).encode()))


def event(name: str, **data: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps({'type': name} | data)}\n\n".encode()


START = event(
    "message_start",
    message={"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": None,
             "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1}},
)  # fmt: skip
BLOCK = event("content_block_start", index=0, content_block={"type": "text", "text": ""})
DELTA = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "x"})

WHOLE: dict[str, tuple[Plan, str]] = {
    "content_null": (message(content=None), INVALID),
    "content_text": (message(content="hello"), INVALID),
    "content_empty": (message(content=[]), EMPTY),
    "blocks_no_objects": (message(content=[1, "two", None]), INVALID),
    "text_no_string": (message(content=[{"type": "text", "text": 5}]), INVALID),
    "text_missing": (message(content=[{"type": "text"}]), INVALID),
    "block_without_type": (message(content=[{"text": "x"}]), INVALID),
    "tool_without_name": (message(content=[{"type": "tool_use", "input": {}}]), INVALID),
    "stop_reason_no_text": (message(stop_reason=["end_turn"]), INVALID),
    "an_array": (canned(http_answer(b"[]")), INVALID),
    "html": (canned(http_answer(b"<html></html>", content_type="text/html")), INVALID),
    "overloaded": (canned(http_answer(json.dumps(OVERLOADED).encode(), status="529 Overloaded")), GONE),
    "overloaded_with_200": (canned(http_answer(json.dumps(OVERLOADED).encode())), INVALID),
    "limited": (canned(http_answer(b"{}", status="429 Too Many", headers=["retry-after: 9"])), LIMITED),
    "cut": (Plan(fault="cut", at=b'"content"'), GONE),
    "silent": (Plan(silent=True), TIMEOUT),
}
STREAMS: dict[str, tuple[Plan, str]] = {
    "torn": (Plan(slice_bytes=3), OK),
    "cut_after_a_delta": (canned(HEAD + START + BLOCK + DELTA), GONE),
    "silent_after_a_delta": (canned(HEAD + START + BLOCK + DELTA, then="stall"), TIMEOUT),
    "error_after_a_delta": (canned(HEAD + START + BLOCK + DELTA + event("error", **OVERLOADED)), GONE),
    "error_first": (canned(HEAD + event("error", **OVERLOADED)), GONE),
    "stop_without_its_reason": (canned(HEAD + START + BLOCK + event("message_stop")), EMPTY),
    "pings_then_the_end": (canned(HEAD + START + event("ping") * 50), GONE),
    "not_json": (canned(HEAD + START + b"event: content_block_delta\ndata: <html>\n\n"), INVALID),
    "delta_no_object": (canned(HEAD + START + BLOCK + event("content_block_delta", index=0, delta=7)), INVALID),
    "start_without_message": (canned(HEAD + event("message_start") + DELTA), INVALID),
    "message_no_object": (canned(HEAD + event("message_start", message=[1])), INVALID),
    "reason_no_object": (canned(HEAD + START + event("message_delta", delta="end", usage=3)), INVALID),
    "html": (canned(http_answer(b"<html></html>", content_type="text/html")), INVALID),
    "overloaded": (canned(http_answer(json.dumps(OVERLOADED).encode(), status="529 Overloaded")), GONE),
}


async def play(data: Path, table: dict[str, tuple[Plan, str]], *, stream: bool) -> dict[str, list[str]]:
    plans = {name: plan for name, (plan, _) in table.items()}
    # A part that is no more than odd may be left out of the translation; it is never kept, nor an error of our own.
    expected = {name: {ends, EMPTY, GONE} if ends == INVALID else {ends} for name, (_, ends) in table.items()}
    kinds = dict.fromkeys(table, "anthropic")
    async with no_descriptor_leaked():
        async with fault_world(data, plans, kinds=kinds, timeout_s=DEADLINE_S, max_attempts=1) as world:
            return await scenes(world, expected, stream=stream, deadline_s=DEADLINE_S)


async def test_a_message_that_is_none_is_a_documented_error_and_never_kept(tmp_path: Path) -> None:
    assert await play(tmp_path, WHOLE, stream=False) == {}


async def test_a_broken_stream_of_messages_never_ends_clean(tmp_path: Path) -> None:
    assert await play(tmp_path, STREAMS, stream=True) == {}
