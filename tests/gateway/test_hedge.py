from __future__ import annotations

import asyncio

import pytest

from bascule.core.errors import AllTargetsFailed, UpstreamRejected, UpstreamTimeout, UpstreamUnavailable
from bascule.gateway.routes import Options
from bascule.testing.gateway import (
    ScriptedModel,
    bench,
    call,
    collect,
    http_client,
    openai_provider,
    request,
    said,
    until,
)
from bascule.testing.upstream import Fault, fake_upstream

ONCE = Options(max_attempts=1)


async def test_a_slow_target_is_overtaken_by_the_second_and_its_upstream_call_is_aborted() -> None:
    async with fake_upstream() as slow, fake_upstream() as quick, http_client() as http:
        slow.always = Fault(gate=asyncio.Event())
        b = bench(openai_provider(slow.url, http), openai_provider(quick.url, http), hedge_after_s=0.05)
        c = call()
        assert (await b.gateway.chat(request(), c)).text == "answer 1 to hello"
        await until(lambda: slow.aborted == 1)
        assert c.degraded == ["hedged"]
        assert [(a.provider, a.error) for a in b.records[0].attempts] == [("p0", "cancelled"), ("p1", "")]


async def test_the_prompt_that_the_loser_read_is_counted_too() -> None:
    b = bench(ScriptedModel(gate=asyncio.Event()), ScriptedModel(), hedge_after_s=0.01)
    c = call()
    await b.gateway.chat(request(), c)
    assert (c.usage.input_tokens, c.usage.output_tokens) == (22, 7)
    assert c.cost_usd == pytest.approx((22 + 2 * 7) / 1_000_000)


async def test_a_quick_target_is_never_asked_twice() -> None:
    first, second = ScriptedModel(), ScriptedModel()
    c = call()
    await bench(first, second, hedge_after_s=1.0).gateway.chat(request(), c)
    assert (len(first.requests), len(second.requests), c.degraded) == (1, 0, [])


async def test_one_target_alone_is_asked_a_second_time() -> None:
    async with fake_upstream() as up, http_client() as http:
        up.faults.append(Fault(gate=asyncio.Event()))
        b = bench(openai_provider(up.url, http), hedge_after_s=0.05)
        assert (await b.gateway.chat(request(), call())).text == "answer 2 to hello"


async def test_hedges_live_within_the_retry_budget() -> None:
    gate = asyncio.Event()
    first, second = ScriptedModel(gate=gate), ScriptedModel(gate=gate)
    b = bench(first, second, hedge_after_s=0.001, options=Options(retry_share=0.0, retry_floor=2.0))
    running = [asyncio.create_task(b.gateway.chat(request(f"q{i}"), call())) for i in range(20)]
    await until(lambda: len(first.requests) == 20 and len(second.requests) >= 2)
    gate.set()
    await asyncio.gather(*running)
    assert len(second.requests) == 2


async def test_a_first_target_that_fails_at_once_falls_back_without_a_hedge() -> None:
    b = bench(ScriptedModel(UpstreamUnavailable("x")), ScriptedModel("second"), hedge_after_s=1.0, options=ONCE)
    c = call()
    assert (await b.gateway.chat(request(), c)).text == "second"
    assert c.degraded == ["fallback:upstream_unavailable"]
    assert c.usage.input_tokens == 11


async def test_a_hedge_that_fails_leaves_the_first_to_answer() -> None:
    gate = asyncio.Event()
    first, second = ScriptedModel("slow but good", gate=gate), ScriptedModel(UpstreamUnavailable("x"))
    b = bench(first, second, hedge_after_s=0.01, options=ONCE)
    running = asyncio.create_task(b.gateway.chat(request(), call()))
    await until(lambda: second.requests)
    gate.set()
    assert (await running).text == "slow but good"
    assert b.records[0].provider == "p0"


async def test_when_both_fail_the_rest_of_the_chain_is_tried() -> None:
    broken = [ScriptedModel(UpstreamUnavailable("x")) for _ in range(2)]
    b = bench(*broken, ScriptedModel("third"), hedge_after_s=1.0, options=ONCE)
    assert (await b.gateway.chat(request(), call())).text == "third"


async def test_when_all_fail_the_caller_has_one_error() -> None:
    broken = [ScriptedModel(UpstreamUnavailable("x")) for _ in range(2)]
    with pytest.raises(AllTargetsFailed):
        await bench(*broken, hedge_after_s=1.0, options=ONCE).gateway.chat(request(), call())


async def test_a_refusal_ends_the_race() -> None:
    second = ScriptedModel()
    b = bench(ScriptedModel(UpstreamRejected("x", status=400)), second, hedge_after_s=1.0)
    with pytest.raises(UpstreamRejected):
        await b.gateway.chat(request(), call())
    assert not second.requests


async def test_both_are_stopped_at_the_deadline_and_when_the_caller_leaves() -> None:
    gate = asyncio.Event()
    first, second = ScriptedModel(gate=gate), ScriptedModel(gate=gate)
    b = bench(first, second, hedge_after_s=0.01, timeout_s=0.2)
    with pytest.raises((UpstreamTimeout, AllTargetsFailed)):
        await b.gateway.chat(request(), call())
    assert (first.cancelled, second.cancelled) == (1, 1)
    leaving = asyncio.create_task(b.gateway.chat(request("again"), call()))
    await until(lambda: len(second.requests) == 2)
    leaving.cancel()
    await asyncio.wait([leaving])
    await until(lambda: (first.cancelled, second.cancelled) == (2, 2))


async def test_a_stream_is_not_hedged() -> None:
    first, second = ScriptedModel("streamed"), ScriptedModel()
    b = bench(first, second, hedge_after_s=0.0)
    assert said(await collect(await b.gateway.stream(request(stream=True), call()))) == "streamed"
    assert not second.requests
