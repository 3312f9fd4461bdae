"""Anthropic's own SDK drives a whole Bascule over loopback, with a vendor of Anthropic's format behind it and one of OpenAI's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pydantic
import pytest

from bascule.testing.messages import CITY, HI, PIXEL, WEATHER, Worlds, worlds
from bascule.testing.upstream import SIGNATURE, Fault

BOTH = pytest.mark.parametrize("model", ["claude", "gpt"])


@pytest.fixture
async def world(tmp_path, monkeypatch) -> AsyncIterator[Worlds]:
    monkeypatch.setenv("UPSTREAM_KEY", "sk-upstream-secret")
    async with worlds(tmp_path / "data") as made:
        yield made


def tool_fault(world: Worlds, model: str, *inputs: dict) -> Fault:
    """The vendor of this model calls `weather`, once for each input."""
    if model == "claude":
        calls = [{"id": f"t{i}", "name": "weather", "input": given} for i, given in enumerate(inputs)]
    else:
        calls = [
            {"id": f"t{i}", "type": "function", "function": {"name": "weather", "arguments": json.dumps(given)}}
            for i, given in enumerate(inputs)
        ]
    return Fault(tool_calls=calls, finish="tool_calls")


@BOTH
async def test_a_message_is_answered_and_repeated_from_the_cache(world, model):
    asked = {"model": model, "max_tokens": 64, "messages": HI, "system": "Be brief."}
    first = await world.client.messages.with_raw_response.create(**asked)
    second = await world.client.messages.with_raw_response.create(**asked)
    message = await first.parse()
    assert message.content[0].text.startswith("answer 1 to ")
    assert (message.stop_reason, message.role, message.type) == ("end_turn", "assistant", "message")
    assert message.usage.output_tokens == 7
    assert message._request_id
    assert (first.headers["x-bascule-cache"], second.headers["x-bascule-cache"]) == ("MISS", "HIT")
    assert (await second.parse()) == message
    assert len(world.vendor(model).calls) == 1


@BOTH
async def test_the_stream_helper_accumulates_the_whole_message(world, model):
    pieces = []
    asked = {"model": model, "max_tokens": 64, "messages": HI}
    async with world.client.messages.stream(**asked) as stream:
        async for text in stream.text_stream:
            pieces.append(text)
        final = await stream.get_final_message()
    assert len(pieces) > 1
    assert "".join(pieces) == final.content[0].text
    assert final.stop_reason == "end_turn"
    assert final.usage.output_tokens == 7
    assert final.usage.input_tokens == 11


@BOTH
async def test_events_come_in_anthropics_order_and_are_replayed_the_same(world, model):
    asked = {"model": model, "max_tokens": 64, "messages": HI, "stream": True}
    seen = []
    for verdict in ("MISS", "HIT"):
        raw = await world.client.messages.with_raw_response.create(**asked)
        seen.append([event.model_dump_json() async for event in await raw.parse()])
        assert raw.headers["x-bascule-cache"] == verdict
    assert seen[0] == seen[1]
    kinds = [json.loads(event)["type"] for event in seen[0]]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert set(kinds[2:-3]) == {"content_block_delta"}
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert len(world.vendor(model).calls) == 1


@BOTH
async def test_parallel_tools_go_round(world, model):
    inputs = [{"city": "Bern"}, {"city": "Zürich", "days": [1, 2]}]
    world.vendor(model).faults.append(tool_fault(world, model, *inputs))
    asked = {"model": model, "max_tokens": 64, "tools": [WEATHER], "tool_choice": {"type": "any"}}
    message = await world.client.messages.create(**asked, messages=CITY)
    assert message.stop_reason == "tool_use"
    uses = [block for block in message.content if block.type == "tool_use"]
    assert [use.input for use in uses] == inputs
    results = [
        {"type": "tool_result", "tool_use_id": use.id, "content": [{"type": "text", "text": f"{i} degrees"}]}
        for i, use in enumerate(uses)
    ]
    turns = [*CITY, message.to_param(), {"role": "user", "content": results}]
    await world.client.messages.create(model=model, max_tokens=64, tools=[WEATHER], messages=turns)
    sent = world.vendor(model).calls[1].body["messages"]
    if model == "claude":
        assert [block["tool_use_id"] for block in sent[-1]["content"]] == [use.id for use in uses]
        return
    assert [m["role"] for m in sent] == ["user", "assistant", "tool", "tool"]
    assert [m["tool_call_id"] for m in sent[2:]] == [c["id"] for c in sent[1]["tool_calls"]] == ["t0", "t1"]
    assert [m["content"] for m in sent[2:]] == ["0 degrees", "1 degrees"]


@BOTH
async def test_a_tool_call_streams_as_partial_json(world, model):
    inputs = [{"city": "Bern"}, {"city": "Chur"}]
    world.vendor(model).faults.append(tool_fault(world, model, *inputs))
    async with world.client.messages.stream(model=model, max_tokens=64, tools=[WEATHER], messages=CITY) as stream:
        pieces = [event.partial_json async for event in stream if event.type == "input_json"]
        final = await stream.get_final_message()
    assert "".join(pieces).replace(" ", "") == "".join(json.dumps(given) for given in inputs).replace(" ", "")
    assert [(block.name, block.input) for block in final.content] == [("weather", given) for given in inputs]
    assert final.stop_reason == "tool_use"


@BOTH
async def test_images_reach_the_vendor(world, model):
    content = [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
        {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}},
        {"type": "text", "text": "What is this?"},
    ]
    await world.client.messages.create(model=model, max_tokens=64, messages=[{"role": "user", "content": content}])
    sent = world.vendor(model).calls[0].body["messages"][0]["content"]
    if model == "claude":
        assert sent == content
    else:
        assert [part["image_url"]["url"] for part in sent[:2]] == [
            f"data:image/png;base64,{PIXEL}",
            "https://example.org/a.png",
        ]
        assert sent[2] == {"type": "text", "text": "What is this?"}


class Reading(pydantic.BaseModel):
    city: str
    degrees: int


@BOTH
async def test_structured_output_is_parsed(world, model):
    world.vendor(model).always = Fault(content='{"city":"Bern","degrees":9}')
    message = await world.client.messages.parse(model=model, max_tokens=64, messages=CITY, output_format=Reading)
    assert message.parsed_output == Reading(city="Bern", degrees=9)
    sent = world.vendor(model).calls[0].body
    schema = sent["output_config"]["format"]["schema"] if model == "claude" else None
    if model == "gpt":
        assert sent["response_format"]["type"] == "json_schema"
        assert sent["response_format"]["json_schema"]["strict"] is True
        schema = sent["response_format"]["json_schema"]["schema"]
    assert set(schema["properties"]) == {"city", "degrees"}


@BOTH
@pytest.mark.parametrize("streamed", [False, True])
async def test_thinking_comes_before_the_text(world, model, streamed):
    world.vendor(model).always = Fault(thinking="Let me see whether it fits.")
    asked = {"model": model, "max_tokens": 4096, "messages": HI, "thinking": {"type": "enabled", "budget_tokens": 2048}}
    if streamed:
        async with world.client.messages.stream(**asked) as stream:
            message = await stream.get_final_message()
    else:
        message = await world.client.messages.create(**asked)
    assert [block.type for block in message.content] == ["thinking", "text"]
    assert message.content[0].thinking == "Let me see whether it fits."
    assert message.content[0].signature == (SIGNATURE if model == "claude" else "")
    if model == "gpt":
        assert world.openai.calls[0].body["reasoning_effort"] == "medium"


async def test_reasoning_nobody_asked_for_is_not_shown(world):
    world.openai.always = Fault(thinking="Hidden.")
    message = await world.client.messages.create(model="gpt", max_tokens=64, messages=HI)
    assert [block.type for block in message.content] == ["text"]


async def test_its_own_format_is_forwarded_byte_for_byte(world):
    await world.client.messages.create(
        model="claude", max_tokens=64, messages=HI, extra_body={"vendor_option": {"deep": [1, 2]}}
    )
    seen = world.anthropic.calls[0]
    assert seen.body == {"model": "claude-x", "max_tokens": 64, "messages": HI, "vendor_option": {"deep": [1, 2]}}
    assert (seen.headers["x-api-key"], seen.headers["anthropic-version"]) == ("sk-upstream-secret", "2023-06-01")


async def test_another_unknown_field_is_another_question(world):
    for value in (1, 2):
        await world.client.messages.create(model="claude", max_tokens=64, messages=HI, extra_body={"option": value})
    assert len(world.anthropic.calls) == 2


@BOTH
@pytest.mark.parametrize("streamed", [False, True])
async def test_an_empty_answer_is_not_kept(world, model, streamed):
    world.vendor(model).always = Fault(content=" ")
    for _ in range(2):
        asked = {"model": model, "max_tokens": 64, "messages": HI}
        if streamed:
            async with world.client.messages.stream(**asked) as stream:
                await stream.get_final_message()
        else:
            await world.client.messages.create(**asked)
    assert len(world.vendor(model).calls) == 2


@BOTH
async def test_identical_streams_under_way_are_one_call(world, model):
    gate = asyncio.Event()
    world.vendor(model).faults.append(Fault(gate=gate))

    async def read() -> str:
        async with world.client.messages.stream(model=model, max_tokens=64, messages=HI) as stream:
            return (await stream.get_final_message()).content[0].text

    tasks = [asyncio.create_task(read()) for _ in range(5)]
    await world.until(lambda: world.under_way(5))
    gate.set()
    assert len(set(await asyncio.gather(*tasks))) == 1
    assert len(world.vendor(model).calls) == 1


@BOTH
async def test_tokens_are_counted_here(world, model):
    short = await world.client.messages.count_tokens(model=model, messages=HI)
    long = await world.client.messages.count_tokens(model=model, messages=HI, system="word " * 1000, tools=[WEATHER])
    assert 0 < short.input_tokens < 40
    assert 1000 <= long.input_tokens - short.input_tokens < 2500
    assert world.vendor(model).calls == []
