"""A chat completion's answer and stream as OpenAI's response, judged by the openai SDK's own types and accumulator."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from openai import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from bascule.core.chat import OPENAI_CHAT, OPENAI_RESPONSES, ChatChunk, ChatRequest, ChatResponse
from bascule.core.errors import UpstreamInvalid, UpstreamRejected
from bascule.core.openai_wire import ChunkReader, completion
from bascule.core.wires.responses import TRANSLATOR

EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
VIEW = {"model": "fast", "input": "Hi", "metadata": {"a": "b"}, "temperature": 0.5}
ASKED = ChatRequest(wire=OPENAI_RESPONSES, body=b"{}", view=VIEW, model="m")
USAGE = {
    "prompt_tokens": 11,
    "completion_tokens": 7,
    "total_tokens": 18,
    "prompt_tokens_details": {"cached_tokens": 3},
    "completion_tokens_details": {"reasoning_tokens": 2},
}
CALLS = [{"id": f"c{i}", "type": "function", "function": {"name": "weather", "arguments": '{"a":1}'}} for i in (0, 1)]


def chat_answer(message: dict[str, Any], finish: str | None = "stop", **choice: Any) -> ChatResponse:
    found = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish, **choice}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 5, "model": "vendor-model"}
    return completion(msgspec.json.encode({**head, "choices": [found], "usage": USAGE}), model="m", provider="p")


def answered(message: dict[str, Any], finish: str | None = "stop", **choice: Any) -> tuple[ChatResponse, Response]:
    found = TRANSLATOR.response(chat_answer(message, finish, **choice), ASKED)
    return found, Response.model_validate(msgspec.json.decode(found.body))


def streamed(*deltas: Any, finish: str | None = "stop") -> list[ChatChunk]:
    """The chunks that these deltas of a vendor's stream lead to. A delta may be a whole choice."""
    translator, reader = TRANSLATOR.stream(ASKED, 5), ChunkReader()
    choices = [d if "delta" in d else {"index": 0, "delta": d, "finish_reason": None} for d in deltas]
    frames: list[dict[str, Any]] = [{"choices": [choice]} for choice in choices]
    frames += [{"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}, {"choices": [], "usage": USAGE}]
    found: list[ChatChunk] = []
    for data in (*map(msgspec.json.encode, frames), b"[DONE]"):
        chunk = reader.read("", data)
        assert chunk is not None
        found += translator.feed(chunk)
    return found


def accumulated(chunks: list[ChatChunk]) -> tuple[list[Any], Response]:
    """The events as the SDK's strict types, and the response that its accumulator makes of them."""
    state: ResponseStreamState[Any] = ResponseStreamState(input_tools=omit, text_format=omit)
    events = [EVENT.validate_json(chunk.data) for chunk in chunks]
    assert [e.sequence_number for e in events] == list(range(len(events)))
    assert [e.type for e in events] == [chunk.event for chunk in chunks]
    for event in events:
        state.handle_event(event)
    return events, events[-1].response


def test_a_text_is_a_message_and_the_request_is_echoed() -> None:
    found, response = answered({"content": "Hello"})
    assert (found.wire, found.text, found.finish, found.complete) == (OPENAI_RESPONSES, "Hello", "completed", True)
    assert (response.output_text, response.status, response.error) == ("Hello", "completed", None)
    assert (response.metadata, response.temperature, response.model) == ({"a": "b"}, 0.5, "vendor-model")
    usage = response.usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (11, 7, 18)
    assert (usage.input_tokens_details.cached_tokens, usage.output_tokens_details.reasoning_tokens) == (3, 2)


def test_every_answer_has_ids_of_its_own() -> None:
    first, second = answered({"content": "Hello"})[1], answered({"content": "Hello"})[1]
    assert first.id != second.id
    assert first.output[0].id != second.output[0].id


def test_calls_thoughts_refusals_and_log_probabilities_are_items_and_parts() -> None:
    found, response = answered({"content": None, "tool_calls": CALLS, "reasoning_content": "Hm."}, "tool_calls")
    assert [item.type for item in response.output] == ["reasoning", "function_call", "function_call"]
    assert found.finish == "function_call"
    assert (response.output[1].call_id, response.output[1].arguments) == ("c0", '{"a":1}')
    _, refused = answered({"content": None, "refusal": "No."})
    assert refused.output[0].content[0].refusal == "No."
    probability = {"token": "H", "logprob": -0.1, "bytes": [72], "top_logprobs": []}
    _, spelled = answered({"content": "H"}, logprobs={"content": [probability]})
    assert spelled.output[0].content[0].logprobs[0].logprob == -0.1


@pytest.mark.parametrize(
    ("finish", "reason"), [("length", "max_output_tokens"), ("content_filter", "content_filter"), (None, None)]
)
def test_an_answer_that_was_cut_short_is_incomplete_and_says_why(finish: str | None, reason: str | None) -> None:
    found, response = answered({"content": "Hel"}, finish)
    assert (response.status, found.finish, found.complete) == ("incomplete", "incomplete", False)
    assert (response.incomplete_details.reason if response.incomplete_details else None) == reason
    chunks = streamed({"content": "Hel"}, finish=finish)
    assert (chunks[-1].event, chunks[-1].finish, chunks[-1].last) == ("response.incomplete", "incomplete", True)
    assert accumulated(chunks)[1].output[0].status == "incomplete"


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b'{"choices":[]}', b'{"choices":[{}]}', b'{"choices":[{"message":{"tool_calls":[{}]}}]}']
)
def test_what_is_no_completion_is_invalid(body: bytes) -> None:
    broken = msgspec.structs.replace(chat_answer({"content": "x"}), body=body)
    with pytest.raises(UpstreamInvalid):
        TRANSLATOR.response(broken, ASKED)


