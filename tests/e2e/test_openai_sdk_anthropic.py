"""OpenAI's own SDK, unchanged, on a model whose vendor speaks Anthropic's format."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import openai
import pydantic
import pytest

from bascule.testing.messages import CITY, HI, PIXEL, WEATHER, Worlds, worlds
from bascule.testing.upstream import SIGNATURE, Fault

TOOL = {
    "type": "function",
    "function": {"name": "weather", "description": "How warm?", "parameters": WEATHER["input_schema"], "strict": True},
}
USES = [{"id": f"toolu_{i}", "name": "weather", "input": {"city": city}} for i, city in enumerate(("Bern", "Chur"))]


@pytest.fixture
async def world(tmp_path, monkeypatch) -> AsyncIterator[Worlds]:
    monkeypatch.setenv("UPSTREAM_KEY", "sk-upstream-secret")
    async with worlds(tmp_path / "data") as made:
        yield made


async def test_parallel_tools_go_round_and_results_are_one_turn(world):
    world.anthropic.faults.append(Fault(tool_calls=USES, finish="tool_calls"))
    chat = world.openai_client.chat.completions
    answer = await chat.create(model="claude", messages=CITY, tools=[TOOL], tool_choice="required")
    message = answer.choices[0].message
    assert answer.choices[0].finish_reason == "tool_calls"
    assert [json.loads(call.function.arguments) for call in message.tool_calls] == [use["input"] for use in USES]
    results = [{"role": "tool", "tool_call_id": call.id, "content": "9 degrees"} for call in message.tool_calls]
    await chat.create(model="claude", messages=[*CITY, message, *results], tools=[TOOL], parallel_tool_calls=False)
    first, second = (call.body for call in world.anthropic.calls)
    assert (first["tool_choice"], first["tools"][0]["strict"]) == ({"type": "any"}, True)
    assert second["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    assert [turn["role"] for turn in second["messages"]] == ["user", "assistant", "user"]
    assert [block["input"] for block in second["messages"][1]["content"]] == [use["input"] for use in USES]
    assert [b["tool_use_id"] for b in second["messages"][2]["content"]] == ["toolu_0", "toolu_1"]


async def test_a_stream_is_accumulated_with_its_usage_and_tool_calls(world):
    world.anthropic.faults.append(Fault(tool_calls=USES, finish="tool_calls"))
    async with world.openai_client.chat.completions.stream(
        model="claude", messages=CITY, tools=[TOOL], stream_options={"include_usage": True}
    ) as stream:
        final = await stream.get_final_completion()
    calls = final.choices[0].message.tool_calls
    assert [(call.id, json.loads(call.function.arguments)) for call in calls] == [(u["id"], u["input"]) for u in USES]
    assert (final.usage.prompt_tokens, final.usage.completion_tokens) == (13, 7)
    assert final.usage.prompt_tokens_details.cached_tokens == 2


async def test_images_and_files_become_blocks(world):
    content = [
        {"type": "text", "text": "Look"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}},
    ]
    await world.openai_client.chat.completions.create(
        model="claude", messages=[{"role": "developer", "content": "Be kind."}, {"role": "user", "content": content}]
    )
    sent = world.anthropic.calls[0].body
    assert sent["system"] == "Be kind."
    assert sent["messages"][0]["content"] == [
        {"type": "text", "text": "Look"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "AAAA"},
            "title": "a.pdf",
        },
    ]


class Reading(pydantic.BaseModel):
    city: str
    degrees: int


async def test_structured_output_is_parsed(world):
    world.anthropic.always = Fault(content='{"city":"Bern","degrees":9}')
    answer = await world.openai_client.chat.completions.parse(model="claude", messages=CITY, response_format=Reading)
    assert answer.choices[0].message.parsed == Reading(city="Bern", degrees=9)
    wanted = world.anthropic.calls[0].body["output_config"]["format"]
    assert (wanted["type"], set(wanted["schema"]["properties"])) == ("json_schema", {"city", "degrees"})


async def test_reasoning_is_asked_for_shown_and_taken_back(world):
    world.anthropic.always = Fault(thinking="Let me see whether it fits.")
    chat = world.openai_client.chat.completions
    answer = await chat.create(model="claude", messages=HI, reasoning_effort="high")
    message = answer.choices[0].message
    assert message.reasoning_content == "Let me see whether it fits."
    assert message.content.startswith("answer 1")
    sent = world.anthropic.calls[0].body
    assert (sent["thinking"], sent["output_config"]) == ({"type": "adaptive"}, {"effort": "high"})
    await chat.create(model="claude", messages=[*HI, message, *CITY], reasoning_effort="high")
    block = world.anthropic.calls[1].body["messages"][1]["content"][0]
    assert block == {"type": "thinking", "thinking": "Let me see whether it fits.", "signature": SIGNATURE}


async def test_reasoning_streams_before_the_text(world):
    world.anthropic.always = Fault(thinking="Let me see.")
    stream = await world.openai_client.chat.completions.create(model="claude", messages=HI, stream=True)
    thoughts, texts = [], []
    async for chunk in stream:
        delta = chunk.choices[0].delta
        if getattr(delta, "reasoning_content", None):
            assert not texts
            thoughts.append(delta.reasoning_content)
        elif delta.content:
            texts.append(delta.content)
    assert "".join(thoughts) == "Let me see."
    assert "".join(texts).startswith("answer 1")


@pytest.mark.parametrize(
    "more",
    [{"n": 2}, {"logprobs": True}, {"response_format": {"type": "json_object"}}, {"modalities": ["text", "audio"]}],
)
async def test_what_anthropic_has_not_is_refused_by_name(world, more):
    with pytest.raises(openai.BadRequestError) as raised:
        await world.openai_client.chat.completions.create(model="claude", messages=HI, **more)
    assert raised.value.param == next(iter(more))
    assert world.anthropic.calls == []


async def test_a_refusal_of_the_vendor_is_told_in_openais_words(world):
    world.anthropic.always = Fault(status=400)
    with pytest.raises(openai.BadRequestError) as raised:
        await world.openai_client.chat.completions.create(model="claude", messages=HI)
    assert (raised.value.body["message"], raised.value.type) == ("fault 400", "invalid_request_error")
