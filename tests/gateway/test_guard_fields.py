"""No field of any format chooses where a call goes, with which headers or credentials."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bascule.core.chat import ANTHROPIC_MESSAGES, OPENAI_CHAT, OPENAI_RESPONSES, ChatRequest
from bascule.core.errors import InvalidRequest, TooLarge
from bascule.testing.gateway import ScriptedModel, bench, call

BODIES: dict[str, dict[str, Any]] = {
    OPENAI_CHAT: {"messages": [{"role": "user", "content": "hi"}]},
    ANTHROPIC_MESSAGES: {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 10},
    OPENAI_RESPONSES: {"input": "hi"},
}
CHOOSING = [
    {"base_url": "http://evil.example"},
    {"api_base": "http://evil.example"},
    {"headers": {"authorization": "x"}},
    {"extra_headers": {"x": "y"}},
    {"api_key": "sk-mine"},
    {"extra_body": {"anything": 1}},
    {"metadata": {"headers": {"authorization": "x"}}},
    {"metadata": {"deep": [{"base_url": "http://evil.example"}]}},
    {"unknown_vendor_option": {"inner": {"api_base": "http://evil.example"}}},
    {"provider": {"options": {"proxies": ["http://evil.example"]}}},
]
REMOTE = [
    {"tools": [{"type": "mcp", "server_label": "x", "server_url": "http://evil.example"}]},
    {"tools": [{"type": "mcp", "server_label": "x", "connector_id": "connector_gmail", "authorization": "t"}]},
    {"tools": [{"type": "mcp_toolset", "mcp_server_name": "x"}]},
    {"tools": [{"type": "web_search", "headers": {"authorization": "x"}}]},
    {"tools": [{"type": "new_kind", "config": {"server_url": "http://evil.example"}}]},
    {"tools": [{"type": "code_interpreter", "container": {"type": "auto", "network_policy": {"type": "allowlist"}}}]},
    {"mcp_servers": [{"type": "url", "url": "http://evil.example", "name": "x", "authorization_token": "t"}]},
]
HARMLESS = [
    {"tools": [{"type": "function", "name": "f", "function": {"name": "f", "parameters": {"properties": {
        "base_url": {"type": "string"}, "headers": {"type": "object"}, "api_key": {"type": "string"}}}}}]},
    {"tools": [{"name": "f", "input_schema": {"type": "object", "properties": {"server_url": {"type": "string"}}}}]},
    {"tools": [{"type": "web_search_20250305", "name": "web_search", "allowed_domains": ["example.com"]}]},
    {"metadata": {"organization": "acme", "user_id": "u"}},
    {"response_format": {"type": "json_schema", "json_schema": {"schema": {"properties": {"base_url": {}}}}}},
]  # fmt: skip


def made(wire: str, fields: dict[str, Any]) -> ChatRequest:
    view = {"model": "fast", **BODIES[wire], **fields}
    return ChatRequest(wire=wire, body=json.dumps(view).encode(), view=view, model="fast")


@pytest.mark.parametrize("wire", sorted(BODIES))
@pytest.mark.parametrize("fields", CHOOSING + REMOTE, ids=json.dumps)
async def test_what_would_choose_an_address_or_a_credential_is_refused(wire: str, fields: dict[str, Any]) -> None:
    model = ScriptedModel()
    with pytest.raises(InvalidRequest) as caught:
        await bench(model, cache_ttl_s=0).gateway.chat(made(wire, fields), call())
    assert str(caught.value.param).split(".")[0] in fields and not model.requests


@pytest.mark.parametrize("wire", [OPENAI_CHAT])
@pytest.mark.parametrize("fields", HARMLESS, ids=json.dumps)
async def test_the_same_names_are_free_where_they_only_describe(wire: str, fields: dict[str, Any]) -> None:
    model = ScriptedModel()
    await bench(model).gateway.chat(made(wire, fields), call())
    assert model.requests


@pytest.mark.parametrize("fields", REMOTE, ids=json.dumps)
async def test_an_operator_may_allow_remote_tools_for_a_model(fields: dict[str, Any]) -> None:
    model = ScriptedModel()
    await bench(model, remote_tools=True).gateway.chat(made(OPENAI_CHAT, fields), call())
    assert model.requests
    with pytest.raises(InvalidRequest):
        await bench(model, remote_tools=True).gateway.chat(
            made(OPENAI_CHAT, {"base_url": "http://evil.example"}), call()
        )


@pytest.mark.parametrize(
    ("wire", "fields"),
    [
        (ANTHROPIC_MESSAGES, {"messages": [{"role": "user"}]}),
        (ANTHROPIC_MESSAGES, {"messages": [{"role": "user", "content": ["x"]}]}),
        (ANTHROPIC_MESSAGES, {"system": 5}),
        (OPENAI_RESPONSES, {"input": 5}),
        (OPENAI_RESPONSES, {"input": None}),
        (OPENAI_RESPONSES, {"input": ["x"]}),
        (OPENAI_RESPONSES, {"instructions": 5}),
        (OPENAI_CHAT, {"tools": "x"}),
        (OPENAI_CHAT, {"tools": ["x"]}),
    ],
)
async def test_each_format_is_checked_by_its_own_rules(wire: str, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        await bench(ScriptedModel()).gateway.chat(made(wire, fields), call())


@pytest.mark.parametrize("wire", [OPENAI_CHAT, ANTHROPIC_MESSAGES, OPENAI_RESPONSES])
async def test_there_is_a_most_of_messages(wire: str) -> None:
    many = [{"role": "user", "content": "x"}] * 10_001
    with pytest.raises(TooLarge):
        await bench(ScriptedModel()).gateway.chat(
            made(wire, {"input" if "responses" in wire else "messages": many}), call()
        )


async def test_a_format_nobody_knows_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        await bench(ScriptedModel()).gateway.chat(
            ChatRequest(wire="other", body=b"{}", view={"x": 1}, model="fast"), call()
        )


async def test_the_label_of_an_end_user_is_in_the_record() -> None:
    model = ScriptedModel()
    model.wires = frozenset({OPENAI_CHAT, ANTHROPIC_MESSAGES})  # type: ignore[attr-defined]
    b = bench(model)
    await b.gateway.chat(made(OPENAI_CHAT, {"user": "u1"}), call())
    await b.gateway.chat(made(ANTHROPIC_MESSAGES, {"metadata": {"user_id": "u2"}}), call())
    assert [r.end_user for r in b.records] == ["u1", "u2"]