def test_a_streamed_text_has_the_whole_sequence_of_events() -> None:
    chunks = streamed({"role": "assistant", "content": ""}, {"content": "Hel"}, {"content": "lo"})
    events, response = accumulated(chunks)
    assert [e.type.removeprefix("response.") for e in events] == [
        "created", "in_progress", "output_item.added", "content_part.added", "output_text.delta", "output_text.delta",
        "output_text.done", "content_part.done", "output_item.done", "completed",
    ]  # fmt: skip
    assert "".join(chunk.text for chunk in chunks) == response.output_text == "Hello"
    assert (chunks[-1].last, chunks[-1].finish) == (True, "completed")
    assert response.usage is not None
    assert response.usage.total_tokens == 18
    assert response.id == events[0].response.id


def test_thoughts_text_and_calls_are_items_one_after_the_other() -> None:
    pieces = [
        {"reasoning_content": "Hm"},
        {"content": "I look."},
        {"tool_calls": [{"index": 0, "id": "c0", "function": {"name": "weather", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"a"'}}]},
        {"tool_calls": [{"index": 1, "id": "c1", "function": {"name": "weather", "arguments": '{"b":2}'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]},
    ]
    chunks = streamed(*pieces, finish="tool_calls")
    events, response = accumulated(chunks)
    assert [item.type for item in response.output] == ["reasoning", "message", "function_call", "function_call"]
    assert [item.arguments for item in response.output[2:]] == ['{"a":1}', '{"b":2}']
    assert [item.call_id for item in response.output[2:]] == ["c0", "c1"]
    assert chunks[-1].finish == "function_call"
    done = [e.arguments for e in events if e.type == "response.function_call_arguments.done"]
    assert done == ['{"a":1}', '{"b":2}']


def test_calls_without_index_or_id_are_told_apart_by_their_names() -> None:
    pieces = [
        {"tool_calls": [{"function": {"name": "a", "arguments": "{"}}]},
        {"tool_calls": [{"function": {"arguments": "}"}}]},
        {"tool_calls": [{"function": {"name": "b", "arguments": "{}"}}]},
    ]
    response = accumulated(streamed(*pieces, finish="tool_calls"))[1]
    assert [(item.name, item.arguments) for item in response.output] == [("a", "{}"), ("b", "{}")]
    assert len({item.call_id for item in response.output}) == 2


def test_a_streamed_refusal_is_not_a_good_finish() -> None:
    chunks = streamed({"refusal": "No"}, {"refusal": "."})
    events, response = accumulated(chunks)
    assert response.output[0].content[0].refusal == "No."
    assert chunks[-1].finish == "refusal"
    assert [e.type for e in events if "refusal" in e.type][-1] == "response.refusal.done"


def test_a_stream_that_says_nothing_still_has_its_message() -> None:
    response = accumulated(streamed())[1]
    assert response.output_text == ""
    assert response.output[0].type == "message"


@pytest.mark.parametrize("data", [b"x", b"[1]", b'{"choices":[{"delta":{"tool_calls":[{"function":{}}]}}]}'])
def test_an_event_that_is_no_chunk_is_invalid(data: bytes) -> None:
    with pytest.raises(UpstreamInvalid):
        TRANSLATOR.stream(ASKED, 5).feed(ChatChunk(data))


def test_a_vendors_refusal_keeps_its_body() -> None:
    error = UpstreamRejected("no", body=b'{"error":{}}', wire=OPENAI_CHAT)
    assert TRANSLATOR.error(error).body == b'{"error":{}}'
