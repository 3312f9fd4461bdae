from __future__ import annotations

import asyncio
import contextlib

import msgspec
import pytest

from bascule.core.embedding import EmbeddingRequest
from bascule.core.errors import InvalidRequest, UpstreamUnavailable
from bascule.gateway.metrics import CALLS, TOKENS
from bascule.gateway.routes import Options
from bascule.testing.gateway import (
    ScriptedModel,
    bench,
    call,
    collect,
    http_client,
    openai_provider,
    principal,
    request,
    until,
)
from bascule.testing.upstream import Fault, fake_upstream


async def test_an_answer_leaves_one_record_with_who_what_and_how_much() -> None:
    b = bench(ScriptedModel())
    await b.gateway.chat(request(), call(principal("acme", "key-1", "ann")))
    (r,) = b.records
    assert (r.tenant, r.subject, r.key_id, r.operation, r.model) == ("acme", "ann", "key-1", "chat", "fast")
    assert (r.provider, r.provider_model, r.outcome, r.error, r.cache) == ("p0", "m0", "ok", "", "MISS")
    assert (r.input_tokens, r.output_tokens, r.cost_usd) == (11, 7, pytest.approx(25e-6))
    assert r.latency_s > 0


async def test_a_hit_costs_nothing_in_its_record() -> None:
    b = bench(ScriptedModel())
    for _ in range(2):
        await b.gateway.chat(request(), call())
    hit = b.records[1]
    assert (hit.cache, hit.cost_usd, hit.input_tokens, hit.attempts) == ("HIT", 0.0, 0, ())


async def test_a_failure_leaves_its_code_and_its_attempts() -> None:
    b = bench(ScriptedModel(*[UpstreamUnavailable("x")] * 2), options=Options(max_attempts=2))
    with pytest.raises(UpstreamUnavailable):
        await b.gateway.chat(request(), call())
    assert (b.records[0].outcome, b.records[0].error, len(b.records[0].attempts)) == (
        "error",
        "upstream_unavailable",
        2,
    )


async def test_a_crash_is_recorded_as_an_internal_error() -> None:
    b = bench(ScriptedModel(ZeroDivisionError("a bug")))
    with pytest.raises(ZeroDivisionError):
        await b.gateway.chat(request(), call())
    assert (b.records[0].outcome, b.records[0].error) == ("error", "internal_error")


async def test_a_caller_that_leaves_is_recorded_as_cancelled() -> None:
    model = ScriptedModel(gate=asyncio.Event())
    b = bench(model)
    running = asyncio.create_task(b.gateway.chat(request(), call()))
    await until(lambda: model.requests)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    assert [r.outcome for r in b.records] == ["cancelled"]


async def test_a_stream_is_recorded_at_its_end_with_its_first_byte() -> None:
    async with fake_upstream() as up, http_client() as http:
        b = bench(openai_provider(up.url, http))
        stream = await b.gateway.stream(request(stream=True), call())
        assert b.records == []
        await collect(stream)
        (r,) = b.records
        assert (r.operation, r.outcome, r.input_tokens, r.output_tokens) == ("stream", "ok", 11, 7)
        assert r.first_byte_s is not None
        assert 0 < r.first_byte_s <= r.latency_s


async def test_a_caller_that_stops_at_the_last_event_has_a_record_that_is_ok() -> None:
    async with fake_upstream() as up, http_client() as http:
        for fields in ({}, {"model": "fast"}):
            b = bench(openai_provider(up.url, http), cache_ttl_s=0)
            stream = await b.gateway.stream(request(stream=True, **fields), call())
            async for chunk in stream:
                if chunk.last:
                    break
            await stream.aclose()
            assert [(r.outcome, r.output_tokens) for r in b.records] == [("ok", 7)]


@pytest.mark.parametrize("read", [0, 1])
async def test_a_stream_whose_caller_leaves_is_recorded_once_as_cancelled(read: int) -> None:
    async with fake_upstream() as up, http_client() as http:
        up.always = Fault(gate=asyncio.Event())
        b = bench(openai_provider(up.url, http))
        stream = await b.gateway.stream(request(stream=True), call())
        chunks = aiter(stream)
        for _ in range(read):
            await anext(chunks)
        await stream.aclose()
        await stream.aclose()
        assert [r.outcome for r in b.records] == ["cancelled"]
        assert await until(lambda: up.aborted == 1) < 0.1


async def test_a_stream_that_is_cut_is_an_error_for_the_caller_and_cut_in_its_record() -> None:
    async with fake_upstream() as up, http_client() as http:
        up.always = Fault(cut_after=3)
        b = bench(openai_provider(up.url, http))
        with pytest.raises(UpstreamUnavailable):
            await collect(await b.gateway.stream(request(stream=True), call()))
        assert [(r.outcome, r.error) for r in b.records] == [("cut", "upstream_unavailable")]


async def test_embeddings_are_recorded() -> None:
    b = bench(ScriptedModel())
    await b.gateway.embed(EmbeddingRequest(model="fast", texts=("a", "b")), call())
    assert [(r.operation, r.outcome, r.input_tokens) for r in b.records] == [("embed", "ok", 2)]


async def test_no_record_holds_a_word_of_prompt_or_answer() -> None:
    b = bench(ScriptedModel("CANARY-ANSWER", UpstreamUnavailable("CANARY-ERROR"), InvalidRequest("CANARY-ERROR")))
    for text in ("CANARY-PROMPT 1", "CANARY-PROMPT 2", "CANARY-PROMPT 3"):
        with contextlib.suppress(InvalidRequest):
            await b.gateway.chat(request(text), call())
    assert len(b.records) == 3
    assert b"CANARY" not in msgspec.json.encode(b.records)


async def test_calls_and_tokens_are_counted_for_prometheus() -> None:
    b = bench(ScriptedModel())
    calls = CALLS.labels("fast", "chat", "ok", "MISS", "")
    before = calls._value.get(), TOKENS.labels("fast", "output")._value.get()
    await b.gateway.chat(request(), call())
    assert (calls._value.get(), TOKENS.labels("fast", "output")._value.get()) == (before[0] + 1, before[1] + 7)
