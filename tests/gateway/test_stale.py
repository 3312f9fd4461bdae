from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from bascule.core.calls import CacheDirectives
from bascule.core.errors import LimitExceeded, UpstreamError, UpstreamRejected, UpstreamUnavailable
from bascule.gateway.routes import Options
from bascule.testing.gateway import (
    Bench,
    ScriptedModel,
    bench,
    call,
    collect,
    http_client,
    openai_provider,
    principal,
    request,
    said,
    until,
)
from bascule.testing.upstream import FakeUpstream, Fault, fake_upstream

TTL_S = 0.02


@pytest.fixture
async def world() -> AsyncIterator[tuple[FakeUpstream, Bench]]:
    """A vendor, and a gateway whose answers are fresh for a moment and may then stand in for a failure."""
    async with fake_upstream() as up, http_client() as http:
        options = Options(max_attempts=1, breaker_failures=1000)
        yield up, bench(openai_provider(up.url, http), options=options, cache_ttl_s=TTL_S, stale_if_error_s=60.0)


async def expire() -> None:
    """Until what is kept now is no longer fresh."""
    kept_at = time.time()
    await until(lambda: time.time() - kept_at > TTL_S)


@pytest.mark.parametrize(
    "fault",
    [Fault(status=500), Fault(status=429), Fault(raw=b"<html>", content_type="text/html"), Fault(cut_after=0)],
    ids=["500", "429", "html", "cut"],
)
async def test_an_upstream_failure_is_covered_by_the_stale_answer_and_marked(world: tuple, fault: Fault) -> None:
    up, b = world
    first = await b.gateway.chat(request(), call())
    await expire()
    up.always = fault
    c = call()
    assert await b.gateway.chat(request(), c) == first
    assert c.cache == "STALE"
    assert c.cache_reason.startswith("the model failed (upstream_")
    assert [d for d in c.degraded if d.startswith("stale:upstream_")]
    assert (c.age_s or 0) >= TTL_S
    assert (b.records[-1].cache, b.records[-1].outcome) == ("STALE", "ok")


async def test_a_stream_that_fails_before_its_first_event_is_covered_by_the_stale_one(world: tuple) -> None:
    up, b = world
    first = await collect(await b.gateway.stream(request(stream=True), call()))
    await expire()
    up.always = Fault(status=503)
    c = call()
    again = await collect(await b.gateway.stream(request(stream=True), c))
    assert [x.data for x in again] == [x.data for x in first]
    assert c.cache == "STALE"


async def test_a_fresh_answer_replaces_the_stale_one_once_the_upstream_is_well(world: tuple) -> None:
    _, b = world
    await b.gateway.chat(request(), call())
    await expire()
    c = call()
    assert (await b.gateway.chat(request(), c)).text == "answer 2 to hello"
    assert (c.cache, c.cache_reason) == ("MISS", "expired")


async def test_a_silent_upstream_is_covered_before_the_deadline_ends() -> None:
    model = ScriptedModel()
    b = bench(model, cache_ttl_s=TTL_S, stale_if_error_s=60.0, timeout_s=0.5)
    await b.gateway.chat(request(), call())
    await expire()
    model.gate = asyncio.Event()
    c = call()
    began = time.monotonic()
    assert (await b.gateway.chat(request(), c)).text == "ok 1"
    assert time.monotonic() - began < 0.5
    assert (c.cache, c.degraded[-1]) == ("STALE", "stale:upstream_timeout")
    assert b.records[-1].attempts[-1].error == "upstream_timeout"


async def test_a_silent_upstream_still_opens_its_breaker_when_stale_answers_cover_it() -> None:
    model = ScriptedModel()
    options = Options(max_attempts=1, breaker_failures=2)
    b = bench(model, cache_ttl_s=TTL_S, stale_if_error_s=60.0, timeout_s=0.3, options=options)
    await b.gateway.chat(request(), call())
    await expire()
    model.gate = asyncio.Event()
    for _ in range(2):
        await b.gateway.chat(request(), call())
    with pytest.raises(UpstreamUnavailable, match="repeatedly"):
        await b.gateway.chat(request("another"), call())


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
async def test_a_refusal_is_never_covered(world: tuple, status: int) -> None:
    up, b = world
    await b.gateway.chat(request(), call())
    await expire()
    up.always = Fault(status=status)
    with pytest.raises(UpstreamRejected):
        await b.gateway.chat(request(), call())


async def test_a_limit_of_the_callers_own_is_never_covered() -> None:
    model = ScriptedModel(None, LimitExceeded("x", limit="l", retry_after_s=1))
    b = bench(model, cache_ttl_s=TTL_S, stale_if_error_s=60.0)
    await b.gateway.chat(request(), call())
    await expire()
    with pytest.raises(LimitExceeded):
        await b.gateway.chat(request(), call())


@pytest.mark.parametrize("wish", [{"no_cache": True}, {"no_store": True}, {"max_age_s": 0.0}])
async def test_a_caller_who_wants_a_fresh_answer_gets_the_error(world: tuple, wish: dict) -> None:
    up, b = world
    await b.gateway.chat(request(), call())
    await expire()
    up.always = Fault(status=500)
    with pytest.raises(UpstreamError):
        await b.gateway.chat(request(), call(directives=CacheDirectives(**wish)))


async def test_stale_answers_stay_within_their_tenant(world: tuple) -> None:
    up, b = world
    await b.gateway.chat(request(), call(principal("a")))
    await expire()
    up.always = Fault(status=500)
    with pytest.raises(UpstreamError):
        await b.gateway.chat(request(), call(principal("b")))


async def test_a_route_that_does_not_allow_it_gives_the_error() -> None:
    model = ScriptedModel(None, UpstreamUnavailable("x"))
    b = bench(model, cache_ttl_s=TTL_S, options=Options(max_attempts=1))
    await b.gateway.chat(request(), call())
    await expire()
    with pytest.raises(UpstreamUnavailable):
        await b.gateway.chat(request(), call())


async def test_an_answer_from_a_deleted_document_does_not_stand_in(world: tuple) -> None:
    up, b = world
    await b.gateway.chat(request(), call(document_ids=frozenset({"d1"})))
    await expire()
    await b.state.purge("d1")
    up.always = Fault(status=500)
    with pytest.raises(UpstreamError):
        await b.gateway.chat(request(), call())


async def test_many_at_once_at_expiry_make_one_call_and_all_get_the_stale_answer_when_it_fails(world: tuple) -> None:
    up, b = world
    await b.gateway.chat(request(), call())
    await expire()
    up.always = Fault(status=500, delay_s=0.05)
    answers = await asyncio.gather(*(b.gateway.chat(request(), call()) for _ in range(50)))
    assert {a.text for a in answers} == {"answer 1 to hello"}
    assert len(up.calls) == 2


async def test_many_at_once_at_expiry_make_one_call(world: tuple) -> None:
    up, b = world
    await b.gateway.chat(request(), call())
    await expire()
    up.always = Fault(delay_s=0.05)
    answers = await asyncio.gather(*(b.gateway.chat(request(), call()) for _ in range(50)))
    assert {a.text for a in answers} == {"answer 2 to hello"}
    streams = [b.gateway.stream(request(stream=True), call()) for _ in range(20)]
    said_by = [said(await collect(s)) for s in await asyncio.gather(*streams)]
    assert (set(said_by), len(up.calls)) == ({"answer 3 to hello"}, 3)
