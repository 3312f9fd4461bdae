from __future__ import annotations

from typing import Any

import msgspec
import pytest

from bascule.core.chat import ANTHROPIC_MESSAGES, OPENAI_CHAT, ChatRequest
from bascule.core.errors import InvalidRequest, UpstreamRejected
from bascule.core.wires import TRANSLATORS

TRANSLATOR = TRANSLATORS[ANTHROPIC_MESSAGES]
HI: list[Any] = [{"role": "user", "content": "Hi"}]


def asked(messages: list[Any] = HI, *, stream: bool = False, **fields: Any) -> ChatRequest:
    view = {"model": "claude", "max_tokens": 64, "messages": messages, **fields}
    return ChatRequest(wire=ANTHROPIC_MESSAGES, body=msgspec.json.encode(view), view=view, model="gpt-x", stream=stream)


def chat(messages: list[Any] = HI, **fields: Any) -> dict[str, Any]:
    request, _ = TRANSLATOR.to_chat(asked(messages, **fields))
    assert msgspec.json.decode(request.body) == request.view
    assert (request.wire, request.model) == (OPENAI_CHAT, "gpt-x")
    return dict(request.view)


def dropped(messages: list[Any] = HI, **fields: Any) -> list[str]:
    return TRANSLATOR.to_chat(asked(messages, **fields))[1]


def user(*blocks: Any) -> list[Any]:
    return [{"role": "user", "content": list(blocks)}]


def test_plain_fields_are_renamed() -> None:
    found = chat(
        system=[{"type": "text", "text": "One."}, {"type": "text", "text": "Two.", "cache_control": {"type": "ephemeral"}}],
        temperature=0.5, top_p=0.9, stop_sequences=["END"], metadata={"user_id": "u1"},
        output_config={"effort": "high"}, service_tier="auto",
    )  # fmt: skip
    assert found == {
        "model": "gpt-x", "max_completion_tokens": 64, "temperature": 0.5, "top_p": 0.9, "stop": ["END"], "user": "u1",
        "reasoning_effort": "high",
        "messages": [{"role": "system", "content": "One.\n\nTwo."}, {"role": "user", "content": "Hi"}],
    }  # fmt: skip


def test_a_stream_leaves_it_to_the_provider_to_ask_for_usage_as_some_servers_refuse_the_option() -> None:
    request, _ = TRANSLATOR.to_chat(asked(stream=True))
    assert (request.stream, request.view["stream"]) == (True, True)
    assert "stream_options" not in request.view


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        ({"type": "auto"}, {"tool_choice": "auto"}),
        ({"type": "any"}, {"tool_choice": "required"}),
        ({"type": "none"}, {"tool_choice": "none"}),
        ({"type": "tool", "name": "f"}, {"tool_choice": {"type": "function", "function": {"name": "f"}}}),
        ({"type": "auto", "disable_parallel_tool_use": True}, {"tool_choice": "auto", "parallel_tool_calls": False}),
    ],
)
def test_tools_and_their_choice(choice: dict[str, Any], wanted: dict[str, Any]) -> None:
    tool = {"name": "f", "description": "d", "input_schema": {"type": "object"}, "strict": True, "type": "custom"}
    found = chat(tools=[tool], tool_choice=choice)
    function = {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True}
    assert found["tools"] == [{"type": "function", "function": function}]
    assert {k: v for k, v in found.items() if k in ("tool_choice", "parallel_tool_calls")} == wanted


def test_a_tools_results_become_messages_before_the_users_own_words() -> None:
    found = chat(
        [
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "redacted_thinking", "data": "d"},
                {"type": "text", "text": "Let me"},
                {"type": "text", "text": " look."},
                {"type": "tool_use", "id": "t1", "name": "f", "input": {"x": [1, 2]}},
                {"type": "tool_use", "id": "t2", "name": "g", "input": {}},
            ]},
            {"role": "user", "content": [
                {"type": "text", "text": "And?"},
                {"type": "tool_result", "tool_use_id": "t1", "content": "no such x", "is_error": True},
                {"type": "tool_result", "tool_use_id": "t2", "content": [
                    {"type": "text", "text": "a picture"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                ]},
            ]},
        ]
    )["messages"]  # fmt: skip
    assert found[0] == {
        "role": "assistant",
        "content": "Let me look.",
        "tool_calls": [
            {"id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"x":[1,2]}'}},
            {"id": "t2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
        ],
    }
    assert found[1] == {"role": "tool", "tool_call_id": "t1", "content": "The tool failed: no such x"}
    assert (found[2]["tool_call_id"], found[2]["content"].split("\n")[0]) == ("t2", "a picture")
    assert [part["type"] for part in found[3]["content"]] == ["text", "text", "image_url"]
    assert "t2" in found[3]["content"][1]["text"]


def test_thinking_of_earlier_turns_is_left_out_and_said() -> None:
    turn = {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "s"}]}
    assert dropped([*HI, turn, *HI]) == ["messages.thinking"]
    assert [m["role"] for m in chat([*HI, turn, *HI])["messages"]] == ["user", "user"]


