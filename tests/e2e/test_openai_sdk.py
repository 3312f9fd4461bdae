"""OpenAI's own SDK drives a whole Bascule over loopback, with a vendor of our own behind it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import openai
import pytest

from bascule.testing.running import running, settings_for
from bascule.testing.upstream import FakeUpstream, Fault, embedding, fake_upstream

HI = [{"role": "user", "content": "Hi"}]


class World:
    """A running Bascule, its vendor and an SDK client with the admin key."""

    def __init__(self, url: str, admin: str, upstream: FakeUpstream) -> None:
        self.url = url
        self.upstream = upstream
        self.client = self.as_key(admin)

    def as_key(self, key: str) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=20)


@pytest.fixture
async def world(tmp_path, monkeypatch) -> AsyncIterator[World]:
    monkeypatch.setenv("UPSTREAM_KEY", "sk-upstream-secret")
    async with fake_upstream() as upstream:
        settings = settings_for(
            tmp_path / "data",
            providers={"main": {"kind": "openai", "base_url": upstream.url, "api_key": "env:UPSTREAM_KEY"}},
            models={
                "fast": {"targets": [{"provider": "main", "model": "gpt-x"}]},
                "vectors": {"targets": [{"provider": "main", "model": "embed-x"}]},
            },
            gateway={"max_attempts": 1, "timeout_s": 10},
        )
        async with running(settings) as (url, _, admin):
            made = World(url, admin, upstream)
            async with made.client:
                yield made


async def test_a_chat_is_answered_and_repeated_from_the_cache(world):
    first = await world.client.chat.completions.with_raw_response.create(model="fast", messages=HI)
    second = await world.client.chat.completions.with_raw_response.create(model="fast", messages=HI)
    answer = first.parse()
    assert answer.choices[0].message.content == "answer 1 to Hi"
    assert answer.usage.total_tokens == 18
    assert answer.vendor_extra == {"kept": True}
    assert (first.headers["x-bascule-cache"], second.headers["x-bascule-cache"]) == ("MISS", "HIT")
    assert second.parse().choices[0].message.content == "answer 1 to Hi"
    assert len(world.upstream.calls) == 1
    assert first.headers["x-request-id"] != second.headers["x-request-id"]


async def test_unknown_fields_and_tools_reach_the_vendor(world):
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    world.upstream.faults.append(Fault(tool_calls=[call], finish="tool_calls"))
    answer = await world.client.chat.completions.create(
        model="fast", messages=HI, tools=[tool], extra_body={"vendor_option": {"deep": [1, 2]}}
    )
    sent = world.upstream.calls[0].body
    assert (sent["vendor_option"], sent["tools"], sent["model"]) == ({"deep": [1, 2]}, [tool], "gpt-x")
    assert answer.choices[0].message.tool_calls[0].function.name == "weather"


async def test_a_stream_comes_in_pieces_and_is_replayed_as_a_stream(world):
    for verdict in ("MISS", "HIT"):
        raw = await world.client.chat.completions.with_raw_response.create(model="fast", messages=HI, stream=True)
        pieces = [chunk.choices[0].delta.content or "" async for chunk in raw.parse() if chunk.choices]
        assert "".join(pieces) == "answer 1 to Hi"
        assert len([piece for piece in pieces if piece]) > 1
        assert raw.headers["x-bascule-cache"] == verdict
    assert len(world.upstream.calls) == 1


async def test_the_first_piece_of_a_stream_arrives_before_the_last_is_made(world):
    gate = asyncio.Event()
    world.upstream.faults.append(Fault(gate=gate))
    stream = await world.client.chat.completions.create(model="fast", messages=HI, stream=True)
    async with asyncio.timeout(5):
        first = await anext(aiter(stream))
    assert first.choices[0].delta.role == "assistant"
    gate.set()
    assert "".join([c.choices[0].delta.content or "" async for c in stream if c.choices]) == "answer 1 to Hi"


async def test_a_cut_stream_raises_in_the_sdk(world):
    world.upstream.faults.append(Fault(cut_after=3))
    stream = await world.client.chat.completions.create(model="fast", messages=HI, stream=True)
    with pytest.raises(openai.APIError) as caught:
        async for _ in stream:
            pass
    assert caught.value.code.startswith("upstream_")


async def test_embeddings_are_the_vendors(world):
    texts = ["one", "two"]
    for encoding in ("float", "base64"):
        raw = await world.client.embeddings.create(model="vectors", input=texts, encoding_format=encoding)
        assert len(raw.data) == 2
    default = await world.client.embeddings.create(model="vectors", input=texts)
    expected = embedding("one", 8)
    length = sum(x * x for x in expected) ** 0.5
    assert default.data[0].embedding == pytest.approx([x / length for x in expected], abs=1e-5)


async def test_models_are_listed_while_the_vendor_is_down(world):
    world.upstream.always = Fault(status=500)
    listed = [model.id async for model in world.client.models.list()]
    assert {"fast", "vectors"} <= set(listed)
    assert (await world.client.models.retrieve("fast")).id == "fast"
    assert world.upstream.calls == []


async def test_errors_are_the_sdks_own_classes(world):
    with pytest.raises(openai.AuthenticationError):
        await world.as_key("bsk_wrong").chat.completions.create(model="fast", messages=HI)
    with pytest.raises(openai.NotFoundError):
        await world.client.chat.completions.create(model="unknown", messages=HI)
    with pytest.raises(openai.BadRequestError) as caught:
        await world.client.chat.completions.create(model="fast", messages=[])
    assert caught.value.param == "messages"
    made = await world.client.post("/keys", body={"name": "asker", "scopes": ["ask"]}, cast_to=object)
    with pytest.raises(openai.PermissionDeniedError):
        await world.as_key(made["key"]).chat.completions.create(model="fast", messages=HI)


async def test_a_vendors_limit_is_a_rate_limit_error_with_its_wait(world):
    world.upstream.faults.append(Fault(status=429, retry_after="7"))
    with pytest.raises(openai.RateLimitError) as caught:
        await world.client.chat.completions.create(model="fast", messages=HI)
    assert 1 <= int(caught.value.response.headers["retry-after"]) <= 7


async def test_a_vendors_failure_is_a_5xx_and_its_key_is_never_told(world):
    for status in (500, 401):
        world.upstream.faults.append(Fault(status=status))
        with pytest.raises(openai.InternalServerError) as caught:
            await world.client.chat.completions.create(
                model="fast", messages=[{"role": "user", "content": str(status)}]
            )
        assert caught.value.status_code == 502
        assert "sk-upstream" not in caught.value.response.text


async def test_a_keys_own_limit_is_a_rate_limit_error(world):
    wanted = {"name": "slow", "requests_per_min": 1}
    made = await world.client.post("/keys", body=wanted, cast_to=object)
    client = world.as_key(made["key"])
    await client.chat.completions.create(model="fast", messages=HI)
    with pytest.raises(openai.RateLimitError) as caught:
        await client.chat.completions.create(model="fast", messages=[{"role": "user", "content": "again"}])
    assert int(caught.value.response.headers["retry-after"]) >= 1


async def test_documents_are_asked_as_a_model(world):
    text = "# Returns\n\nGoods may be returned within 30 days of delivery, unused and in their packaging.\n"
    body = {"collection": "handbook", "allow": ["public"], "documents": [{"external_id": "returns.md", "text": text}]}
    job = await world.client.post("/documents", body=body, cast_to=object)
    await finished(world.client, job["id"])
    question = [{"role": "user", "content": "Within how many days may goods be returned?"}]
    assert "rag/handbook" in [model.id async for model in world.client.models.list()]

    answer = await world.client.chat.completions.create(model="rag/handbook", messages=question)
    assert "30 days" in answer.choices[0].message.content
    assert "30 days" in answer.choices[0].message.citations[0]["quote"]

    stream = await world.client.chat.completions.create(model="rag/handbook", messages=question, stream=True)
    chunks = [chunk async for chunk in stream]
    assert "30 days" in "".join(c.choices[0].delta.content or "" for c in chunks)
    assert chunks[-1].choices[0].delta.citations[0]["document_id"]

    with pytest.raises(openai.NotFoundError):
        await world.client.chat.completions.create(model="rag/nowhere", messages=question)


async def test_documents_asked_as_a_model_are_filtered_as_everywhere(world):
    documents = [
        {"external_id": f"{year}.md", "text": f"Goods may be returned within {days} days.", "metadata": {"year": year}}
        for year, days in ((2023, 14), (2024, 30))
    ]
    body = {"collection": "handbook", "allow": ["public"], "documents": documents}
    await finished(world.client, (await world.client.post("/documents", body=body, cast_to=object))["id"])
    question = [{"role": "user", "content": "Within how many days may goods be returned?"}]

    async def said(**given) -> str:
        answer = await world.client.chat.completions.create(model="rag/handbook", messages=question, **given)
        return f"{answer.choices[0].message.content} {answer.choices[0].message.citations}"

    for year, days, other in ((2023, "14 days", "30 days"), (2024, "30 days", "14 days")):
        for given in (
            {"extra_body": {"bascule": {"filter": {"year": year}, "extractive": True}}},
            {"metadata": {"bascule_filter": json.dumps({"year": {"eq": year}})}},
        ):
            answer = await said(**given)
            assert days in answer and other not in answer, given
    for wrong in (
        {"extra_body": {"bascule": {"filter": {"year": {"$gt": 1}}}}},
        {"extra_body": {"bascule": {"where": {}}}},
        {"extra_body": {"bascule": {"filter": {}}}, "metadata": {"bascule_filter": "{}"}},
        {"metadata": {"bascule_filter": "year = 2024"}},
        {"metadata": {"bascule_filter": "{}", "x": "y"}, "extra_body": {"bascule": 7}},
    ):
        for stream in (False, True):
            with pytest.raises(openai.BadRequestError):
                await world.client.chat.completions.create(
                    model="rag/handbook", messages=question, stream=stream, **wrong
                )
    told = await world.client.responses.create(
        model="rag/handbook", input=question[0]["content"], extra_body={"bascule": {"filter": {"year": 2023}}}
    )
    assert "14 days" in told.output_text and "30 days" not in told.output_text


async def finished(client: openai.AsyncOpenAI, job_id: str) -> None:
    async with asyncio.timeout(60):
        while (await client.get(f"/jobs/{job_id}", cast_to=object))["state"] not in ("done", "failed"):
            await asyncio.sleep(0.05)
