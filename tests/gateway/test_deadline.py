from __future__ import annotations

import asyncio
import time

import pytest

from bascule.core.embedding import EmbeddingRequest
from bascule.core.errors import UpstreamTimeout
from bascule.gateway.alarm import LongAlarm
from bascule.testing.gateway import ScriptedModel, bench, call, collect, http_client, openai_provider, request, until
from bascule.testing.upstream import Fault, fake_upstream


@pytest.mark.parametrize("stream", [False, True])
async def test_a_silent_upstream_ends_as_a_timeout_when_the_routes_deadline_is_over(stream: bool) -> None:
    async with fake_upstream() as up, http_client() as http:
        up.always = Fault(delay_s=30)
        b = bench(openai_provider(up.url, http), timeout_s=0.15)
        began = time.monotonic()
        with pytest.raises(UpstreamTimeout) as caught:
            if stream:
                await b.gateway.stream(request(stream=True), call(timeout_s=60))
            else:
                await b.gateway.chat(request(), call(timeout_s=60))
        assert 0.1 < time.monotonic() - began < 1.0
        assert (caught.value.http_status, caught.value.code) == (504, "upstream_timeout")
        await until(lambda: up.aborted == len(up.calls))


async def test_a_stream_that_falls_silent_in_the_middle_ends_as_a_timeout() -> None:
    async with fake_upstream() as up, http_client() as http:
        up.always = Fault(gate=asyncio.Event())
        b = bench(openai_provider(up.url, http), timeout_s=0.2)
        stream = await b.gateway.stream(request(stream=True), call(timeout_s=60))
        with pytest.raises(UpstreamTimeout):
            await collect(stream)
        assert b.records[0].outcome == "cut"
        assert await until(lambda: up.aborted == 1) < 0.5


async def test_retries_and_fallbacks_live_inside_the_one_deadline() -> None:
    async with fake_upstream() as up, http_client() as http:
        up.always = Fault(status=503, delay_s=0.04)
        b = bench(openai_provider(up.url, http), openai_provider(up.url, http), timeout_s=0.3)
        began = time.monotonic()
        with pytest.raises(Exception, match=r"deadline|failed"):
            await b.gateway.chat(request(), call(timeout_s=60))
        assert time.monotonic() - began < 1.0


async def test_a_calls_own_deadline_may_be_shorter_than_its_routes() -> None:
    b = bench(ScriptedModel(gate=asyncio.Event()), timeout_s=60)
    began = time.monotonic()
    with pytest.raises(UpstreamTimeout):
        await b.gateway.chat(request(), call(timeout_s=0.05))
    assert time.monotonic() - began < 1.0


async def test_a_deadline_that_is_over_already_asks_nobody() -> None:
    model = ScriptedModel()
    b = bench(model)
    with pytest.raises(UpstreamTimeout):
        await b.gateway.chat(request(), call(timeout_s=0))
    assert not model.requests


async def test_embedding_has_a_deadline_too() -> None:
    b = bench(ScriptedModel(gate=asyncio.Event()), timeout_s=0.05)
    with pytest.raises(UpstreamTimeout):
        await b.gateway.embed(EmbeddingRequest(model="fast", texts=("a",)), call(timeout_s=60))


async def test_a_timeout_never_reaches_into_what_the_caller_does_between_two_chunks() -> None:
    async with fake_upstream() as up, http_client() as http:
        b = bench(openai_provider(up.url, http), timeout_s=0.2)
        stream = await b.gateway.stream(request(stream=True), call(timeout_s=60))
        chunks = aiter(stream)
        await anext(chunks)
        await asyncio.sleep(0.3)  # the caller's own slowness, past the deadline: not cancelled here
        with pytest.raises(UpstreamTimeout):
            await anext(chunks)
        await stream.aclose()


async def test_an_alarm_that_rings_between_two_waits_ends_the_next_one_before_it_begins() -> None:
    alarm = LongAlarm(0.0)
    with alarm:
        pass
    await until(lambda: alarm._over)
    with pytest.raises(TimeoutError), alarm:
        raise AssertionError("it began")
    other = LongAlarm(30.0)
    for _ in range(2):
        with other:
            await asyncio.sleep(0)
    other.off()


async def test_an_alarm_does_not_take_a_cancellation_of_others_for_its_own() -> None:
    async def wait() -> None:
        with LongAlarm(30.0):
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
