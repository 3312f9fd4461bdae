from __future__ import annotations

import json
from typing import Any

import pytest

from bascule.core.chat import ANTHROPIC_MESSAGES, ChatRequest
from bascule.core.errors import InvalidRequest, UpstreamInvalid, UpstreamRejected, UpstreamUnavailable
from bascule.core.http import HttpClient
from bascule.plugins.providers import anthropic
from bascule.testing.gateway import bench, call, collect, http_client, request, resources, said
from bascule.testing.upstream import Fault, fake_upstream

TOOL_CALL = {"id": "toolu_1", "name": "weather", "input": {"city": "Bern", "days": [1, 2]}}


def provider(url: str, http: HttpClient) -> anthropic.AnthropicProvider:
    return anthropic.AnthropicProvider(anthropic.Settings(base_url=url), http, "sk-ant-secret")


def native(stream: bool = False) -> ChatRequest:
    view: dict[str, Any] = {
        "model": "fast",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "hi"}],
        "thinking": {"type": "disabled"},
    }
    if stream:
        view["stream"] = True
    return ChatRequest(
        wire=ANTHROPIC_MESSAGES, body=json.dumps(view).encode(), view=view, model="claude", stream=stream
    )


async def test_a_conversation_with_system_images_and_tools_is_translated() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
        {"role": "user", "content": [
            {"type": "text", "text": "Look"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
            {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
        ]},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
            {"id": "t2", "type": "function", "function": {"name": "g", "arguments": ""}},
        ]},
        {"role": "tool", "tool_call_id": "t1", "content": "one"},
        {"role": "tool", "tool_call_id": "t2", "content": [{"type": "text", "text": "two"}]},
        {"role": "user", "content": "And?"},
    ]  # fmt: skip
    fields: dict[str, Any] = {
        "messages": messages, "max_completion_tokens": 77, "stop": "END", "temperature": 0.5, "top_p": 0.9, "user": "u1",
        "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}}, "parallel_tool_calls": False,
    }  # fmt: skip
    async with fake_upstream() as up, http_client() as http:
        await provider(up.url, http).chat(request(model="claude", **fields), call())
    assert up.calls[0].path == "/v1/messages"
    assert up.calls[0].headers["x-api-key"] == "sk-ant-secret"
    assert up.calls[0].body == {
        "model": "claude", "max_tokens": 77, "system": "Be brief.\n\nBe kind.", "temperature": 0.5, "top_p": 0.9,
        "stop_sequences": ["END"], "metadata": {"user_id": "u1"},
        "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "Look"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}},
            ]},
            {"role": "assistant", "content": [
                {"type": "tool_use", "id": "t1", "name": "f", "input": {"x": 1}},
                {"type": "tool_use", "id": "t2", "name": "g", "input": {}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": "one"},
                {"type": "tool_result", "tool_use_id": "t2", "content": "two"},
                {"type": "text", "text": "And?"},
            ]},
        ],
    }  # fmt: skip


async def test_an_answer_comes_back_as_a_chat_completion() -> None:
    async with fake_upstream() as up, http_client() as http:
        response = await provider(up.url, http).chat(request(), call())
    body = json.loads(response.body)
    assert body["object"] == "chat.completion"
    assert body["choices"] == [
        {"index": 0, "message": {"role": "assistant", "content": response.text}, "finish_reason": "stop"}
    ]
    assert body["usage"]["prompt_tokens"] == 13
    assert (response.usage.input_tokens, response.usage.output_tokens, response.usage.cached_tokens) == (13, 7, 2)
    assert response.complete


@pytest.mark.parametrize(
    ("reason", "finish"), [("length", "length"), ("refusal", "content_filter"), ("pause_turn", None)]
)
async def test_an_answer_that_did_not_finish_well_is_not_complete(reason: str, finish: str | None) -> None:
    async with fake_upstream() as up, http_client() as http:
        up.always = Fault(finish=reason)
        response = await provider(up.url, http).chat(request(), call())
    assert (response.finish, response.complete) == (finish, False)


