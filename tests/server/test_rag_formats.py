"""rag/NAME for callers of Anthropic's messages and OpenAI's responses, plain and streamed, over real HTTP."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import msgspec
import pytest

from bascule.core.errors import UpstreamTimeout
from bascule.server import exchange
from bascule.testing.server import CHATTER, DOCUMENT, READER, FakeApp, an_answer, serving
from bascule.testing.server_questions import FakeEvent

MESSAGES = "/v1/messages"
RESPONSES = "/v1/responses"
ASKED: dict[str, dict[str, Any]] = {
    MESSAGES: {
        "model": "rag/handbook",
        "max_tokens": 100,
        "system": "Be brief.",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "May I return it?"}]}],
    },
    RESPONSES: {"model": "rag/handbook", "instructions": "Be brief.", "input": "May I return it?"},
}


def auth(key: str = READER) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.fixture
async def fake():
    app = FakeApp()
    async with serving(app) as (url, _), aiohttp.ClientSession(url) as http:
        yield app, http


def events_of(text: str) -> list[tuple[str, dict[str, Any]]]:
    blocks = [dict(line.split(": ", 1) for line in block.split("\n")) for block in text.strip().split("\n\n")]
    return [(block["event"], json.loads(block["data"])) for block in blocks]


async def test_a_message_is_answered_from_documents_with_its_citations(fake):
    app, http = fake
    async with http.post(MESSAGES, json=ASKED[MESSAGES], headers=auth()) as reply:
        answer = await reply.json()
        assert reply.status == 200 and reply.headers["request-id"]
    (block,) = answer["content"]
    assert (answer["type"], answer["role"], answer["stop_reason"]) == ("message", "assistant", "end_turn")
    assert block["text"].startswith("Goods may be returned")
    cited = block["citations"][0]
    assert (cited["type"], cited["source"]) == ("search_result_location", DOCUMENT) and cited["cited_text"]
    assert answer["usage"]["input_tokens"] == 5 and answer["usage"]["output_tokens"] == 2
    assert answer["bascule"]["status"] == "answered" and answer["bascule"]["citations"][0]["span"] == [0, 37]
    assert app.questions.asked[0]["collections"] == ["handbook"]
    assert app.questions.asked[0]["question"] == "May I return it?"


async def test_a_response_is_answered_from_documents_with_its_annotations(fake):
    _, http = fake
    async with http.post(RESPONSES, json=ASKED[RESPONSES], headers=auth()) as reply:
        answer = await reply.json()
        assert reply.status == 200
    part = answer["output"][0]["content"][0]
    assert (answer["object"], answer["status"], part["type"]) == ("response", "completed", "output_text")
    assert part["annotations"][0]["type"] == "file_citation" and part["annotations"][0]["file_id"] == DOCUMENT
    assert answer["bascule"]["answer_id"]


async def test_a_streamed_message_carries_citations_within_its_block(fake):
    _, http = fake
    async with http.post(MESSAGES, json=ASKED[MESSAGES] | {"stream": True}, headers=auth()) as reply:
        events = events_of(await reply.text())
    names = [name for name, _ in events]
    assert names[0] == "message_start" and names[-1] == "message_stop"
    deltas = [data["delta"] for name, data in events if name == "content_block_delta"]
    assert "".join(d.get("text", "") for d in deltas).startswith("Goods may be returned")
    assert [d["citation"]["source"] for d in deltas if d["type"] == "citations_delta"] == [DOCUMENT]
    assert names.index("content_block_stop") > max(n for n, name in enumerate(names) if name == "content_block_delta")
    end = next(data for name, data in events if name == "message_delta")
    assert (end["delta"]["stop_reason"], end["usage"]["output_tokens"]) == ("end_turn", 2)


async def test_a_streamed_response_ends_completed_with_annotations_and_numbers_in_order(fake):
    _, http = fake
    async with http.post(RESPONSES, json=ASKED[RESPONSES] | {"stream": True}, headers=auth()) as reply:
        events = events_of(await reply.text())
    assert [data["sequence_number"] for _, data in events] == list(range(len(events)))
    name, last = events[-1]
    assert name == "response.completed"
    part = last["response"]["output"][0]["content"][0]
    assert part["text"].startswith("Goods may be returned") and part["annotations"][0]["file_id"] == DOCUMENT


@pytest.mark.parametrize("path", [MESSAGES, RESPONSES])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_refusal_says_so_in_words(fake, path, stream):
    app, http = fake
    app.questions.found = msgspec.structs.replace(
        an_answer(), status="refused", answer="", citations=(), reason="no_evidence"
    )
    async with http.post(path, json=ASKED[path] | {"stream": stream}, headers=auth()) as reply:
        text = await reply.text()
    assert (reply.status == 200 and "do not answer this" in text and "no_evidence" in text) or stream


@pytest.mark.parametrize("path", [MESSAGES, RESPONSES])
@pytest.mark.parametrize("stream", [False, True])
async def test_errors_known_before_the_first_event_have_their_status(fake, path, stream):
    _, http = fake
    wrong = ASKED[path] | {"stream": stream}
    async with http.post(path, json=wrong | {"model": "rag/nowhere"}, headers=auth()) as reply:
        assert reply.status == 404 and reply.content_type == "application/json"
    async with http.post(path, json=wrong, headers=auth(CHATTER)) as reply:
        assert reply.status == 403
    empty = {"messages": [{"role": "user", "content": " "}]} if path == MESSAGES else {"input": " "}
    async with http.post(path, json=wrong | empty, headers=auth()) as reply:
        assert reply.status == 400


async def test_a_stream_from_documents_that_does_not_begin_is_told_with_its_status_everywhere(fake):
    app, http = fake
    for path, body in (
        ("/v1/answers", {"question": "a", "collections": ["nowhere"], "stream": True}),
        (
            "/v1/chat/completions",
            {"model": "rag/nowhere", "messages": [{"role": "user", "content": "a"}], "stream": True},
        ),
    ):
        async with http.post(path, json=body, headers=auth()) as reply:
            assert (reply.status, reply.content_type) == (404, "application/json"), path
    app.questions.fails = UpstreamTimeout("The deadline ran out.")
    for path in (MESSAGES, RESPONSES):
        async with http.post(path, json=ASKED[path] | {"stream": True}, headers=auth()) as reply:
            text = await reply.text()
        assert reply.status == 504 or "event: error" in text, path
        assert "message_stop" not in text and "response.completed" not in text


async def test_a_slow_first_event_does_not_hold_back_the_head_and_an_error_after_it_is_told_in_the_stream(
    fake, monkeypatch
):
    monkeypatch.setattr(exchange, "_FIRST_EVENT_S", 0.05)
    app, http = fake
    gate = asyncio.Event()
    tasks = []

    async def slow(principal, question, **given):
        tasks.append(asyncio.current_task())
        await gate.wait()
        if app.questions.fails:
            raise app.questions.fails
        yield FakeEvent("delta", {"text": "Goods."})
        tasks.append(asyncio.current_task())
        yield FakeEvent("done", an_answer())

    app.questions.stream = slow
    body = {"question": "a", "stream": True}
    async with http.post("/v1/answers", json=body, headers=auth()) as reply:
        assert reply.status == 200  # the head is here, and no event yet
        gate.set()
        assert "Goods." in await reply.text()
    assert tasks[0] is tasks[1], "one task reads all events"
    gate.clear()
    app.questions.fails = UpstreamTimeout("The deadline ran out.")
    async with http.post("/v1/answers", json=body, headers=auth()) as reply:
        assert reply.status == 200
        gate.set()
        assert (await reply.text()).strip().startswith("event: error")
