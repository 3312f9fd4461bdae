from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

import pytest

from bascule.core.errors import UpstreamRateLimited, UpstreamUnavailable
from bascule.gateway.balance import order_of
from bascule.gateway.breaker import Breaker
from bascule.gateway.deployments import Deployment
from bascule.gateway.gateway import build
from bascule.gateway.load import Load, first_place
from bascule.gateway.routes import Options, Route, Target
from bascule.plugins.state_stores.memory import MemoryState
from bascule.testing.gateway import Bench, ScriptedModel, call, collect, http_client, openai_provider, request, until
from bascule.testing.upstream import Fault, fake_upstream

ONCE = Options(max_attempts=1)


def targets(*given: dict[str, Any]) -> tuple[Target, ...]:
    return tuple(Target(provider=f"p{i}", model=f"m{i}", **fields) for i, fields in enumerate(given))


def bench_of(models: list[Any], given: tuple[Target, ...], **route: Any) -> Bench:
    records: list[Any] = []
    state = MemoryState()
    routes = {"fast": Route(model="fast", targets=given, **{"timeout_s": 5.0, "cache_ttl_s": 0.0, **route})}
    providers = {f"p{i}": model for i, model in enumerate(models)}
    return Bench(build(routes, providers, state, records.append, None, ONCE), state, records)


def deployments(*given: dict[str, Any]) -> list[Deployment]:
    return [
        Deployment(
            target=t, model=ScriptedModel(), breaker=Breaker(5, 10, provider=t.provider, model=t.model), load=Load()
        )
        for t in targets(*given)
    ]


def first_of(order: Any) -> str:
    return str(order()[0].target.provider)


def test_fixed_order_follows_the_tiers_and_then_the_configuration() -> None:
    order = order_of("order", deployments({"tier": 1}, {}, {}))
    assert [d.target.provider for d in order()] == ["p1", "p2", "p0"]


def test_weights_share_the_load_of_a_tier_and_the_next_tier_is_its_fallback() -> None:
    order = order_of(
        "weighted", deployments({"weight": 3.0}, {"weight": 1.0}, {"tier": 1}), uniform=random.Random(7).random
    )
    seen = Counter(first_of(order) for _ in range(4000))
    assert set(seen) == {"p0", "p1"}
    assert 2.6 < seen["p0"] / seen["p1"] < 3.4
    assert {order()[2].target.provider for _ in range(50)} == {"p2"}


def test_least_busy_takes_whoever_has_the_fewest_calls_for_its_weight() -> None:
    given = deployments({}, {}, {"weight": 4.0})
    order = order_of("least_busy", given)
    for deployment, busy in zip(given, (1, 2, 3), strict=True):
        assert deployment.load
        deployment.load.busy = busy
    assert [d.target.provider for d in order()] == ["p2", "p0", "p1"]


async def test_least_busy_counts_streams_until_they_end() -> None:
    async with fake_upstream() as one, fake_upstream() as two, http_client() as http:
        gate = asyncio.Event()
        one.always = two.always = Fault(gate=gate)
        b = bench_of([openai_provider(u.url, http) for u in (one, two)], targets({}, {}), balance="least_busy")
        streams = [await b.gateway.stream(request(f"q{i}", stream=True), call()) for i in range(6)]
        assert (len(one.calls), len(two.calls)) == (3, 3)
        gate.set()
        for stream in streams:
            await collect(stream)
        assert (one.answered, two.answered) == (3, 3)


async def test_a_stream_holds_its_place_until_it_is_closed() -> None:
    async with fake_upstream() as up, http_client() as http:
        up.faults.append(Fault(gate=asyncio.Event()))
        b = bench_of([openai_provider(up.url, http)], targets({"max_concurrent": 1}))
        stream = await b.gateway.stream(request("held", stream=True), call())
        waiting = asyncio.create_task(b.gateway.chat(request("waits"), call()))
        await asyncio.sleep(0.02)  # nothing must happen
        assert len(up.calls) == 1
        await stream.aclose()
        assert (await waiting).text == "answer 2 to waits"


async def test_a_full_deployment_is_passed_over_without_being_called_a_failure() -> None:
    gate = asyncio.Event()
    models = [ScriptedModel(gate=gate), ScriptedModel()]
    b = bench_of(models, targets({"max_concurrent": 2}, {}))
    held = [asyncio.create_task(b.gateway.chat(request(f"q{i}"), call())) for i in range(2)]
    await until(lambda: len(models[0].requests) == 2)
    over = call()
    await b.gateway.chat(request("over"), over)
    assert (len(models[1].requests), over.degraded) == (1, [])
    gate.set()
    await asyncio.gather(*held)


