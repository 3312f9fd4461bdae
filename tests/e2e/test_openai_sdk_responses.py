"""OpenAI's own SDK asks for responses: of a vendor of chat completions, of Anthropic, and of one that speaks them itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from bascule.testing.responses import answers, function_call, message, streams
from bascule.testing.running import running, settings_for
from bascule.testing.upstream import FakeUpstream, Fault, fake_upstream

TOOL: Any = {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}, "strict": False}


class World:
    """A running Bascule, its vendor and an SDK client with the admin key."""

    def __init__(self, url: str, admin: str, upstream: FakeUpstream) -> None:
        self.upstream = upstream
        self.client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=admin, max_retries=0, timeout=20)


class City(BaseModel):
    name: str
    people: int


@pytest.fixture
async def world(tmp_path, monkeypatch) -> AsyncIterator[World]:
    monkeypatch.setenv("UPSTREAM_KEY", "sk-upstream-secret")
    async with fake_upstream() as upstream:
        vendor = {"base_url": upstream.url, "api_key": "env:UPSTREAM_KEY"}
        settings = settings_for(
            tmp_path / "data",
            providers={
                "main": {"kind": "openai", **vendor},
                "native": {"kind": "openai", "responses": True, **vendor},
                "claude": {"kind": "anthropic", **vendor},
            },
            models={
                "fast": {"targets": [{"provider": "main", "model": "gpt-x"}]},
                "native": {"targets": [{"provider": "native", "model": "gpt-n"}]},
                "claude": {"targets": [{"provider": "claude", "model": "claude-x"}]},
            },
            gateway={"max_attempts": 1, "timeout_s": 10},
        )
        async with running(settings) as (url, _, admin):
            made = World(url, admin, upstream)
            async with made.client:
                yield made


@pytest.mark.parametrize("model", ["fast", "claude"])
async def test_a_response_is_created_and_repeated_from_the_cache(world, model):
    raw = [await world.client.responses.with_raw_response.create(model=model, input="Hi") for _ in range(2)]
    first, second = (reply.parse() for reply in raw)
    assert first.output_text == second.output_text
    assert first.output_text.startswith("answer 1 to ")
    assert (first.status, first.usage.output_tokens) == ("completed", 7)
    assert [reply.headers["x-bascule-cache"] for reply in raw] == ["MISS", "HIT"]
    assert len(world.upstream.calls) == 1


@pytest.mark.parametrize("model", ["fast", "claude"])
async def test_a_stream_has_its_events_and_is_replayed(world, model):
    for _ in range(2):
        async with world.client.responses.stream(model=model, input="Hi") as stream:
            kinds = [event.type async for event in stream]
            final = await stream.get_final_response()
        assert final.output_text.startswith("answer 1 to ")
        assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
        assert kinds.count("response.output_text.delta") > 1
        assert final.usage.output_tokens == 7
    assert len(world.upstream.calls) == 1


@pytest.mark.parametrize("model", ["fast", "claude"])
async def test_a_tool_is_called_and_its_output_given_back(world, model):
    call = {"id": "c1", "name": "weather", "input": {"city": "Bern"}}
    if model == "fast":
        call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Bern"}'}}
    for stream in (False, True):
        world.upstream.faults.append(Fault(tool_calls=[call], finish="tool_calls"))
        if stream:
            async with world.client.responses.stream(model=model, input="Weather?", tools=[TOOL]) as events:
                async for _ in events:
                    pass
                first = await events.get_final_response()
        else:
            first = await world.client.responses.create(model=model, input="Weather?", tools=[TOOL])
        asked = next(item for item in first.output if item.type == "function_call")
        assert (asked.name, asked.call_id) == ("weather", "c1")
        assert asked.arguments.replace(" ", "") == '{"city":"Bern"}'
        conversation: Any = [{"role": "user", "content": "Weather?"}, *first.output]
        conversation.append({"type": "function_call_output", "call_id": asked.call_id, "output": f"sun {stream}"})
        second = await world.client.responses.create(model=model, input=conversation, tools=[TOOL])
        assert second.output_text.startswith("answer")
    told = world.upstream.calls[-1].body["messages"]
    assert [m["role"] for m in told][:2] == ["user", "assistant"]
    assert "sun True" in str(told[-1])


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_is_parsed_into_a_type(world, stream):
    world.upstream.faults.append(Fault(content='{"name":"Bern","people":133000}'))
    if stream:
        async with world.client.responses.stream(model="fast", input="Bern?", text_format=City) as events:
            found = (await events.get_final_response()).output_parsed
    else:
        found = (await world.client.responses.parse(model="fast", input="Bern?", text_format=City)).output_parsed
    assert found == City(name="Bern", people=133000)
    wanted = world.upstream.calls[0].body["response_format"]
    assert (wanted["type"], wanted["json_schema"]["name"]) == ("json_schema", "City")


async def test_an_answer_cut_short_is_incomplete_and_not_kept(world):
    world.upstream.always = Fault(content="Once upon", finish="length")
    for _ in range(2):
        found = await world.client.responses.create(model="fast", input="Tell", max_output_tokens=2)
        assert (found.status, found.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert [call.body["max_completion_tokens"] for call in world.upstream.calls] == [2, 2]


@pytest.mark.parametrize("model", ["fast", "claude", "native"])
async def test_a_cut_stream_raises_in_the_sdk_and_is_not_kept(world, model):
    for _ in range(2):
        world.upstream.faults.append(streams("Hello", cut_after=6) if model == "native" else Fault(cut_after=4))
        stream = await world.client.responses.create(model=model, input="Hi", stream=True)
        with pytest.raises(openai.APIError) as caught:
            async for _ in stream:
                pass
        assert caught.value.code == "upstream_unavailable"
    assert len(world.upstream.calls) == 2


async def test_identical_streams_at_once_are_one_call(world):
    gate = asyncio.Event()
    world.upstream.faults.append(Fault(gate=gate))

    async def ask() -> str:
        async with world.client.responses.stream(model="fast", input="Hi") as stream:
            async for event in stream:
                if event.type == "response.created":
                    begun.release()
            return (await stream.get_final_response()).output_text

    begun = asyncio.Semaphore(0)
    tasks = [asyncio.create_task(ask()) for _ in range(5)]
    for _ in tasks:
        await asyncio.wait_for(begun.acquire(), 10)
    gate.set()
    assert await asyncio.gather(*tasks) == ["answer 1 to Hi"] * 5
    assert len(world.upstream.calls) == 1


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"background": True}, "background"),
        ({"tools": [{"type": "web_search"}]}, "tools.0"),
        ({"extra_body": {"api_base": "http://evil"}}, "api_base"),
    ],
)
async def test_what_cannot_be_done_is_refused_with_its_name(world, fields, param):
    with pytest.raises(openai.BadRequestError) as caught:
        await world.client.responses.create(model="fast", input="Hi", **fields)
    assert caught.value.param == param
    assert world.upstream.calls == []


async def test_a_vendor_that_speaks_responses_gets_and_answers_them_untouched(world):
    world.upstream.faults.extend([answers(message("Hello")), streams("Hello")])
    tools: Any = [{"type": "web_search"}]
    for _ in range(2):
        found = await world.client.responses.create(
            model="native", input="Hi", tools=tools, previous_response_id="resp_0", extra_body={"knob": {"x": [1]}}
        )
        assert (found.output_text, found.vendor_extra) == ("Hello", {"kept": True})
    for _ in range(2):
        async with world.client.responses.stream(model="native", input="Hi") as stream:
            assert (await stream.get_final_response()).output_text == "Hello"
    assert [call.path for call in world.upstream.calls] == ["/v1/responses"] * 2
    sent = world.upstream.calls[0].body
    assert sent == {
        "model": "gpt-n", "input": "Hi", "tools": tools, "previous_response_id": "resp_0", "knob": {"x": [1]},
    }  # fmt: skip


async def test_only_good_answers_of_such_a_vendor_are_kept(world):
    bad = [answers(message(" ")), answers(message("x"), status="incomplete"), answers(message("y"), background=True)]
    world.upstream.faults.extend([*bad, answers(function_call())])
    for _ in bad[:2]:
        await world.client.responses.create(model="native", input="Hi")
    await world.client.responses.create(model="native", input="Hi", background=True)
    kept = [await world.client.responses.create(model="native", input="Hi") for _ in range(2)]
    assert [found.output[0].name for found in kept] == ["weather"] * 2
    assert len(world.upstream.calls) == 4


async def test_a_vendors_refusal_comes_with_its_words(world):
    for model in ("fast", "native"):
        world.upstream.faults.append(Fault(status=400))
        with pytest.raises(openai.BadRequestError) as caught:
            await world.client.responses.create(model=model, input="Hi")
        assert caught.value.code == "fault"


async def test_no_response_is_found_again(world):
    with pytest.raises(openai.NotFoundError):
        await world.client.responses.retrieve("resp_1")
    with pytest.raises(openai.NotFoundError):
        await world.client.responses.delete("resp_1")