def test_documents_go_as_far_as_chat_takes_them() -> None:
    found = chat(
        user(
            {"type": "document", "title": "Report", "context": "of 2026",
             "source": {"type": "text", "media_type": "text/plain", "data": "It rained."}},
            {"type": "document", "title": "a.pdf",
             "source": {"type": "base64", "media_type": "application/pdf", "data": "AAAA"}},
            {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "inner"}]}},
            {"type": "search_result", "title": "T", "source": "https://example.org", "content": [{"type": "text", "text": "x"}]},
        )
    )["messages"][0]["content"]  # fmt: skip
    assert found == [
        {"type": "text", "text": "title: Report\ncontext: of 2026\nIt rained."},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}},
        {"type": "text", "text": "inner"},
        {"type": "text", "text": "T (https://example.org)\nx"},
    ]


def test_citations_asked_for_are_left_out_and_said() -> None:
    source = {"type": "text", "media_type": "text/plain", "data": "x"}
    blocks = user({"type": "document", "source": source, "citations": {"enabled": True}})
    assert dropped(blocks, top_k=3) == ["messages.citations", "top_k"]


@pytest.mark.parametrize(
    ("thinking", "effort"),
    [
        ({"type": "enabled", "budget_tokens": 1024}, "low"),
        ({"type": "enabled", "budget_tokens": 4000}, "medium"),
        ({"type": "enabled", "budget_tokens": 30_000}, "high"),
        ({"type": "adaptive"}, None),
        ({"type": "disabled"}, None),
    ],
)
def test_thinking_becomes_an_effort(thinking: dict[str, Any], effort: str | None) -> None:
    assert chat(thinking=thinking).get("reasoning_effort") == effort


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        ({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}, True),
        ({"type": "object", "properties": {"a": {"type": "string"}}, "required": [], "additionalProperties": False}, False),
        ({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}, False),
        ({"type": "array", "items": {"type": "object", "properties": {}}}, False),
    ],
)  # fmt: skip
def test_an_output_format_is_strict_only_where_openai_takes_it_so(schema: dict[str, Any], strict: bool) -> None:
    found = chat(output_config={"format": {"type": "json_schema", "schema": schema}})["response_format"]
    assert found["json_schema"]["schema"] == schema
    assert found["json_schema"].get("strict", False) is strict


@pytest.mark.parametrize(
    ("messages", "fields"),
    [
        (user({"type": "server_tool_use", "id": "s"}), {}),
        (user({"type": "image", "source": {"type": "file", "file_id": "f"}}), {}),
        (user({"type": "document", "source": {"type": "url", "url": "https://example.org/a.pdf"}}), {}),
        (user({"type": "tool_result", "content": "x"}), {}),
        (user("text"), {}),
        ([{"role": "tool", "content": "x"}], {}),
        (HI, {"tools": [{"type": "bash_20250124", "name": "bash"}]}),
        (HI, {"tools": [5]}),
        (HI, {"container": "c"}),
        (HI, {"inference_geo": "eu"}),
        (HI, {"system": [{"type": "image"}]}),
        (HI, {"output_config": {"format": {"type": "xml"}}}),
        (HI, {"tools": [{"name": "f"}], "tool_choice": {"type": ["any"]}}),
    ],
)
def test_what_cannot_be_translated_is_refused(messages: list[Any], fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        chat(messages, **fields)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error":{"message":"too long","type":"invalid_request_error","param":null,"code":null}}', "too long"),
        (b'{"error":"plainly"}', "plainly"),
        (b"<html>", "refused"),
    ],
)
def test_a_refusal_is_told_in_anthropics_body(body: bytes, message: str) -> None:
    told = TRANSLATOR.error(UpstreamRejected("refused", provider="p", status=404, body=body, wire=OPENAI_CHAT))
    assert (told.wire, told.http_status, told.provider) == (ANTHROPIC_MESSAGES, 404, "p")
    assert msgspec.json.decode(told.body) == {"type": "error", "error": {"type": "not_found_error", "message": message}}
