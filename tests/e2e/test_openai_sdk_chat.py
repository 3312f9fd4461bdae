"""What OpenAI's SDK can ask of chat completions and embeddings goes through whole, in and out."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from bascule.gateway.estimate import tokenizer
from bascule.testing.running import running, settings_for
from bascule.testing.upstream import FakeUpstream, Fault, fake_upstream

HI: Any = [{"role": "user", "content": "Hi"}]
IMAGE = "data:image/png;base64,iVBORw0KGgo="
TOOL: Any = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}


class World:
    def __init__(self, url: str, admin: str, upstream: FakeUpstream) -> None:
        self.upstream = upstream
        self.client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=admin, max_retries=0, timeout=20)
        self.create = self.client.chat.completions.create


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
            providers={"main": {"kind": "openai", **vendor}, "claude": {"kind": "anthropic", **vendor}},
            models={
                "fast": {"targets": [{"provider": "main", "model": "gpt-x"}]},
                "claude": {"targets": [{"provider": "claude", "model": "claude-x"}]},
                "vectors": {"targets": [{"provider": "main", "model": "embed-x"}]},
            },
            gateway={"max_attempts": 1, "timeout_s": 10},
        )
        async with running(settings) as (url, _, admin):
            made = World(url, admin, upstream)
            async with made.client:
                yield made


def vendor_says(*choices: dict[str, Any], **fields: Any) -> Fault:
    head = {"id": "x", "object": "chat.completion", "created": 1, "model": "gpt-x", "choices": list(choices)}
    return Fault(raw=json.dumps(head | fields).encode())


async def test_an_answer_is_parsed_into_a_type(world):
    world.upstream.faults.append(Fault(content='{"name":"Bern","people":133000}'))
    found = await world.client.chat.completions.parse(model="fast", messages=HI, response_format=City)
    assert found.choices[0].message.parsed == City(name="Bern", people=133000)
    sent = world.upstream.calls[0].body["response_format"]
    assert (sent["type"], sent["json_schema"]["name"], sent["json_schema"]["strict"]) == ("json_schema", "City", True)


async def test_choices_log_probabilities_thoughts_and_unknown_fields_come_back(world):
    probability = {"token": "A", "logprob": -0.5, "bytes": [65], "top_logprobs": []}
    first = {"role": "assistant", "content": "A", "reasoning_content": "Hm.", "annotations": [], "odd": {"x": 1}}
    world.upstream.faults.append(
        vendor_says(
            {"index": 0, "message": first, "finish_reason": "stop", "logprobs": {"content": [probability]}},
            {"index": 1, "message": {"role": "assistant", "content": "B"}, "finish_reason": "stop"},
            system_fingerprint="fp",
            service_tier="flex",
        )
    )
    found = await world.create(
        model="fast", messages=HI, n=2, logprobs=True, top_logprobs=1, reasoning_effort="low", seed=3, logit_bias={"5": 1},
        extra_body={"top_k": 5, "chat_template_kwargs": {"thinking": True}},
    )  # fmt: skip
    message = found.choices[0].message
    assert [choice.message.content for choice in found.choices] == ["A", "B"]
    assert (message.reasoning_content, message.odd) == ("Hm.", {"x": 1})
    assert found.choices[0].logprobs.content[0].logprob == -0.5
    assert (found.system_fingerprint, found.service_tier) == ("fp", "flex")
    sent = world.upstream.calls[0].body
    assert (sent["n"], sent["top_k"], sent["chat_template_kwargs"]) == (2, 5, {"thinking": True})
    assert (sent["reasoning_effort"], sent["seed"], sent["logit_bias"]) == ("low", 3, {"5": 1})


async def test_a_stream_of_two_choices_with_thoughts_comes_as_it_is(world):
    deltas = [
        {"index": 0, "delta": {"reasoning_content": "Hm", "content": None}, "finish_reason": None},
        {"index": 1, "delta": {"content": "B"}, "finish_reason": "stop"},
        {"index": 0, "delta": {"content": "A"}, "finish_reason": "stop"},
    ]
    head = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "gpt-x"}
    frames = [json.dumps(head | {"choices": [delta], "obfuscation": "zz"}) for delta in deltas]
    raw = "".join(f"data: {frame}\n\n" for frame in (*frames, "[DONE]")).encode()
    world.upstream.faults.append(Fault(raw=raw, content_type="text/event-stream"))
    for _ in range(2):
        chunks = [chunk async for chunk in await world.create(model="fast", messages=HI, n=2, stream=True)]
        assert [chunk.choices[0].index for chunk in chunks] == [0, 1, 0]
        assert chunks[0].choices[0].delta.reasoning_content == "Hm"
        assert chunks[0].obfuscation == "zz"
    assert len(world.upstream.calls) == 1


@pytest.mark.parametrize("model", ["fast", "claude"])
async def test_images_reach_the_vendor_in_its_own_words(world, model):
    content: Any = [
        {"type": "text", "text": "What?"},
        {"type": "image_url", "image_url": {"url": IMAGE, "detail": "low"}},
    ]
    await world.create(model=model, messages=[{"role": "user", "content": content}])
    sent = world.upstream.calls[0].body["messages"][0]["content"]
    if model == "fast":
        assert sent == content
    else:
        source = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
        assert sent[1] == {"type": "image", "source": source}


@pytest.mark.parametrize("model", ["fast", "claude"])
async def test_a_streamed_tool_call_is_put_together_by_the_sdk(world, model):
    call: dict[str, Any] = {"id": "c1", "name": "weather", "input": {"city": "Bern"}}
    if model == "fast":
        call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Bern"}'}}
    world.upstream.faults.append(Fault(tool_calls=[call], finish="tool_calls"))
    async with world.client.chat.completions.stream(model=model, messages=HI, tools=[TOOL]) as stream:
        async for _ in stream:
            pass
        found = await stream.get_final_completion()
    choice = found.choices[0]
    (asked,) = choice.message.tool_calls
    assert (choice.finish_reason, asked.id, asked.function.name) == ("tool_calls", "c1", "weather")
    assert json.loads(asked.function.arguments) == {"city": "Bern"}


async def test_usage_comes_in_a_stream_that_asks_for_it(world):
    for model in ("fast", "claude"):
        stream = await world.create(model=model, messages=HI, stream=True, stream_options={"include_usage": True})
        chunks = [chunk async for chunk in stream]
        assert chunks[-1].usage.completion_tokens == 7


async def test_embeddings_take_dimensions_and_token_numbers(world):
    found = await world.client.embeddings.create(model="vectors", input="one", dimensions=8)
    assert (world.upstream.calls[0].body["dimensions"], found.usage.prompt_tokens) == (8, 3)
    numbers = tokenizer("cl100k_base").encode("hello world")
    plain = await world.client.embeddings.create(model="vectors", input="hello world")
    for given in (numbers, [numbers]):
        raw = await world.client.embeddings.with_raw_response.create(model="vectors", input=given)
        assert raw.parse().data[0].embedding == plain.data[0].embedding
        assert raw.headers["x-bascule-cache"] == "HIT"
    with pytest.raises(openai.BadRequestError) as caught:
        await world.client.embeddings.create(model="vectors", input=[10**6])
    assert caught.value.param == "input"
