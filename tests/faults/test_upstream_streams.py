"""Server-sent events gone wrong: cut, torn inside a character, without an end, too large, reporting an error half-way."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bascule.testing.after import CLIENTS, no_descriptor_leaked, resident_bytes, scenes
from bascule.testing.fault_proxy import Plan, canned, http_answer
from bascule.testing.fault_world import fault_world

DEADLINE_S = 3.0
OK = "ok"
EMPTY = "empty"
TIMEOUT = "upstream_timeout"
GONE = "upstream_unavailable"
INVALID = "upstream_invalid"
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
DONE = b"data: [DONE]\n\n"
ERROR = b'data: {"error":{"message":"overloaded","type":"server_error","code":null}}\n\n'


def prompt(request: bytes) -> str:
    return str(json.loads(request)["messages"][-1]["content"])


def delta(text: str | None, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {} if text is None else {"content": text}, "finish_reason": finish}
    frame = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return b"data: " + json.dumps(frame, ensure_ascii=False).encode() + b"\n\n"


def spoken(request: bytes) -> bytes:
    """An answer's events, with characters of two, three and four bytes in them, without [DONE]."""
    return delta("née – 🌉 ") + delta("answer 1 to ") + delta(prompt(request)) + delta(None, "stop")


def streamed(make: Callable[[bytes], bytes], **plan: Any) -> Plan:
    """The events that `make` makes of the request, then FIN."""
    return Plan(answer=lambda request: [HEAD, make(request)], **plan)


def dialect(line_end: bytes, **plan: Any) -> Plan:
    return streamed(lambda r: (spoken(r) + DONE).replace(b"\n", line_end), **plan)


async def pings(_: bytes) -> AsyncIterator[bytes]:
    import asyncio

    yield HEAD
    while True:
        yield b": ping\n\n"
        await asyncio.sleep(0.05)


def long_line(_: bytes) -> Iterator[bytes]:
    yield HEAD + delta("The line that follows has no end.") + b"data: "
    for _ in range(1600):
        yield b"x" * 65_536


def many_events(_: bytes) -> Iterator[bytes]:
    yield HEAD
    event = delta("x" * 60_000)
    for _ in range(1600):
        yield event


STREAMS: dict[str, tuple[Plan, str]] = {
    # well, in every spelling the standard allows, torn anywhere
    "as_it_should_be": (streamed(lambda r: spoken(r) + DONE), OK),
    "one_byte_at_a_time": (streamed(lambda r: spoken(r) + DONE, slice_bytes=1), OK),
    "crlf": (dialect(b"\r\n"), OK),
    "crlf_torn": (dialect(b"\r\n", slice_bytes=1), OK),
    "cr": (dialect(b"\r"), OK),
    "cr_torn": (dialect(b"\r", slice_bytes=3), OK),
    "byte_order_mark": (streamed(lambda r: b"\xef\xbb\xbf" + spoken(r) + DONE), OK),
    "byte_order_mark_torn": (streamed(lambda r: b"\xef\xbb\xbf" + spoken(r) + DONE, slice_bytes=1), OK),
    "comments_between": (streamed(lambda r: b": hello\n\n" + spoken(r) + b": bye\n\nid: 7\nretry: 5\n\n" + DONE), OK),
    "events_after_the_end": (streamed(lambda r: spoken(r) + DONE + delta("canary-" + "0" * 32) + DONE), OK),
    "stays_open_after_the_end": (streamed(lambda r: spoken(r) + DONE, fault="stall", at=DONE), OK),
    "no_space_after_the_colon": (streamed(lambda r: (spoken(r) + DONE).replace(b"data: ", b"data:")), OK),
    # cut
    "no_done": (streamed(spoken), GONE),
    "done_without_its_blank_line": (streamed(lambda r: spoken(r) + b"data: [DONE]"), GONE),
    "cut_inside_an_event": (streamed(lambda r: spoken(r)[:-30]), GONE),
    "cut_inside_a_character": (streamed(lambda r: delta("née")[: delta("née").index("é".encode()) + 1]), GONE),
    "reset_between_events": (streamed(lambda r: delta("a") + spoken(r), fault="reset", at=delta("a")), GONE),
    "silent_between_events": (streamed(lambda r: delta("a") + spoken(r), fault="stall", at=delta("a")), TIMEOUT),
    "nothing_in_it": (streamed(lambda _: b""), GONE),
    # wrong
    "only_the_end": (streamed(lambda _: DONE), EMPTY),
    "error_first": (streamed(lambda _: ERROR), GONE),
    "error_in_the_middle": (streamed(lambda r: delta("a") + ERROR + spoken(r) + DONE), GONE),
    "error_by_name": (streamed(lambda r: delta("a") + b"event: error\n" + ERROR + DONE), GONE),
    "not_json": (streamed(lambda r: delta("a") + b"data: <html>\n\n" + spoken(r) + DONE), INVALID),
    "not_utf8": (streamed(lambda r: delta("a") + b'data: {"choices":[{"delta":{"content":"\xff"}}]}\n\n' + DONE), INVALID),
    "choices_null": (streamed(lambda r: delta("a") + b'data: {"choices":null}\n\n' + spoken(r) + DONE), INVALID),
    "delta_no_object": (streamed(lambda r: delta("a") + b'data: {"choices":[{"delta":7}]}\n\n' + DONE), INVALID),
    "html": (canned(http_answer(b"<html></html>", content_type="text/html")), INVALID),
    "html_called_events": (canned(http_answer(b"<html>\n\n</html>\n\n", content_type="text/event-stream")), GONE),
    "a_whole_answer_instead": (canned(http_answer(b'{"choices":[{"message":{"content":"x"}}]}')), INVALID),
    "chunk_framing_broken": (
        canned(HEAD[:-2] + b"transfer-encoding: chunked\r\n\r\n", b"5\r\ndata:\r\n", b"zz\r\n"), GONE
    ),
    "pings_only": (Plan(answer=pings), TIMEOUT),
}  # fmt: skip
HEAVY: dict[str, tuple[Plan, str]] = {
    "nested_too_deep": (
        streamed(lambda r: delta("a") + b'data: {"choices":[],"x":' + b"[" * 200_000 + b"]" * 200_000 + b"}\n\n"), INVALID
    ),
    "a_line_of_100_mb": (Plan(answer=long_line), INVALID),
    "events_of_100_mb": (Plan(answer=many_events), INVALID),
}  # fmt: skip


async def play(data: Path, table: dict[str, tuple[Plan, str]], deadline_s: float, client: str) -> dict[str, list[str]]:
    plans = {name: plan for name, (plan, _) in table.items()}
    # Broken chunks are to one client a broken connection, to another no proper answer.
    expected = {name: {ends, INVALID} if ends == GONE else {ends} for name, (_, ends) in table.items()}
    async with no_descriptor_leaked():
        async with fault_world(data, plans, timeout_s=deadline_s, max_attempts=1, http_client=client) as world:
            return await scenes(world, expected, stream=True, deadline_s=deadline_s)


@pytest.mark.parametrize("client", CLIENTS)
async def test_a_broken_stream_ends_in_an_error_event_and_never_in_a_clean_end(tmp_path: Path, client: str) -> None:
    assert await play(tmp_path, STREAMS, DEADLINE_S, client) == {}


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("name", list(HEAVY))
async def test_a_stream_made_to_fill_the_memory_is_refused_in_bounded_memory(
    tmp_path: Path, name: str, client: str
) -> None:
    before = resident_bytes()
    assert await play(tmp_path, {name: HEAVY[name]}, 5.0, client) == {}
    assert resident_bytes() - before < 150_000_000
