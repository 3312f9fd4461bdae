from __future__ import annotations

from typing import Any

import msgspec
import pytest

from bascule.core.calls import Usage
from bascule.core.chat import ANTHROPIC_MESSAGES, OPENAI_CHAT, ChatChunk, ChatRequest, ChatResponse
from bascule.core.errors import UpstreamInvalid
from bascule.core.wires import TRANSLATORS

TRANSLATOR = TRANSLATORS[ANTHROPIC_MESSAGES]
USAGE = Usage(input_tokens=11, output_tokens=7, cached_tokens=2)
COUNTED = {"input_tokens": 9, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 2, "output_tokens": 7}


def asked(**fields: Any) -> ChatRequest:
    view = {"model": "claude", "max_tokens": 64, "messages": [{"role": "user", "content": "Hi"}], **fields}
    return ChatRequest(wire=ANTHROPIC_MESSAGES, body=msgspec.json.encode(view), view=view, model="gpt-x")


def answer(
    message: dict[str, Any], finish: str | None = "stop", *, request: ChatRequest | None = None, **choice: Any
) -> Any:
    body = {"id": "c1", "model": "gpt-x-1", "choices": [{"message": message, "finish_reason": finish, **choice}]}
    given = ChatResponse(
        wire=OPENAI_CHAT, body=msgspec.json.encode(body), model="gpt-x", provider="p", usage=USAGE, text="t", finish=finish,
        complete=True,
    )  # fmt: skip
    response = TRANSLATOR.response(given, request or asked())
    made = msgspec.json.decode(response.body)
    assert (response.wire, response.finish) == (ANTHROPIC_MESSAGES, made["stop_reason"])
    return made


def test_an_answer_becomes_a_message() -> None:
    assert answer({"content": "Hello"}) == {
        "id": "c1", "type": "message", "role": "assistant", "model": "gpt-x-1",
        "content": [{"type": "text", "text": "Hello"}], "stop_reason": "end_turn", "stop_sequence": None, "usage": COUNTED,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("finish", "reason"),
    [("stop", "end_turn"), ("length", "max_tokens"), ("content_filter", "refusal"), ("eos", "end_turn"), (None, None)],
)
def test_a_finish_becomes_a_stop_reason(finish: str | None, reason: str | None) -> None:
    assert answer({"content": "x"}, finish)["stop_reason"] == reason


def test_a_stop_sequence_is_named_where_the_vendor_tells_it() -> None:
    request = asked(stop_sequences=["END"])
    made = answer({"content": "x"}, "stop", request=request, stop_reason="END")
    assert (made["stop_reason"], made["stop_sequence"]) == ("stop_sequence", "END")
    assert answer({"content": "x"}, "stop", request=request, stop_reason=128009)["stop_reason"] == "end_turn"


def test_tool_calls_are_tool_use_whatever_the_finish_says() -> None:
    calls = [{"id": "t1", "function": {"name": "f", "arguments": '{"x":1}'}}, {"id": "t2", "function": {"name": "g"}}]
    made = answer({"content": None, "tool_calls": calls}, "stop")
    assert made["stop_reason"] == "tool_use"
    assert made["content"] == [
        {"type": "tool_use", "id": "t1", "name": "f", "input": {"x": 1}},
        {"type": "tool_use", "id": "t2", "name": "g", "input": {}},
    ]


def test_a_refusal_is_told_as_one() -> None:
    made = answer({"content": None, "refusal": "I will not."})
    assert (made["stop_reason"], made["content"]) == ("refusal", [{"type": "text", "text": "I will not."}])


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
@pytest.mark.parametrize(
    ("thinking", "shown"),
    [
        ({"type": "adaptive"}, True),
        ({"type": "enabled", "budget_tokens": 1024}, True),
        ({"type": "adaptive", "display": "omitted"}, False),
        ({"type": "disabled"}, False),
        (None, False),
    ],
)
def test_reasoning_is_a_thinking_block_for_who_asked_for_it(field: str, thinking: Any, shown: bool) -> None:
    made = answer({"content": "x", field: "hm"}, request=asked(thinking=thinking))
    assert made["content"][:-1] == ([{"type": "thinking", "thinking": "hm", "signature": ""}] if shown else [])


@pytest.mark.parametrize(
    "message",
    [
        {"tool_calls": [{"id": "t", "function": {"name": "f", "arguments": "{"}}]},
        {"tool_calls": [{"id": "t", "function": {"name": "f", "arguments": "[1]"}}]},
        {"tool_calls": [{"function": {"name": "f"}}]},
        {"tool_calls": [5]},
        {"content": 5},
    ],
)
def test_an_answer_that_is_none_is_invalid(message: dict[str, Any]) -> None:
    with pytest.raises(UpstreamInvalid):
        answer(message)