async def test_a_tool_call_comes_back_in_openais_format_plain_and_streamed() -> None:
    async with fake_upstream() as up, http_client() as http:
        up.always = Fault(finish="tool_calls", tool_calls=[TOOL_CALL, {**TOOL_CALL, "id": "toolu_2"}])
        p = provider(up.url, http)
        plain = json.loads((await p.chat(request(), call())).body)["choices"][0]
        chunks = await collect(await p.stream(request(stream=True), call()))
    assert plain["finish_reason"] == "tool_calls"
    assert plain["message"]["content"] is None
    built: dict[int, dict[str, str]] = {}
    for chunk in chunks[:-1]:
        for part in json.loads(chunk.data)["choices"][0]["delta"].get("tool_calls", []):
            entry = built.setdefault(part["index"], {"id": "", "name": "", "arguments": ""})
            entry["id"] += part.get("id", "")
            entry["name"] += part["function"].get("name", "")
            entry["arguments"] += part["function"].get("arguments", "")
    for place, found in enumerate(plain["message"]["tool_calls"]):
        assert json.loads(found["function"]["arguments"]) == TOOL_CALL["input"]
        assert json.loads(built[place]["arguments"]) == TOOL_CALL["input"]
        assert (built[place]["id"], built[place]["name"]) == (found["id"], "weather")
    assert chunks[-2].finish == "tool_calls"


async def test_a_stream_comes_back_as_chat_chunks_with_usage_where_it_was_asked_for() -> None:
    async with fake_upstream() as up, http_client() as http:
        p = provider(up.url, http)
        silent = await collect(await p.stream(request(stream=True), call()))
        shown = await collect(await p.stream(request(stream=True, stream_options={"include_usage": True}), call()))
    assert said(silent) == 'answer 1 to [{"type": "text", "text": "hello"}]'
    assert (silent[-1].data, silent[-1].last, silent[-1].usage.output_tokens) == (b"[DONE]", True, 7)  # type: ignore[union-attr]
    assert json.loads(silent[0].data)["choices"][0]["delta"]["role"] == "assistant"
    assert not any(b"prompt_tokens" in c.data for c in silent)
    assert json.loads(shown[-2].data)["usage"]["completion_tokens"] == 7


async def test_its_own_format_is_passed_through_untouched() -> None:
    async with fake_upstream() as up, http_client() as http:
        p = provider(up.url, http)
        asked = native()
        response = await p.chat(asked, call())
        assert up.calls[0].raw == asked.body.replace(b'"fast"', b'"claude"')
        assert json.loads(response.body)["type"] == "message"
        assert (response.finish, response.complete, response.wire) == ("end_turn", True, ANTHROPIC_MESSAGES)
        chunks = await collect(await p.stream(native(stream=True), call()))
    assert [chunks[0].event, chunks[-1].event] == ["message_start", "message_stop"]
    assert said(chunks).startswith("answer 2")
    assert chunks[-1].last
    assert chunks[-1].usage is not None
    assert "end_turn" in [c.finish for c in chunks]


async def test_a_native_stream_is_kept_and_replayed_with_its_event_names() -> None:
    async with fake_upstream() as up, http_client() as http:
        b = bench(provider(up.url, http))
        view = native(stream=True)
        asked = ChatRequest(wire=view.wire, body=view.body, view=view.view, model="fast", stream=True)
        one, two = [await collect(await b.gateway.stream(asked, call())) for _ in range(2)]
    assert [(c.event, c.data) for c in one] == [(c.event, c.data) for c in two]
    assert len(up.calls) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 2},
        {"logprobs": True},
        {"response_format": {"type": "json_object"}},
        {"tools": [{"type": "x"}]},
        {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
        {"messages": [{"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{"}}]}]},
    ],
)
async def test_what_cannot_be_translated_is_refused_and_not_dropped(fields: dict[str, Any]) -> None:
    async with fake_upstream() as up, http_client() as http:
        with pytest.raises(InvalidRequest):
            await provider(up.url, http).chat(request(**fields), call())
    assert not up.calls


