from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from bascule.core.errors import (
    AllTargetsFailed,
    ConfigError,
    UpstreamInvalid,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from bascule.core.upstream import retry_after_s
from bascule.gateway.breaker import Breaker
from bascule.gateway.gateway import build
from bascule.gateway.retry import FLOOR_PER_S, RetryBudget
from bascule.gateway.routes import Limits, Options, Route, Target
from bascule.plugins.state_stores.memory import MemoryState
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
from bascule.testing.state_store_contract import HandClock
from bascule.testing.upstream import Fault, fake_upstream

ONCE = Options(max_attempts=1)


async def test_each_target_gets_its_own_model_name() -> None:
    first, second = ScriptedModel(UpstreamUnavailable("x")), ScriptedModel()
    await bench(first, second, options=ONCE).gateway.chat(request(), call())
    assert (first.requests[0].model, second.requests[0].model) == ("m0", "m1")


@pytest.mark.parametrize(
    "error", [UpstreamUnavailable("x"), UpstreamRateLimited("x"), UpstreamInvalid("x"), UpstreamTimeout("x")]
)
async def test_a_retryable_failure_falls_back_and_the_answer_says_so(error: Exception) -> None:
    b = bench(ScriptedModel(error), ScriptedModel("from the second"), options=ONCE)
    c = call()
    assert (await b.gateway.chat(request(), c)).text == "from the second"
    assert c.degraded == [f"fallback:{error.code}"]  # type: ignore[attr-defined]
    assert [(a.provider, a.error) for a in b.records[0].attempts] == [("p0", error.code), ("p1", "")]  # type: ignore[attr-defined]
    assert b.records[0].provider == "p1"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
async def test_a_refusal_is_passed_on_at_once_with_the_vendors_status_and_body(status: int) -> None:
    async with fake_upstream() as up, http_client() as http:
        up.always = Fault(status=status)
        b = bench(openai_provider(up.url, http), ScriptedModel())
        with pytest.raises(UpstreamRejected) as caught:
            await b.gateway.chat(request(), call())
        assert caught.value.http_status == status
        assert b'"fault"' in caught.value.body
        assert len(up.calls) == 1


async def test_when_all_targets_fail_the_last_error_is_kept() -> None:
    b = bench(
        ScriptedModel(UpstreamInvalid("x")), ScriptedModel(UpstreamRateLimited("x", retry_after_s=99)), options=ONCE
    )
    with pytest.raises(AllTargetsFailed) as caught:
        await b.gateway.chat(request(), call())
    assert (caught.value.http_status, round(caught.value.retry_after_s or 0)) == (429, 99)


async def test_the_caller_is_told_what_remains_of_the_shortest_retry_after() -> None:
    b = bench(
        ScriptedModel(UpstreamRateLimited("x", retry_after_s=7)),
        ScriptedModel(UpstreamRateLimited("x", retry_after_s=60)),
        ScriptedModel(UpstreamUnavailable("x")),
        options=ONCE,
    )
    with pytest.raises(AllTargetsFailed) as caught:
        await b.gateway.chat(request(), call())
    assert 6 < (caught.value.retry_after_s or 0) <= 7


async def test_a_stream_falls_back_until_its_first_event() -> None:
    async with fake_upstream() as up, http_client() as http:
        up.faults.extend([Fault(status=500), Fault(cut_after=0)])
        b = bench(openai_provider(up.url, http), openai_provider(up.url, http), ScriptedModel("third"), options=ONCE)
        assert said(await collect(await b.gateway.stream(request(stream=True), call()))) == "third"


async def test_a_silent_first_target_leaves_time_for_the_second() -> None:
    b = bench(ScriptedModel(gate=asyncio.Event()), ScriptedModel("second"), timeout_s=0.4)
    assert (await b.gateway.chat(request(), call())).text == "second"
    assert b.records[0].attempts[0].error == "upstream_timeout"


async def test_a_target_without_its_provider_stops_the_start_with_its_path() -> None:
    route = Route(model="m", targets=(Target(provider="gone", model="x"),))
    with pytest.raises(ConfigError, match=r"models\.m\.targets.*'gone'"):
        build({"m": route}, {}, MemoryState(), print, lambda _: Limits(), Options())


# ---------------------------------------------------------------- retry


async def test_a_passing_fault_is_retried() -> None:
    async with fake_upstream() as up, http_client() as http:
        up.faults.extend([Fault(status=503), Fault(status=429, retry_after="0")])
        b = bench(openai_provider(up.url, http))
        assert (await b.gateway.chat(request(), call())).text == "answer 3 to hello"
        assert [a.error for a in b.records[0].attempts] == ["upstream_unavailable", "upstream_rate_limited", ""]


async def test_there_are_at_most_max_attempts() -> None:
    model = ScriptedModel(*[UpstreamUnavailable("x")] * 9)
    with pytest.raises(UpstreamUnavailable):
        await bench(model, options=Options(max_attempts=2)).gateway.chat(request(), call())
    assert len(model.requests) == 2


async def test_retry_after_is_waited_for() -> None:
    async with fake_upstream() as up, http_client() as http:
        up.faults.append(Fault(status=429, retry_after="0.3"))
        began = time.monotonic()
        await bench(openai_provider(up.url, http)).gateway.chat(request(), call())
        assert time.monotonic() - began >= 0.3


async def test_a_retry_after_beyond_the_deadline_is_passed_on_at_once() -> None:
    async with fake_upstream() as up, http_client() as http:
        up.always = Fault(status=429, retry_after="60")
        began = time.monotonic()
        with pytest.raises(UpstreamRateLimited) as caught:
            await bench(openai_provider(up.url, http)).gateway.chat(request(), call())
        assert caught.value.retry_after_s == 60
        assert (len(up.calls), time.monotonic() - began < 1) == (1, True)


async def test_a_long_retry_after_is_not_waited_for_while_another_target_is_left() -> None:
    b = bench(ScriptedModel(UpstreamRateLimited("x", retry_after_s=3)), ScriptedModel("second"))
    began = time.monotonic()
    assert (await b.gateway.chat(request(), call())).text == "second"
    assert time.monotonic() - began < 1


def test_retry_after_is_seconds_or_a_date() -> None:
    assert retry_after_s("7") == 7
    assert retry_after_s("1.5") == 1.5
    assert retry_after_s("-3") == 0
    in_a_minute = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert 55 < (retry_after_s(in_a_minute) or 0) <= 60
    assert retry_after_s("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    for text in (None, "", "soon", "nan"):
        assert retry_after_s(text) is None
    assert retry_after_s("inf") == 86_400


def test_retries_are_at_most_a_tenth_of_the_calls_beyond_a_small_floor() -> None:
    clock = HandClock()
    budget = RetryBudget(0.1, 3, clock=clock)
    retried = 0
    for _ in range(1000):
        budget.called()
        retried += budget.take()
    assert 100 <= retried <= 103


def test_a_quiet_service_may_still_retry() -> None:
    clock = HandClock()
    budget = RetryBudget(0.1, 3, clock=clock)
    assert [budget.take() for _ in range(4)] == [True, True, True, False]
    clock.move(10)
    assert [budget.take() for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize("targets", [1, 2])
async def test_a_thousand_failing_calls_add_at_most_a_tenth_and_a_small_floor(targets: int) -> None:
    models = [ScriptedModel(*[UpstreamUnavailable("x", retry_after_s=0)] * 2000) for _ in range(targets)]
    b = bench(*models, options=Options(breaker_failures=10_000), timeout_s=30.0)
    began = time.monotonic()
    calls = [b.gateway.chat(request(f"q{i}"), call(timeout_s=30)) for i in range(1000)]
    await asyncio.gather(*calls, return_exceptions=True)
    floor = Options().retry_floor + (time.monotonic() - began) * FLOOR_PER_S
    tried = sum(len(model.requests) for model in models)
    assert 1000 * targets < tried <= 1000 * targets + 100 + floor


# ---------------------------------------------------------------- breaker


def breaker(clock: HandClock) -> Breaker:
    return Breaker(3, 10, provider="p", model="m", clock=clock)


def failing(b: Breaker, times: int) -> None:
    for _ in range(times):
        b.fault(b.admit())


def test_consecutive_faults_open_the_breaker_and_a_success_between_them_does_not() -> None:
    b = breaker(HandClock())
    failing(b, 2)
    b.success(b.admit())
    failing(b, 2)
    assert b.admit()
    failing(b, 1)
    assert not b.admit()


def test_half_open_lets_one_probe_through_and_its_success_closes() -> None:
    clock = HandClock()
    b = breaker(clock)
    failing(b, 3)
    clock.move(10)
    probe, *others = [b.admit() for _ in range(5)]
    assert (bool(probe), others) == (True, [0, 0, 0, 0])
    b.success(probe)
    assert all(b.admit() for _ in range(5))


def test_a_failed_probe_opens_again_and_a_probe_whose_caller_left_is_free_again() -> None:
    clock = HandClock()
    b = breaker(clock)
    failing(b, 3)
    clock.move(10)
    left = b.admit()
    b.unknown(left)
    again = b.admit()
    assert again
    b.fault(again)
    assert not b.admit()
    assert b.wait_s() == 10


def test_calls_that_began_before_the_probe_neither_free_it_nor_speak_for_it() -> None:
    clock = HandClock()
    b = breaker(clock)
    stragglers = [b.admit() for _ in range(4)]
    failing(b, 3)
    clock.move(10)
    probe = b.admit()
    b.unknown(stragglers[0])
    b.fault(stragglers[1])
    b.success(stragglers[2])
    assert not b.admit()
    b.success(probe)
    b.fault(stragglers[3])
    assert b.admit()


async def test_a_storm_on_a_half_open_breaker_probes_with_exactly_one_call() -> None:
    async with fake_upstream() as up, http_client() as http:
        up.always = Fault(status=500)
        b = bench(
            openai_provider(up.url, http), options=Options(max_attempts=1, breaker_failures=2, breaker_open_s=0.05)
        )
        for i in range(2):
            with pytest.raises(UpstreamUnavailable):
                await b.gateway.chat(request(f"q{i}"), call())
        up.always = Fault(gate=asyncio.Event())
        await asyncio.sleep(0.06)  # the breaker's own time
        storm = [asyncio.create_task(b.gateway.chat(request(f"s{i}"), call())) for i in range(50)]
        async with asyncio.timeout(20):
            while len(up.calls) < 3 or sum(not call.done() for call in storm) > 1:
                await asyncio.sleep(0.01)
        running = [call for call in storm if not call.done()]
        assert (len(running), len(up.calls)) == (1, 3)
        up.always.gate.set()  # type: ignore[union-attr]
        assert (await running.pop()).text
        await asyncio.gather(*storm, return_exceptions=True)


async def test_a_probe_is_one_attempt_however_many_tries_a_call_may_have() -> None:
    errors = [UpstreamUnavailable("x", retry_after_s=0.0)] * 20
    model = ScriptedModel(*errors)
    b = bench(model, options=Options(max_attempts=2, breaker_failures=2, breaker_open_s=0.05, retry_floor=100))
    for i in range(2):
        with pytest.raises(UpstreamUnavailable):
            await b.gateway.chat(request(f"q{i}"), call())
    # The second call's first failure did not open it: a fault is a call that failed with all its tries.
    assert len(model.requests) == 4
    for turn in range(3):
        await asyncio.sleep(0.06)  # the breaker's own time
        probe = call()
        with pytest.raises(UpstreamUnavailable, match="x"):
            await b.gateway.chat(request(f"probe {turn}"), probe)
        assert (len(probe.attempts), len(model.requests)) == (1, 5 + turn)


async def test_a_call_that_waits_to_try_again_does_not_when_others_have_opened_the_breaker() -> None:
    model = ScriptedModel(
        *[UpstreamUnavailable("first", retry_after_s=0.05)] + [UpstreamRejected("no", status=400)] * 9
    )
    b = bench(model, options=Options(max_attempts=2, breaker_failures=1, retry_floor=100))
    waiting = asyncio.create_task(b.gateway.chat(request("waits"), call()))
    await until(lambda: model.requests)
    model.script.insert(0, UpstreamUnavailable("second", retry_after_s=100.0))
    with pytest.raises(UpstreamUnavailable, match="second"):
        await b.gateway.chat(request("opens it"), call())
    with pytest.raises(UpstreamUnavailable, match="first"):
        await waiting
    assert len(model.requests) == 2


async def test_an_open_breaker_asks_nobody_and_says_when() -> None:
    model = ScriptedModel(*[UpstreamUnavailable("x")] * 5)
    b = bench(model, options=Options(max_attempts=1, breaker_failures=5))
    for i in range(8):
        with pytest.raises(UpstreamUnavailable) as caught:
            await b.gateway.chat(request(f"q{i}"), call())
    assert len(model.requests) == 5
    assert 0 < (caught.value.retry_after_s or 0) <= 10


async def test_an_open_breaker_goes_to_the_next_target_at_once() -> None:
    broken, good = ScriptedModel(*[UpstreamUnavailable("x")] * 50), ScriptedModel()
    b = bench(broken, good, options=Options(max_attempts=1, breaker_failures=2))
    for i in range(10):
        await b.gateway.chat(request(f"q{i}"), call())
    assert (len(broken.requests), len(good.requests)) == (2, 10)


async def test_a_callers_own_refusals_and_the_vendors_limit_never_open_the_breaker() -> None:
    errors = [UpstreamRejected("x", status=400), UpstreamRateLimited("x")] * 10
    model = ScriptedModel(*errors)
    b = bench(model, options=Options(max_attempts=1, breaker_failures=2))
    for i in range(20):
        with pytest.raises((UpstreamRejected, UpstreamRateLimited)):
            await b.gateway.chat(request(f"q{i}"), call())
    assert (await b.gateway.chat(request("last"), call())).text


async def test_silence_is_a_fault_and_callers_that_leave_are_not() -> None:
    gate = asyncio.Event()
    model = ScriptedModel(gate=gate)
    b = bench(model, timeout_s=0.3, options=Options(max_attempts=1, breaker_failures=2))
    for i in range(3):
        leaving = asyncio.create_task(b.gateway.chat(request(f"leaver {i}"), call()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.wait([leaving])
    for i in range(2):
        with pytest.raises(UpstreamTimeout):
            await b.gateway.chat(request(f"silent {i}"), call())
    with pytest.raises(UpstreamUnavailable, match="repeatedly"):
        await b.gateway.chat(request("now open"), call())