# ---------------------------------------------------------------- streams


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **fields: Any) -> ChatChunk:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    data = msgspec.json.encode({"id": "c1", "model": "gpt-x-1", "choices": choices, **fields})
    return ChatChunk(data, text=(delta or {}).get("content") or "", finish=finish)


DONE = ChatChunk(b"[DONE]", usage=USAGE, last=True)


def written(*chunks: ChatChunk, request: ChatRequest | None = None) -> tuple[list[ChatChunk], list[Any]]:
    writer = TRANSLATOR.stream(request or asked(), 1)
    made = [event for given in chunks for event in writer.feed(given)]
    views = [msgspec.json.decode(event.data) for event in made]
    assert [event.event for event in made] == [view["type"] for view in views]
    return made, views


def call(index: int | None, identity: str | None, name: str | None, arguments: str) -> dict[str, Any]:
    return {"tool_calls": [{"index": index, "id": identity, "function": {"name": name, "arguments": arguments}}]}


def test_text_streams_in_one_block() -> None:
    made, views = written(chunk({"role": "assistant", "content": ""}), chunk({"content": "He"}), chunk({"content": "llo"}),
                          chunk({}, "stop"), DONE)  # fmt: skip
    assert [v["type"] for v in views] == [
        "message_start", "ping", "content_block_start", "content_block_delta", "content_block_delta", "content_block_stop",
        "message_delta", "message_stop",
    ]  # fmt: skip
    assert views[0]["message"]["id"] == "c1"
    assert views[2] == {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    assert views[3] == {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "He"}}
    assert views[6] == {
        "type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": COUNTED,
    }  # fmt: skip
    assert [event.text for event in made if event.text] == ["He", "llo"]
    assert [event.finish for event in made if event.finish] == ["end_turn"]
    assert (made[-1].last, made[-1].usage) == (True, USAGE)
    assert not any(event.last for event in made[:-1])


def test_thinking_text_and_tools_are_blocks_one_after_the_other() -> None:
    _, views = written(
        chunk({"reasoning": "hm"}), chunk({"content": "Look"}), chunk(call(0, "t1", "f", "")), chunk(call(0, None, None, '{"x"')),
        chunk(call(0, None, None, ":1}")), chunk(call(1, "t2", "g", "{}")), chunk({}, "tool_calls"), DONE,
        request=asked(thinking={"type": "adaptive"}),
    )  # fmt: skip
    starts = [(v["index"], v["content_block"]) for v in views if v["type"] == "content_block_start"]
    assert starts == [
        (0, {"type": "thinking", "thinking": "", "signature": ""}),
        (1, {"type": "text", "text": ""}),
        (2, {"type": "tool_use", "id": "t1", "name": "f", "input": {}}),
        (3, {"type": "tool_use", "id": "t2", "name": "g", "input": {}}),
    ]
    open_now = None
    for view in views:
        if view["type"] == "content_block_start":
            assert open_now is None
            open_now = view["index"]
        elif view["type"] in ("content_block_delta", "content_block_stop"):
            assert view["index"] == open_now
            open_now = None if view["type"] == "content_block_stop" else open_now
    pieces = [v["delta"]["partial_json"] for v in views if v.get("delta", {}).get("type") == "input_json_delta"]
    assert pieces == ['{"x"', ":1}", "{}"]
    assert views[-2]["delta"]["stop_reason"] == "tool_use"


@pytest.mark.parametrize("index", [0, None])
def test_tool_calls_a_vendor_does_not_number_are_told_apart_by_their_ids(index: int | None) -> None:
    _, views = written(
        chunk(call(index, "t1", "f", "{}")), chunk(call(index, "t2", "g", '{"y":2}')), chunk({}, "stop"), DONE
    )
    starts = [v["content_block"]["id"] for v in views if v["type"] == "content_block_start"]
    assert starts == ["t1", "t2"]
    assert views[-2]["delta"]["stop_reason"] == "tool_use"


def test_a_tool_call_that_goes_on_after_another_began_is_invalid() -> None:
    with pytest.raises(UpstreamInvalid):
        written(chunk(call(0, "t1", "f", "{")), chunk(call(1, "t2", "g", "{}")), chunk(call(0, None, None, "}")))


def test_a_stream_without_a_word_is_still_a_message() -> None:
    made, views = written(DONE)
    assert [v["type"] for v in views] == ["message_start", "ping", "message_delta", "message_stop"]
    assert made[-1].last


def test_a_refusal_in_a_stream_does_not_end_well() -> None:
    made, _ = written(chunk({"refusal": "I will not."}), chunk({}, "stop"), DONE)
    assert [event.finish for event in made if event.finish] == ["refusal"]


def test_an_event_that_is_no_chunk_is_invalid() -> None:
    for data in (b"{", b"[]", b'{"choices":[{"delta":{"content":5}}]}'):
        with pytest.raises(UpstreamInvalid):
            written(ChatChunk(data))