async def test_fields_without_a_counterpart_are_left_out_visibly() -> None:
    async with fake_upstream() as up, http_client() as http:
        c = call()
        await provider(up.url, http).chat(request(seed=1, frequency_penalty=0.5), c)
    assert c.degraded == ["not_supported:frequency_penalty", "not_supported:seed"]
    assert "seed" not in up.calls[0].body


async def test_a_refusal_comes_back_in_the_callers_format_without_our_key() -> None:
    async with fake_upstream() as up, http_client() as http:
        raw = b'{"type":"error","error":{"type":"invalid_request_error","message":"bad sk-ant-secret"}}'
        up.always = Fault(status=400, raw=raw)
        for asked, in_openais_words in ((request(), True), (native(), False)):
            with pytest.raises(UpstreamRejected) as caught:
                await provider(up.url, http).chat(asked, call())
            body = json.loads(caught.value.body)
            assert ("code" in body["error"]) is in_openais_words
            assert body["error"]["message"] == "bad ***"


@pytest.mark.parametrize(
    "raw", [b"<html>", b"{}", b'{"content":[{"type":"text"}],"id":"x","model":"m"}', b'{"content":"x"}', b"[]"]
)
async def test_an_answer_that_is_not_a_message_is_invalid(raw: bytes) -> None:
    async with fake_upstream() as up, http_client() as http:
        up.always = Fault(raw=raw)
        with pytest.raises(UpstreamInvalid):
            await provider(up.url, http).chat(request(), call())


@pytest.mark.parametrize("asked", [request(stream=True), native(stream=True)], ids=["openai", "native"])
async def test_a_cut_stream_and_an_error_event_are_errors(asked: ChatRequest) -> None:
    async with fake_upstream() as up, http_client() as http:
        up.faults.append(Fault(cut_after=4))
        error = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"x"}}\n\n'
        up.faults.append(Fault(raw=error, content_type="text/event-stream"))
        for _ in range(2):
            with pytest.raises(UpstreamUnavailable):
                await collect(await provider(up.url, http).stream(asked, call()))


async def test_the_plugin_connects_with_a_key_by_reference() -> None:
    async with fake_upstream() as up, http_client() as http:
        settings = anthropic.Settings(base_url=up.url, api_key="env:KEY")
        async with anthropic.connect(settings, resources(http)) as found:
            await found.chat(request(), call())
    assert up.calls[0].headers["x-api-key"] == "sk-upstream-secret"


async def sent(settings: dict[str, Any], **fields: Any) -> tuple[dict[str, Any], list[str]]:
    """What reaches the vendor, and what was noted as left out."""
    async with fake_upstream() as up, http_client() as http:
        made = anthropic.AnthropicProvider(anthropic.Settings(base_url=up.url, **settings), http, "k")
        now = call()
        await made.chat(request(model="claude", **fields), now)
    return up.calls[0].body, now.degraded


async def test_an_effort_is_a_budget_for_models_that_want_one() -> None:
    body, notes = await sent({"thinking": "budget", "max_tokens": 500}, reasoning_effort="medium", temperature=0.2)
    assert (body["thinking"], body["max_tokens"]) == ({"type": "enabled", "budget_tokens": 4096}, 4596)
    assert "temperature" not in body
    assert notes == ["not_supported:temperature"]


async def test_a_budget_fits_into_the_length_that_was_asked_for() -> None:
    body, _ = await sent({"thinking": "budget"}, reasoning_effort="high", max_completion_tokens=2000)
    assert (body["thinking"]["budget_tokens"], body["max_tokens"]) == (1999, 2000)
    body, notes = await sent({"thinking": "budget"}, reasoning_effort="high", max_completion_tokens=800)
    assert "thinking" not in body
    assert notes == ["not_supported:reasoning_effort"]


