"""What goes wrong reaches Anthropic's SDK as its own exceptions, in Anthropic's words, whatever vendor is behind."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anthropic
import pytest

from bascule.testing.messages import CITY, HI, WEATHER, Worlds, worlds
from bascule.testing.upstream import Fault

BOTH = pytest.mark.parametrize("model", ["claude", "gpt"])
SECRET = "sk-upstream-secret"


@pytest.fixture
async def world(tmp_path, monkeypatch) -> AsyncIterator[Worlds]:
    monkeypatch.setenv("UPSTREAM_KEY", SECRET)
    async with worlds(tmp_path / "data", anthropic_settings={"betas": ["allowed-2026-01-01"]}) as made:
        yield made


async def ask(client: anthropic.AsyncAnthropic, model: str, **more) -> anthropic.types.Message:
    return await client.messages.create(**{"model": model, "max_tokens": 64, "messages": HI, **more})


@BOTH
@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (400, anthropic.BadRequestError, "invalid_request_error"),
        (422, anthropic.UnprocessableEntityError, "invalid_request_error"),
        (429, anthropic.RateLimitError, "rate_limit_error"),
        (500, anthropic.InternalServerError, "api_error"),
        (529, anthropic.InternalServerError, "api_error"),
        (401, anthropic.InternalServerError, "api_error"),
    ],
)
async def test_a_vendors_refusal_is_the_sdks_exception(world, model, status, error, kind):
    world.vendor(model).always = Fault(status=status, retry_after="7" if status == 429 else None)
    with pytest.raises(error) as raised:
        await ask(world.client, model)
    body = raised.value.body
    assert (body["type"], body["error"]["type"]) == ("error", kind)
    assert raised.value.request_id
    assert SECRET not in str(body)
    if status in (400, 422):
        assert body["error"]["message"] == f"fault {status}"
    if status == 429:
        assert raised.value.response.headers["retry-after"] == "7"


async def test_a_vendors_own_refusal_is_passed_on_as_it_came(world):
    world.anthropic.always = Fault(status=400)
    with pytest.raises(anthropic.BadRequestError) as raised:
        await ask(world.client, "claude")
    assert raised.value.body["request_id"] == "req_vendor"


async def test_a_wrong_key_an_unknown_model_and_a_wrong_method_are_told_in_anthropics_words(world):
    with pytest.raises(anthropic.AuthenticationError) as unknown:
        await ask(world.as_key("wrong"), "claude")
    assert unknown.value.body["error"]["type"] == "authentication_error"
    with pytest.raises(anthropic.NotFoundError) as missing:
        await ask(world.client, "nothing")
    assert missing.value.body["error"]["type"] == "not_found_error"
    assert missing.value.body["request_id"] == missing.value.request_id
    with pytest.raises(anthropic.NotFoundError):
        await world.client.messages.count_tokens(model="nothing", messages=HI)
    with pytest.raises(anthropic.NotFoundError):
        await ask(world.client, "rag/handbook")
    with pytest.raises(anthropic.APIStatusError) as method:
        await world.client.get("/v1/messages", cast_to=object)
    assert (method.value.status_code, method.value.body["error"]["type"]) == (405, "invalid_request_error")
    with pytest.raises(anthropic.NotFoundError) as batches:
        await world.client.messages.batches.list()
    assert batches.value.body["type"] == "error"


async def test_a_key_may_come_as_bearer_too(world):
    client = anthropic.AsyncAnthropic(base_url=world.url, auth_token=world.client.api_key, max_retries=0)
    async with client:
        assert (await ask(client, "claude")).stop_reason == "end_turn"


async def test_a_body_that_is_too_large_is_request_too_large(world):
    size = world.app.settings.server.max_body_bytes
    with pytest.raises(anthropic.APIStatusError) as raised:
        await ask(world.client, "claude", system="x" * size)
    assert (raised.value.status_code, raised.value.body["error"]["type"]) == (413, "request_too_large")


@BOTH
@pytest.mark.parametrize(
    "more",
    [
        {"extra_body": {"api_base": "https://evil.example"}},
        {"extra_body": {"system": 5}},
        {"extra_body": {"messages": [{"role": "user", "content": [5]}]}},
        {"extra_body": {"messages": [{"content": "no role"}]}},
        {"extra_body": {"mcp_servers": [{"type": "url", "url": "https://evil.example", "name": "x"}]}},
    ],
)
async def test_the_guard_refuses_what_no_vendor_should_see(world, model, more):
    with pytest.raises(anthropic.BadRequestError) as raised:
        await ask(world.client, model, **more)
    assert raised.value.body["error"]["type"] == "invalid_request_error"
    assert world.vendor(model).calls == []


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "web_search_20250305"),
        ({"extra_body": {"inference_geo": "eu"}}, "inference_geo"),
        ({"messages": [{"role": "user", "content": [{"type": "container_upload", "file_id": "f"}]}]}, "container_upload"),
        ({"extra_body": {"tool_choice": {"type": "dance"}, "tools": [WEATHER]}}, "tool choice"),
    ],
)  # fmt: skip
async def test_what_the_other_format_has_not_is_refused_by_name(world, more, word):
    with pytest.raises(anthropic.BadRequestError) as raised:
        await ask(world.client, "gpt", **more)
    assert word in raised.value.body["error"]["message"]
    assert world.openai.calls == []


async def test_what_can_be_left_out_is_left_out_and_said(world):
    raw = await world.client.messages.with_raw_response.create(
        model="gpt", max_tokens=64, messages=HI, extra_body={"top_k": 5, "speed": "fast"}
    )
    assert raw.headers["x-bascule-degraded"] == "not_supported:speed, not_supported:top_k"


@BOTH
async def test_a_stream_that_is_cut_ends_in_an_error_event(world, model):
    world.vendor(model).always = Fault(cut_after=4)
    with pytest.raises(anthropic.APIStatusError) as raised:
        async with world.client.messages.stream(model=model, max_tokens=64, messages=CITY) as stream:
            await stream.get_final_message()
    assert (raised.value.body["type"], raised.value.body["error"]["type"]) == ("error", "api_error")
    assert raised.value.body["request_id"]


@BOTH
async def test_a_cut_stream_is_not_kept(world, model):
    world.vendor(model).faults.append(Fault(cut_after=4))
    for fails in (True, False):
        stream = await world.client.messages.create(model=model, max_tokens=64, messages=HI, stream=True)
        if fails:
            with pytest.raises(anthropic.APIStatusError):
                [event async for event in stream]
        else:
            assert [event async for event in stream][-1].type == "message_stop"
    assert len(world.vendor(model).calls) == 2


async def test_only_betas_the_operator_allows_are_sent_on(world):
    raw = await world.client.beta.messages.with_raw_response.create(
        model="claude", max_tokens=64, messages=HI, betas=["allowed-2026-01-01", "secret-2026-01-01"]
    )
    headers = world.anthropic.calls[0].headers
    assert headers["anthropic-beta"] == "allowed-2026-01-01"
    assert raw.headers["x-bascule-degraded"] == "not_supported:anthropic-beta"


async def test_other_betas_are_another_question(world):
    for betas in (["allowed-2026-01-01"], []):
        await world.client.beta.messages.create(model="claude", max_tokens=64, messages=HI, betas=betas)
    await ask(world.client, "claude")
    assert [call.headers.get("anthropic-beta") for call in world.anthropic.calls] == ["allowed-2026-01-01", None]


async def test_a_caller_chooses_no_upstream_header(world):
    headers = {"anthropic-version": "1999-01-01", "x-custom": "1", "openai-organization": "mine"}
    await ask(world.client, "claude", extra_headers=headers)
    seen = world.anthropic.calls[0].headers
    assert seen["anthropic-version"] == "2023-06-01"
    assert not {"x-custom", "openai-organization"} & set(seen)
