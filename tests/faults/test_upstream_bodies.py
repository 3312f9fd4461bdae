"""Answers that are no answers: every malformed whole reply a vendor, or something that poses as one, can send."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from bascule.testing.after import CLIENTS, no_descriptor_leaked, resident_bytes, scenes
from bascule.testing.fault_proxy import Plan, canned, http_answer
from bascule.testing.fault_world import fault_world

DEADLINE_S = 4.0
OK = "ok"
EMPTY = "empty"
TIMEOUT = "upstream_timeout"
GONE = "upstream_unavailable"
INVALID = "upstream_invalid"
REJECTED = "upstream_rejected"
PAGE = b"<!doctype html><html><body><h1>Sign in</h1></body></html>"
DEEP = b'{"choices":[{"message":{"content":' + b"[" * 200_000 + b"]" * 200_000 + b"}}]}"


def prompt(request: bytes) -> str:
    return str(json.loads(request)["messages"][-1]["content"])


def completion(request: bytes, **message: Any) -> bytes:
    said = {"role": "assistant", "content": "answer 1 to " + prompt(request)} | message
    choice = {"index": 0, "message": said, "finish_reason": "stop"}
    return json.dumps(
        {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    ).encode()


def by_hand(answer: Callable[[bytes], Iterable[bytes]], **plan: Any) -> Plan:
    return Plan(answer=answer, **plan)


def body(data: bytes, **http: Any) -> Plan:
    return canned(http_answer(data, **http))


def chunked(*chunks: bytes, status: bytes = b"200 OK") -> Plan:
    head = b"HTTP/1.1 " + status + b"\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    return canned(head, *chunks)


def encoded(encoding: str, data: bytes) -> Plan:
    return body(data, headers=[f"content-encoding: {encoding}"])


async def endless_interim(_: bytes) -> AsyncIterator[bytes]:
    while True:
        yield b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"


async def endless_headers(_: bytes) -> AsyncIterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\n"
    number = 0
    while True:
        number += 1
        yield b"x-%d: y\r\n" % number * 50


async def endless_header(_: bytes) -> AsyncIterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nx-endless: "
    while True:
        yield b"y" * 65_536


async def endless_body(_: bytes) -> AsyncIterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n"
    while True:
        yield b" " * 65_536


BODIES: dict[str, tuple[Plan, str]] = {
    # not JSON, or not a completion
    "html_with_200": (body(PAGE, content_type="text/html"), INVALID),
    "html_called_json": (body(PAGE), INVALID),
    "nothing_at_all": (body(b""), INVALID),
    "malformed": (body(b'{"choices": [{"message": {"content": "x'), INVALID),
    "not_utf8": (body(b'{"choices":[{"message":{"content":"\xff\xfe"}}]}'), INVALID),
    "an_array": (body(b"[1,2]"), INVALID),
    "a_number": (body(b"7"), INVALID),
    "null": (body(b"null"), INVALID),
    "too_deep": (body(DEEP), INVALID),
    "two_answers": (by_hand(lambda r: [http_answer(completion(r) * 2)]), INVALID),
    "an_error_with_200": (body(b'{"error":{"message":"overloaded","type":"server_error"}}'), INVALID),
    "no_choices": (body(b'{"id":"c","object":"chat.completion"}'), INVALID),
    "empty_choices": (body(b'{"choices":[]}'), INVALID),
    "null_choices": (body(b'{"choices":null}'), INVALID),
    "null_choice": (body(b'{"choices":[null]}'), INVALID),
    "no_message": (body(b'{"choices":[{"index":0,"finish_reason":"stop"}]}'), INVALID),
    "null_message": (body(b'{"choices":[{"message":null}]}'), INVALID),
    # an answer with nothing in it: passed on, never kept
    "null_content": (by_hand(lambda r: [http_answer(completion(r, content=None))]), EMPTY),
    "empty_content": (by_hand(lambda r: [http_answer(completion(r, content=""))]), EMPTY),
    "blank_content": (by_hand(lambda r: [http_answer(completion(r, content=" \n"))]), EMPTY),
    # framing
    "length_too_large": (by_hand(lambda r: [http_answer(completion(r), length=100_000)]), GONE),
    "length_too_small": (by_hand(lambda r: [http_answer(completion(r), length=40)]), INVALID),
    "length_negative": (by_hand(lambda r: [http_answer(completion(r), length=-5)]), GONE),
    "length_no_number": (canned(b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n{}"), GONE),
    "two_lengths": (canned(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}"), GONE),
    "chunks_cut": (chunked(b'5\r\n{"a":\r\n', b"6\r\n"), GONE),
    "chunks_without_end": (chunked(b"2\r\n{}\r\n"), GONE),
    "chunk_size_no_number": (chunked(b"zz\r\n{}\r\n0\r\n\r\n"), GONE),
    "chunk_size_negative": (chunked(b"-2\r\n{}\r\n0\r\n\r\n"), GONE),
    "chunk_too_long_for_its_size": (chunked(b"2\r\n{}{}{}\r\n0\r\n\r\n"), GONE),
    "no_http": (canned(b"SSH-2.0-OpenSSH_9.9\r\n"), GONE),
    "only_a_body": (canned(b'{"choices":[]}'), GONE),
    "status_no_number": (canned(b"HTTP/1.1 OK\r\n\r\n"), GONE),
    "body_until_close": (
        by_hand(lambda r: [b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n", completion(r)]), OK
    ),
    "a_header_without_end": (by_hand(endless_header), GONE),
    "one_header_too_large": (canned(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 300_000 + b"\r\n\r\n{}"), GONE),
    "headers_without_end": (by_hand(endless_headers), GONE),
    "a_body_without_end": (by_hand(endless_body), INVALID),
    # encodings nobody asked for
    "gzip_unasked": (
        by_hand(lambda r: [http_answer(gzip.compress(completion(r)), headers=["content-encoding: gzip"])]), OK
    ),
    "gzip_that_is_none": (encoded("gzip", b"not gzip at all"), GONE),
    "gzip_bomb": (encoded("gzip", gzip.compress(b" " * 400_000_000, 1)), INVALID),
    "encoding_unknown": (encoded("x-magic", b"\x00\x01\x02"), INVALID),
    # statuses
    "continue_first": (by_hand(lambda r: [b"HTTP/1.1 100 Continue\r\n\r\n", http_answer(completion(r))]), OK),
    "early_hints_first": (
        by_hand(lambda r: [b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n", http_answer(completion(r))]), OK
    ),
    "hints_without_end": (by_hand(endless_interim), TIMEOUT),
    "switching_protocols": (canned(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n"), INVALID),
    "no_content": (canned(b"HTTP/1.1 204 No Content\r\n\r\n"), INVALID),
    "partial_content": (by_hand(lambda r: [http_answer(completion(r), status="206 Partial Content")]), INVALID),
    "moved": (body(b"", status="301 Moved", headers=["location: http://127.0.0.1:9/elsewhere"]), INVALID),
    "redirected": (body(b"", status="307 Temporary Redirect", headers=["location: /v1/other"]), INVALID),
    "not_modified": (canned(b"HTTP/1.1 304 Not Modified\r\n\r\n"), INVALID),
    "status_999": (body(b"{}", status="999 Strange"), GONE),
    "refused_without_a_body": (body(b"", status="400 Bad Request"), REJECTED),
    "answered_before_it_read": (canned(http_answer(b"{}", status="503 Busy"), early=True), GONE),
}  # fmt: skip


# Those that keep this process busy: alone, so that the others' deadlines are not theirs.
HEAVY = (
    "a_body_without_end",
    "a_header_without_end",
    "gzip_bomb",
    "headers_without_end",
    "hints_without_end",
    "too_deep",
)
# Where HTTP itself is broken, clients differ in whether they call it no connection or no proper answer.
BROKEN_HTTP = {GONE, INVALID}


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("names", [[n for n in BODIES if n not in HEAVY], *([n] for n in HEAVY)], ids=lambda n: n[0])
async def test_a_malformed_answer_is_a_documented_error_in_time_and_never_kept(
    tmp_path: Path, names: list[str], client: str
) -> None:
    plans = {name: BODIES[name][0] for name in names}
    expected = {name: BROKEN_HTTP if BODIES[name][1] in BROKEN_HTTP else {BODIES[name][1]} for name in names}
    if "hints_without_end" in expected:
        expected["hints_without_end"] |= {INVALID}  # or given up on before the deadline
    before = resident_bytes()
    async with no_descriptor_leaked():
        async with fault_world(tmp_path, plans, timeout_s=DEADLINE_S, max_attempts=1, http_client=client) as world:
            assert await scenes(world, expected, stream=False, deadline_s=DEADLINE_S) == {}
    assert resident_bytes() - before < 200_000_000