async def test_a_tool_that_must_be_called_is_not_thought_about() -> None:
    tool = {"type": "function", "function": {"name": "f"}}
    body, notes = await sent({}, reasoning_effort="high", tools=[tool], tool_choice="required")
    assert "thinking" not in body
    assert notes == ["not_supported:reasoning_effort"]


async def test_a_turn_under_way_without_its_thinking_goes_on_without() -> None:
    use = {"id": "t1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    turns: list[Any] = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": None, "tool_calls": [use]},
        {"role": "tool", "tool_call_id": "t1", "content": "one"},
    ]
    settings = {"thinking": "budget"}
    assert "thinking" not in (await sent(settings, messages=turns, reasoning_effort="low"))[0]
    turns[1]["reasoning_details"] = [{"type": "reasoning.text", "text": "hm", "signature": "s"}]
    body, _ = await sent(settings, messages=turns, reasoning_effort="low")
    assert body["thinking"]["type"] == "enabled"
    assert body["messages"][1]["content"][0] == {"type": "thinking", "thinking": "hm", "signature": "s"}


async def test_only_the_allowed_tools_are_offered() -> None:
    tools = [{"type": "function", "function": {"name": name}} for name in ("f", "g")]
    allowed = {"mode": "required", "tools": [{"type": "function", "function": {"name": "g"}}]}
    choice = {"type": "allowed_tools", "allowed_tools": allowed}
    body, _ = await sent({}, tools=tools, tool_choice=choice)
    assert ([tool["name"] for tool in body["tools"]], body["tool_choice"]) == (["g"], {"type": "any"})


@pytest.mark.parametrize(
    "fields",
    [
        {"tool_choice": [1], "tools": [{"type": "function", "function": {"name": "f"}}]},
        {"messages": [{"role": "assistant", "content": "x", "tool_calls": 5}]},
        {"messages": [{"role": "function", "name": "f", "content": "x"}]},
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
        {"reasoning_effort": ["high"]},
        {"reasoning_effort": "colossal"},
    ],
)
async def test_a_request_of_a_shape_that_is_none_is_refused(fields: dict[str, Any]) -> None:
    async with fake_upstream() as up, http_client() as http:
        with pytest.raises(InvalidRequest):
            await provider(up.url, http).chat(request(model="claude", **fields), call())
    assert up.calls == []


async def test_a_thought_that_another_vendor_signed_stays_behind_and_its_own_go_on() -> None:
    own = {"type": "thinking", "thinking": "Mine.", "signature": "EqQBCgIYAhIM+/=="}
    foreign = {"type": "thinking", "thinking": "Theirs.", "signature": "gemini:abc"}
    unsigned = {"type": "thinking", "thinking": "Nobody's.", "signature": ""}
    said_before = {"type": "text", "text": "Hello."}
    view = native().view | {
        "messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": [own, foreign, unsigned, said_before]},
            {"role": "assistant", "content": [foreign]},
            {"role": "user", "content": 'and: "signature": "gemini:x"'},
        ]
    }
    plain = native().view
    async with fake_upstream() as up, http_client() as http:
        for sent in (view, plain):
            asked = ChatRequest(wire=ANTHROPIC_MESSAGES, body=json.dumps(sent).encode(), view=sent, model="claude")
            await provider(up.url, http).chat(asked, call())
        messages = up.calls[0].body["messages"]
        assert [message["content"] for message in messages] == [
            "hi",
            [own, said_before],
            view["messages"][3]["content"],
        ]
        assert up.calls[1].raw == json.dumps({**plain, "model": "claude"}).encode(), "nothing else is written anew"
        details = [
            {"type": "reasoning.text", "text": "Mine.", "signature": own["signature"]},
            {"type": "reasoning.text", "text": "Theirs.", "signature": "gemini:abc"},
        ]
        turns = [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "Hello.", "reasoning_details": details},
            {"role": "user", "content": "go on"},
        ]
        await provider(up.url, http).chat(request(messages=turns), call())
        assert up.calls[2].body["messages"][1]["content"] == [own, said_before]
