from __future__ import annotations

import asyncio
import contextlib

import pytest

from bascule.core.calls import CacheDirectives
from bascule.core.embedding import EmbeddingRequest
from bascule.core.errors import LimitExceeded, UpstreamRejected, UpstreamTimeout, UpstreamUnavailable
from bascule.gateway.routes import Limits
from bascule.testing.gateway import (
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
from bascule.testing.upstream import Fault, fake_upstream


async def test_a_thousand_identical_requests_make_one_upstream_call() -> None:
    async with fake_upstream() as up, http_client() as http:
        gate = asyncio.Event()
        up.always = Fault(gate=gate)
        b = bench(openai_provider(up.url, http))
        running = [asyncio.create_task(b.gateway.chat(request(), call())) for _ in range(1_000)]
        await until(lambda: up.calls)
        gate.set()
        answers = await asyncio.gather(*running)
        assert len(up.calls) == 1
        assert {a.body for a in answers} == {answers[0].body}


async def test_a_hundred_identical_streams_make_one_upstream_call_shared_live_and_from_the_first_event() -> None:
    async with fake_upstream() as up, http_client() as http:
        gate = asyncio.Event()
        up.always = Fault(gate=gate)
        b = bench(openai_provider(up.url, http))
        early = [asyncio.create_task(b.gateway.stream(request(stream=True), call())) for _ in range(50)]
        streams = [await task for task in early]
        firsts = [await anext(aiter(stream)) for stream in streams]
        assert not gate.is_set()  # everybody has the first event while the upstream has not finished
        late = [await b.gateway.stream(request(stream=True), call()) for _ in range(50)]
        gate.set()
        rest = await asyncio.gather(*(collect(stream) for stream in streams))
        whole = await asyncio.gather(*(collect(stream) for stream in late))
        assert len(up.calls) == 1
        assert {tuple(c.data for c in [f, *r]) for f, r in zip(firsts, rest, strict=True)} == {
            tuple(c.data for c in chunks) for chunks in whole
        }
        assert said(whole[0]) == "answer 1 to hello"


async def test_when_the_leader_leaves_the_others_are_still_answered_by_the_same_call() -> None:
    gate = asyncio.Event()
    model = ScriptedModel(gate=gate)
    b = bench(model)
    leader = asyncio.create_task(b.gateway.chat(request(), call()))
    await until(lambda: model.requests)
    follower = asyncio.create_task(b.gateway.chat(request(), call()))
    await asyncio.sleep(0)
    leader.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await leader
    gate.set()
    assert (await follower).text == "ok 1"
    assert (len(model.requests), model.cancelled) == (1, 0)


async def test_when_leader_after_leader_leaves_a_thousand_are_answered_by_the_same_call() -> None:
    gate = asyncio.Event()
    model = ScriptedModel(gate=gate)
    b = bench(model)
    waiting = [asyncio.create_task(b.gateway.chat(request(), call())) for _ in range(1_000)]
    await until(lambda: model.requests)
    for leader in waiting[:300]:
        leader.cancel()
    await asyncio.wait(waiting[:300])
    gate.set()
    answers = await asyncio.gather(*waiting[300:])
    assert {answer.text for answer in answers} == {"ok 1"}
    assert (len(model.requests), model.cancelled, b.gateway.under_way) == (1, 0, 0)


async def test_when_the_leader_of_a_stream_leaves_the_others_get_all_of_it() -> None:
    async with fake_upstream() as up, http_client() as http:
        gate = asyncio.Event()
        up.always = Fault(gate=gate)
        b = bench(openai_provider(up.url, http))
        leader = await b.gateway.stream(request(stream=True), call())
        await anext(aiter(leader))
        follower = await b.gateway.stream(request(stream=True), call())
        await leader.aclose()
        gate.set()
        assert said(await collect(follower)) == "answer 1 to hello"
        assert len(up.calls) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_when_the_last_waiter_leaves_the_upstream_call_is_aborted_within_100_ms(stream: bool) -> None:
    async with fake_upstream() as up, http_client() as http:
        up.always = Fault(gate=asyncio.Event())
        b = bench(openai_provider(up.url, http))
        waiting = []
        for _ in range(3):
            if stream:
                opened = await b.gateway.stream(request(stream=True), call())
                await anext(aiter(opened))
                waiting.append(asyncio.create_task(collect(opened)))
            else:
                waiting.append(asyncio.create_task(b.gateway.chat(request(), call())))
        await until(lambda: up.calls)
        await asyncio.sleep(0)
        for task in waiting[:2]:
            task.cancel()
        await asyncio.wait(waiting[:2])
        assert up.aborted == 0
        waiting[2].cancel()
        assert await until(lambda: up.aborted == 1) < 0.1
        await asyncio.wait(waiting)
        assert len(up.calls) == 1
        assert b.gateway.under_way == 0


async def test_a_refusal_of_the_leader_is_not_shared_and_the_next_one_leads() -> None:
    model = ScriptedModel()
    b = bench(model, limits={"poor": Limits(tokens_per_min=1), "rich": Limits()})
    results = await asyncio.gather(
        b.gateway.chat(request(max_tokens=5), call(principal(key_id="poor"))),
        *(b.gateway.chat(request(max_tokens=5), call(principal(key_id="rich"))) for _ in range(5)),
        return_exceptions=True,
    )
    assert isinstance(results[0], LimitExceeded)
    assert [getattr(r, "text", r) for r in results[1:]] == ["ok 1"] * 5
    assert len(model.requests) == 1


async def test_a_crash_of_the_leader_is_not_shared_and_the_next_one_leads() -> None:
    model = ScriptedModel(ZeroDivisionError("a bug"), "fine")
    b = bench(model)
    results = await asyncio.gather(*(b.gateway.chat(request(), call()) for _ in range(4)), return_exceptions=True)
    assert isinstance(results[0], ZeroDivisionError)
    assert [getattr(r, "text", r) for r in results[1:]] == ["fine"] * 3
    assert len(model.requests) == 2


async def test_a_refusal_by_the_vendor_is_everybodys() -> None:
    model = ScriptedModel(UpstreamRejected("no", status=400))
    b = bench(model)
    results = await asyncio.gather(*(b.gateway.chat(request(), call()) for _ in range(4)), return_exceptions=True)
    assert [type(r) for r in results] == [UpstreamRejected] * 4
    assert len(model.requests) == 1


async def test_a_stream_cut_in_the_middle_is_cut_for_everybody() -> None:
    async with fake_upstream() as up, http_client() as http:
        gate = asyncio.Event()
        up.always = Fault(gate=gate, cut_after=3)
        b = bench(openai_provider(up.url, http))
        streams = [await b.gateway.stream(request(stream=True), call()) for _ in range(3)]
        gate.set()
        results = await asyncio.gather(*(collect(s) for s in streams), return_exceptions=True)
        assert [type(r) for r in results] == [UpstreamUnavailable] * 3
        up.always = None
        assert said(await collect(await b.gateway.stream(request(stream=True), call()))) == "answer 2 to hello"


async def test_a_waiter_has_its_own_deadline_and_leaves_the_call_to_the_others() -> None:
    gate = asyncio.Event()
    model = ScriptedModel(gate=gate)
    b = bench(model)
    patient = asyncio.create_task(b.gateway.chat(request(), call()))
    await until(lambda: model.requests)
    with pytest.raises(UpstreamTimeout):
        await b.gateway.chat(request(), call(timeout_s=0.03))
    gate.set()
    assert (await patient).text == "ok 1"


async def test_the_shared_call_runs_under_the_routes_deadline_not_the_leaders() -> None:
    gate = asyncio.Event()
    model = ScriptedModel(gate=gate)
    b = bench(model)
    hurried = asyncio.create_task(b.gateway.chat(request(), call(timeout_s=0.03)))
    await until(lambda: model.requests)
    patient = asyncio.create_task(b.gateway.chat(request(), call()))
    with pytest.raises(UpstreamTimeout):
        await hurried
    gate.set()
    assert (await patient).text == "ok 1"
    assert len(model.requests) == 1


async def test_no_store_is_not_shared() -> None:
    gate = asyncio.Event()
    model = ScriptedModel(gate=gate)
    b = bench(model)
    alone = CacheDirectives(no_store=True)
    running = [asyncio.create_task(b.gateway.chat(request(), call(directives=alone))) for _ in range(3)]
    await until(lambda: len(model.requests) == 3)
    gate.set()
    await asyncio.gather(*running)


async def test_tenants_do_not_share_a_call_under_way() -> None:
    gate = asyncio.Event()
    model = ScriptedModel(gate=gate)
    b = bench(model)
    running = [asyncio.create_task(b.gateway.chat(request(), call(principal(t)))) for t in ("a", "b")]
    await until(lambda: len(model.requests) == 2)
    gate.set()
    await asyncio.gather(*running)


async def test_identical_embeddings_run_once() -> None:
    gate = asyncio.Event()
    model = ScriptedModel(gate=gate)
    b = bench(model)
    asked = EmbeddingRequest(model="fast", texts=("a", "b"), purpose="query")
    running = [asyncio.create_task(b.gateway.embed(asked, call())) for _ in range(20)]
    await until(lambda: model.embedded)
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(*running)
    assert len(model.embedded) == 1


async def test_the_call_is_paid_once_by_the_first_and_followers_cost_nothing() -> None:
    gate = asyncio.Event()
    b = bench(ScriptedModel(gate=gate))
    running = [asyncio.create_task(b.gateway.chat(request(), call())) for _ in range(3)]
    await asyncio.sleep(0.01)
    gate.set()
    await asyncio.gather(*running)
    assert [r.input_tokens for r in b.records] == [11, 0, 0]
    assert [r.cost_usd for r in b.records] == [pytest.approx(25e-6), 0.0, 0.0]


async def test_a_thousand_random_leavers_leak_nothing_and_get_their_own_answers() -> None:
    import random

    rng = random.Random(7)
    model = ScriptedModel()
    b = bench(model, cache_ttl_s=0)

    class Slow(ScriptedModel):
        async def _turn(self, request, call):  # type: ignore[no-untyped-def]
            await asyncio.sleep(rng.random() * 0.01)
            return f"{call.principal.tenant}:{request.view['messages'][0]['content']}"

    b = bench(Slow(), cache_ttl_s=0)

    async def one(i: int) -> None:
        tenant, text = f"t{i % 3}", f"q{i % 5}"
        asked = request(text, stream=i % 2 == 0)
        running = asyncio.create_task(_ask(b, asked, tenant))
        if rng.random() < 0.5:
            await asyncio.sleep(rng.random() * 0.012)
            running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            assert await running == f"{tenant}:{text}"

    for start in range(0, 1000, 100):
        await asyncio.gather(*(one(i) for i in range(start, start + 100)))
    await until(lambda: b.gateway.under_way == 0)
    assert len(b.records) == 1000


async def _ask(b, asked, tenant):  # type: ignore[no-untyped-def]
    if asked.stream:
        return said(await collect(await b.gateway.stream(asked, call(principal(tenant)))))
    return (await b.gateway.chat(asked, call(principal(tenant)))).text
