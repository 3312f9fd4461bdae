"""OpenAI's responses asked of a provider of chat completions: the request one way."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from bascule.core.chat import OPENAI_CHAT, OPENAI_RESPONSES, ChatRequest
from bascule.core.errors import InvalidRequest
from bascule.core.wires.responses import TRANSLATOR

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}


def asked(**fields: Any) -> ChatRequest:
    view = {"model": "fast", "input": "Hi"} | fields
    view = {k: v for k, v in view.items() if v is not ...}
    body = msgspec.json.encode(view)
    return ChatRequest(wire=OPENAI_RESPONSES, body=body, view=view, model="m", stream=bool(view.get("stream")))


def chat(**fields: Any) -> dict[str, Any]:
    request, _ = TRANSLATOR.to_chat(asked(**fields))
    assert request.wire == OPENAI_CHAT
    assert msgspec.json.decode(request.body) == request.view
    return dict(request.view)


def test_a_text_becomes_the_users_message_after_the_instructions() -> None:
    assert chat(instructions="Be brief.") == {
        "model": "m",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
    }


def test_items_become_turns_and_calls_of_one_turn_one_message() -> None:
    call = {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}", "id": "fc_1"}
    found = chat(
        input=[
            {"role": "developer", "content": "Be brief."},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Weather?"}]},
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"},
            {"role": "assistant", "type": "message", "content": [{"type": "output_text", "text": "I look.", "annotations": []}]},
            call,
            call | {"call_id": "c2"},
            {"type": "function_call_output", "call_id": "c1", "output": "sun"},
            {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "rain"}]},
        ]
    )  # fmt: skip
    function = {"name": "weather", "arguments": "{}"}
    assert found["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": "I look.",
            "tool_calls": [{"id": i, "type": "function", "function": function} for i in ("c1", "c2")],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "sun"},
        {"role": "tool", "tool_call_id": "c2", "content": "rain"},
    ]


def test_images_and_files_go_on_as_parts() -> None:
    parts = [
        {"type": "input_text", "text": "What is this?"},
        {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "low"},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="},
    ]
    assert chat(input=[{"role": "user", "content": parts}])["messages"][0]["content"] == [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="}},
    ]


def test_settings_have_their_counterparts() -> None:
    found = chat(
        max_output_tokens=50,
        temperature=0.5,
        top_p=0.9,
        parallel_tool_calls=False,
        reasoning={"effort": "low"},
        text={"format": {"type": "json_schema", "name": "s", "schema": SCHEMA, "strict": True}, "verbosity": "low"},
        top_logprobs=2,
        metadata={"a": "b"},
        stream=True,
        store=False,
    )
    del found["messages"], found["model"]
    assert found == {
        "max_completion_tokens": 50,
        "temperature": 0.5,
        "top_p": 0.9,
        "parallel_tool_calls": False,
        "reasoning_effort": "low",
        "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA, "strict": True}},
        "verbosity": "low",
        "logprobs": True,
        "top_logprobs": 2,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        ("required", "required"),
        ({"type": "function", "name": "a"}, {"type": "function", "function": {"name": "a"}}),
        ({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "a"}]}, "auto"),
    ],
)
def test_tools_and_their_choice_are_nested_as_chat_has_them(choice: Any, wanted: Any) -> None:
    tools = [
        {"type": "function", "name": n, "description": "d", "parameters": SCHEMA, "strict": True} for n in ("a", "b")
    ]
    found = chat(tools=tools, tool_choice=choice)
    kept = ("a",) if isinstance(choice, dict) and choice["type"] == "allowed_tools" else ("a", "b")
    inner = {"description": "d", "parameters": SCHEMA, "strict": True}
    assert found["tools"] == [{"type": "function", "function": {"name": n, **inner}} for n in kept]
    assert found["tool_choice"] == wanted


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"background": True}, "background"),
        ({"prompt": {"id": "p"}, "input": ...}, "prompt"),
        ({"input": ...}, "input"),
        ({"input": []}, "input"),
        ({"tools": [{"type": "web_search"}]}, "tools.0"),
        ({"tools": ["x"]}, "tools.0"),
        ({"tool_choice": {"type": "web_search"}}, "tool_choice"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format"),
        ({"text": "json"}, "text"),
        ({"include": "x"}, "include"),
        ({"tools": {"type": "function"}}, "tools"),
        ({"tools": [{"type": "function"}]}, "tools.0.name"),
        ({"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": 5}}, "tool_choice.tools"),
        ({"text": {"format": "json"}}, "text.format"),
        ({"instructions": ["x"]}, "instructions"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input.0"),
        ({"input": ["x"]}, "input.0"),
        ({"input": [{"role": "robot", "content": "x"}]}, "input.0.role"),
        ({"input": [{"role": "user", "content": 5}]}, "input.0.content"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]}, "input.0.content.0"),
        ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input.0.content.0.text"),
        ({"input": [{"type": "function_call", "call_id": "c"}]}, "input.0.name"),
    ],
)
def test_what_cannot_be_translated_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        TRANSLATOR.to_chat(asked(**fields))
    assert caught.value.param == param


def test_what_changes_little_is_left_out_and_named() -> None:
    _, dropped = TRANSLATOR.to_chat(
        asked(
            reasoning={"effort": "low", "summary": "auto"},
            include=["reasoning.encrypted_content", "message.output_text.logprobs"],
            truncation="auto",
            store=True,
            vendor_knob=1,
            max_tool_calls=3,
        )
    )
    assert dropped == ["reasoning.summary", "include.reasoning.encrypted_content", "truncation", "store", "vendor_knob"]