async def test_a_deployment_never_carries_more_than_its_limit_and_waiting_calls_come_in_turn() -> None:
    running, most = 0, 0

    class Counting(ScriptedModel):
        async def chat(self, request: Any, call: Any) -> Any:
            nonlocal running, most
            running += 1
            most = max(most, running)
            try:
                await asyncio.sleep(0)
                return await super().chat(request, call)
            finally:
                running -= 1

    model = Counting()
    b = bench_of([model], targets({"max_concurrent": 3}))
    await asyncio.gather(*(b.gateway.chat(request(f"q{i}"), call()) for i in range(50)))
    assert (most, len(model.requests)) == (3, 50)


async def test_when_all_stay_full_the_caller_is_told_when_to_come_back_before_its_deadline() -> None:
    gate = asyncio.Event()
    model = ScriptedModel(gate=gate)
    b = bench_of([model], targets({"max_concurrent": 1}), timeout_s=0.8)
    held = asyncio.create_task(b.gateway.chat(request("held"), call()))
    await until(lambda: model.requests)
    with pytest.raises(UpstreamRateLimited) as caught:
        await b.gateway.chat(request("over"), call())
    assert caught.value.retry_after_s == 1.0
    gate.set()
    assert (await held).text


async def test_a_place_that_frees_goes_to_a_waiting_call_and_a_waiter_that_left_keeps_none() -> None:
    gate = asyncio.Event()
    model = ScriptedModel(gate=gate)
    b = bench_of([model], targets({"max_concurrent": 1}))
    held = asyncio.create_task(b.gateway.chat(request("first"), call()))
    await until(lambda: model.requests)
    leaving = asyncio.create_task(b.gateway.chat(request("leaves"), call()))
    staying = asyncio.create_task(b.gateway.chat(request("stays"), call()))
    await asyncio.sleep(0)
    leaving.cancel()
    gate.set()
    await asyncio.gather(held, staying)
    assert (await b.gateway.chat(request("last"), call())).text
    assert leaving.cancelled() or leaving.done()


async def test_a_place_given_in_the_moment_its_waiter_leaves_is_passed_on() -> None:
    load = Load(1)
    assert load.take()
    waiter = asyncio.create_task(first_place([load], 5))
    await asyncio.sleep(0)
    load.release()
    waiter.cancel()
    await asyncio.wait([waiter])
    assert load.take()


async def test_callers_that_leave_at_any_moment_leave_every_place_free() -> None:
    rng = random.Random(11)

    class Pausing(ScriptedModel):
        async def chat(self, request: Any, call: Any) -> Any:
            for _ in range(rng.randrange(6)):
                await asyncio.sleep(0)
            return await super().chat(request, call)

    models = [Pausing(), Pausing()]
    b = bench_of(models, targets({"max_concurrent": 2}, {"max_concurrent": 1}), balance="least_busy")

    async def come_and_go(i: int) -> None:
        task = asyncio.create_task(b.gateway.chat(request(f"q{i}"), call()))
        for _ in range(rng.randrange(30)):
            await asyncio.sleep(0)
        if rng.random() < 0.6:
            task.cancel()
        await asyncio.wait([task])

    await asyncio.gather(*(come_and_go(i) for i in range(400)))
    await until(lambda: b.gateway.under_way == 0)
    for model in models:
        model.gate = asyncio.Event()
        model.requests.clear()
    held = [asyncio.create_task(b.gateway.chat(request(f"h{i}"), call())) for i in range(4)]
    await until(lambda: sum(len(m.requests) for m in models) == 3)
    assert sorted(len(m.requests) for m in models) == [1, 2]
    for model in models:
        model.gate.set()  # type: ignore[union-attr]
    await asyncio.gather(*held)


async def test_a_failure_gives_its_place_back() -> None:
    model = ScriptedModel(*[UpstreamUnavailable("x")] * 2)
    b = bench_of([model], targets({"max_concurrent": 1}))
    for i in range(2):
        with pytest.raises(UpstreamUnavailable):
            await b.gateway.chat(request(f"q{i}"), call())
    assert (await b.gateway.chat(request("now"), call())).text


async def test_routes_that_name_the_same_model_share_its_breaker() -> None:
    model = ScriptedModel(*[UpstreamUnavailable("x")] * 9)
    target = targets({})
    routes = {name: Route(model=name, targets=target, timeout_s=5.0) for name in ("fast", "other")}
    gateway = build(
        routes, {"p0": model}, MemoryState(), lambda _: None, None, Options(max_attempts=1, breaker_failures=2)
    )
    for i in range(2):
        with pytest.raises(UpstreamUnavailable):
            await gateway.chat(request(f"q{i}"), call())
    with pytest.raises(UpstreamUnavailable, match="repeatedly"):
        await gateway.chat(request(model="other"), call())
