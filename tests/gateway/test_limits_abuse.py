"""Denial of wallet: whatever a caller writes into a request, a budget is reserved for the most it may cost, or it is refused."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import msgspec
import pytest

from bascule.core.calls import Usage
from bascule.core.errors import LimitExceeded, UpstreamTimeout
from bascule.gateway.routes import Limits, Route, Target
from bascule.testing.gateway import ScriptedModel, bench, call, collect, request, until
from bascule.testing.limits import Ledger, limited

TENTH = Limits(usd_per_day=0.1)  # at 2 USD per million: 50,000 tokens of answer


@pytest.mark.parametrize(
    "bomb",
    [
        {"max_tokens": 100_000},
        {"max_tokens": 1000, "n": 128},
        {"max_tokens": 1000, "best_of": 100},
        {"n": 128},
        {"n": 1e9},
        {"max_tokens": 10**30},
        {"max_tokens": 1e300},
        {"max_tokens": 1, "max_completion_tokens": 100_000},
        {"max_completion_tokens": 1, "max_tokens": 100_000},
        {"max_output_tokens": 100_000},
        {"max_tokens": 100_000.5},
    ],
    ids=str,
)
async def test_a_request_that_may_cost_more_than_the_budget_is_refused_before_it_costs_anything(
    bomb: dict[str, Any],
) -> None:
    model, ledger = ScriptedModel(), Ledger()
    b = limited(model, key=TENTH, state=ledger)
    with pytest.raises(LimitExceeded, match="alone may exceed the USD per day of this key"):
        await b.gateway.chat(request(**bomb), call())
    assert (model.requests, ledger.held("")) == ([], 0)


@pytest.mark.parametrize(
    "odd",
    [
        {"max_tokens": -5},
        {"max_tokens": 0},
        {"max_tokens": float("nan")},
        {"max_tokens": "100000"},
        {"max_tokens": True},
        {"max_tokens": None},
        {"max_tokens": [1]},
        {"n": 0},
        {"n": -128},
        {"n": float("nan")},
        {"n": {"a": 1}},
        {"best_of": "128"},
    ],
    ids=str,
)
async def test_a_length_that_is_none_counts_as_not_said_and_never_gives_anything_back(odd: dict[str, Any]) -> None:
    gate, ledger = asyncio.Event(), Ledger()
    model = ScriptedModel(gate=gate)
    b = limited(model, key=TENTH, state=ledger)
    running = asyncio.create_task(b.gateway.chat(request(**odd), call()))
    await until(lambda: model.requests)
    assert ledger.held("usd:") == pytest.approx(1024 * 2e-6, abs=1e-4)
    gate.set()
    await running


async def test_a_request_without_a_length_claims_at_most_a_whole_limit_so_that_one_at_a_time_passes() -> None:
    gate = asyncio.Event()
    model = ScriptedModel(gate=gate)
    b = bench(model, limits=Limits(tokens_per_min=100))
    first = asyncio.create_task(b.gateway.chat(request("a"), call()))
    await until(lambda: model.requests)
    with pytest.raises(LimitExceeded):
        await b.gateway.chat(request("b"), call())
    gate.set()
    assert (await first).text


async def test_a_call_that_alone_exceeds_its_limit_is_told_what_to_do() -> None:
    b = bench(ScriptedModel(), limits=Limits(tokens_per_min=100))
    with pytest.raises(LimitExceeded, match="max_tokens"):
        await b.gateway.chat(request(max_tokens=500), call())


@pytest.mark.parametrize(
    "said", [Usage(input_tokens=-1000, output_tokens=-1000), Usage(input_tokens=1, output_tokens=-9)]
)
async def test_a_vendor_that_reports_less_than_nothing_is_not_believed(said: Usage) -> None:
    model, ledger = ScriptedModel(), Ledger()
    b = limited(model, key=Limits(tokens_per_min=1000, usd_per_day=1.0), state=ledger)
    await b.gateway.chat(request("a", max_tokens=10), call())
    before = ledger.held("tpm:"), ledger.held("usd:")
    model.usage = said
    await b.gateway.chat(request("b", max_tokens=10), call())
    assert (ledger.held("tpm:"), ledger.held("usd:")) > before and b.records[1].estimated


async def test_giving_up_a_call_again_and_again_is_not_free() -> None:
    ledger, model = Ledger(), ScriptedModel(gate=asyncio.Event())
    b = limited(model, key=Limits(usd_per_day=1.0), state=ledger)
    for i in range(5):
        running = asyncio.create_task(b.gateway.chat(request(f"{i} " + "long prompt " * 200, max_tokens=500), call()))
        await until(lambda: len(model.requests) == i + 1)  # noqa: B023
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        await until(lambda: b.gateway.under_way == 0)
    assert ledger.held("usd:") >= 5 * 400e-6


async def test_a_call_that_ran_out_of_time_is_charged_for_its_prompt() -> None:
    ledger = Ledger()
    b = limited(ScriptedModel(UpstreamTimeout("late")), key=Limits(tokens_per_min=1000), state=ledger)
    with pytest.raises(UpstreamTimeout):
        await b.gateway.chat(request("word " * 50, max_tokens=500), call())
    assert 50 <= ledger.held("tpm:") < 120


async def test_parts_of_tool_calls_that_carry_no_text_count_when_a_stream_says_no_usage() -> None:
    class Wordless(ScriptedModel):
        async def stream(self, request, call):  # type: ignore[no-untyped-def]
            stream = await super().stream(request, call)
            inner = stream._chunks

            async def chunks():  # type: ignore[no-untyped-def]
                async for chunk in inner:
                    yield msgspec.structs.replace(chunk, text="", usage=None)

            stream._chunks = chunks()
            return stream

    b = limited(Wordless("x" * 60), key=Limits(tokens_per_min=1000))
    await collect(await b.gateway.stream(request(stream=True), call()))
    assert b.records[0].output_tokens >= 60


async def test_a_budget_for_a_model_without_a_price_is_visibly_without_effect(caplog: pytest.LogCaptureFixture) -> None:
    b = limited(ScriptedModel(), key=Limits(usd_per_day=0.000001), prices=(None, None))
    for i in range(2):
        asked = call()
        assert (await b.gateway.chat(request(f"{i}", max_tokens=500), asked)).text
        assert asked.degraded == ["price_unknown"]
    assert [r.getMessage() for r in caplog.records if "price is not known" in r.getMessage()] == [
        "model fast: a budget has no effect, as a target's price is not known; set it in [models]"
    ]
    free = call()
    await limited(ScriptedModel(), key=Limits(tokens_per_min=9999), prices=(None, None)).gateway.chat(request(), free)
    assert free.degraded == []


async def test_tokens_the_vendor_had_in_its_cache_cost_what_they_cost_there() -> None:
    target = Target(
        provider="p", model="m", input_usd_per_mtok=10.0, output_usd_per_mtok=20.0, cached_input_usd_per_mtok=1.0
    )
    route = Route(model="fast", targets=(target,))
    assert route.cost_usd("p", "m", Usage(input_tokens=100, output_tokens=10)) == pytest.approx(1200e-6)
    assert route.cost_usd("p", "m", Usage(input_tokens=100, output_tokens=10, cached_tokens=80)) == pytest.approx(
        480e-6
    )
    assert route.cost_usd("p", "m", Usage(input_tokens=100, cached_tokens=5000)) == pytest.approx(100e-6)
    unpriced = Route(model="fast", targets=(Target(provider="p", model="m"),))
    assert unpriced.cost_usd("p", "m", Usage(input_tokens=100, cached_tokens=80)) is None
