"""Admission is exact, and what was reserved is settled by what was used, however a call ends."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from bascule.core.calls import Usage
from bascule.core.embedding import EmbeddingRequest
from bascule.core.errors import LimitExceeded, StorageError, UpstreamUnavailable
from bascule.gateway.routes import Limits, Options
from bascule.plugins.state_stores.memory import MemoryState
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
from bascule.testing.limits import Ledger, admitted, limited
from bascule.testing.state_store_contract import HandClock
from bascule.testing.upstream import Fault, fake_upstream


async def test_of_a_thousand_parallel_requests_at_a_limit_of_ten_exactly_ten_pass() -> None:
    b = bench(ScriptedModel(), limits=Limits(requests_per_min=10))
    results = await asyncio.gather(
        *(b.gateway.chat(request(f"q{i}"), call()) for i in range(1000)), return_exceptions=True
    )
    refused = [r for r in results if isinstance(r, LimitExceeded)]
    assert len(refused) == 990
    assert all(r.limit == "requests per minute of this key" and 0 < r.retry_after_s <= 6 for r in refused)


@pytest.mark.parametrize(
    ("limits", "name"),
    [
        (Limits(concurrent=10), "calls at once of this key"),
        (Limits(usd_per_day=0.010), "USD per day of this key"),
        (Limits(usd_per_month=0.010), "USD per month of this key"),
        (Limits(tokens_per_min=5500), "tokens per minute of this key"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_of_a_thousand_parallel_calls_in_two_gateways_exactly_ten_get_what_is_there_for_ten(
    limits: Limits, name: str
) -> None:
    ledger = Ledger()
    found = await admitted([ledger, ledger], limits)
    refused = [error for error in found if error is not None]
    assert len(refused) == 990 and {error.limit for error in refused} == {name}
    assert all((error.retry_after_s or 0) > 0 for error in refused)
    [most] = ledger.most.values()
    used = {"calls": 0, "USD": 0.010, "tokens": 5000}[name.split()[0]]
    assert most <= max(limits.concurrent or 0, limits.tokens_per_min or 0, 0.010) + 1e-9
    assert ledger.held("") == pytest.approx(used)


async def test_a_stream_holds_its_place_until_the_vendor_has_ended_it_or_its_caller_left() -> None:
    ledger = Ledger()
    async with fake_upstream() as up, http_client() as http:
        b = bench(openai_provider(up.url, http), limits=Limits(concurrent=1), state=ledger)
        up.faults.append(Fault(gate=asyncio.Event()))
        first = await b.gateway.stream(request("a", stream=True), call())
        assert ledger.held("now:") == 1
        with pytest.raises(LimitExceeded, match="calls at once"):
            await b.gateway.stream(request("b", stream=True), call())
        await first.aclose()
        await until(lambda: ledger.held("now:") == 0)
        await collect(await b.gateway.stream(request("b", stream=True), call()))
        assert ledger.held("now:") == 0


async def test_what_a_crashed_process_held_comes_back_when_its_lease_ends() -> None:
    clock = HandClock()
    state = MemoryState(clock=clock, wall=clock)
    limits = Limits(concurrent=1, usd_per_month=0.0012)
    gate = asyncio.Event()
    crashed = bench(ScriptedModel(gate=gate), limits=limits, state=state)
    lost = asyncio.create_task(crashed.gateway.chat(request("a", max_tokens=500), call()))
    await until(lambda: crashed.gateway.under_way)
    alive = bench(ScriptedModel(), limits=limits, state=state)
    with pytest.raises(LimitExceeded):
        await alive.gateway.chat(request("b", max_tokens=500), call())
    clock.move(5.0 + 30.0)  # the route's deadline, and the lease's margin
    assert (await alive.gateway.chat(request("b", max_tokens=500), call())).text
    lost.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await lost


async def test_each_key_has_its_own_limit_in_each_tenant() -> None:
    b = bench(ScriptedModel(), limits=Limits(requests_per_min=1))
    for who in (principal("a", "k"), principal("a", "l"), principal("b", "k"), principal("a", "", "ann")):
        await b.gateway.chat(request(), call(who))
        with pytest.raises(LimitExceeded):
            await b.gateway.chat(request(), call(who))


async def test_cache_hits_count_as_requests_and_reserve_nothing() -> None:
    ledger = Ledger()
    b = bench(ScriptedModel(), limits=Limits(requests_per_min=2, tokens_per_min=600, concurrent=1), state=ledger)
    await b.gateway.chat(request(max_tokens=500), call())
    await b.gateway.chat(request(max_tokens=500), call())
    assert ledger.reserved == 1
    with pytest.raises(LimitExceeded, match="requests per minute"):
        await b.gateway.chat(request(max_tokens=500), call())


async def test_tokens_are_reserved_while_a_call_runs_and_settled_by_what_it_used() -> None:
    gate, ledger = asyncio.Event(), Ledger()
    model = ScriptedModel(gate=gate)
    b = bench(model, limits=Limits(tokens_per_min=1000), state=ledger)
    running = asyncio.create_task(b.gateway.chat(request("hello", max_tokens=500), call()))
    await until(lambda: model.requests)
    assert 505 < ledger.held("tpm:") < 530
    gate.set()
    await running
    assert ledger.held("tpm:") == 18


async def test_parallel_calls_cannot_overrun_a_token_limit() -> None:
    gate = asyncio.Event()
    model = ScriptedModel(gate=gate)
    b = bench(model, limits=Limits(tokens_per_min=2000))
    running = [
        asyncio.create_task(b.gateway.chat(request(f"question {i:03}", max_tokens=500), call())) for i in range(100)
    ]
    await until(lambda: sum(t.done() for t in running) == 97)
    assert len(model.requests) == 3
    gate.set()
    results = await asyncio.gather(*running, return_exceptions=True)
    refused = [r for r in results if isinstance(r, LimitExceeded)]
    assert len(refused) == 97
    assert refused[0].retry_after_s > 0


async def test_a_cancelled_call_is_settled_and_its_record_says_so() -> None:
    ledger = Ledger()
    model = ScriptedModel(gate=asyncio.Event())
    b = bench(model, limits=Limits(tokens_per_min=1000, concurrent=1, usd_per_day=1.0), state=ledger)
    running = asyncio.create_task(b.gateway.chat(request(max_tokens=500), call()))
    await until(lambda: model.requests)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    await until(lambda: b.gateway.under_way == 0)
    used, record = ledger.held("tpm:"), b.records[0]
    assert 0 < used < 50 and ledger.held("now:") == 0 and ledger.held("usd:") == pytest.approx(record.cost_usd)
    assert (record.outcome, record.input_tokens + record.output_tokens) == ("cancelled", used)


async def test_a_cut_stream_is_settled_by_what_was_heard() -> None:
    ledger = Ledger()
    async with fake_upstream() as up, http_client() as http:
        up.always = Fault(content="lorem ipsum dolor " * 20, cut_after=41)
        b = bench(openai_provider(up.url, http), limits=Limits(tokens_per_min=1000, concurrent=1), state=ledger)
        with pytest.raises(UpstreamUnavailable):
            await collect(await b.gateway.stream(request(stream=True, max_tokens=500), call()))
    assert 40 <= b.records[0].output_tokens < 100
    assert ledger.held("tpm:") == b.records[0].input_tokens + b.records[0].output_tokens
    assert ledger.held("now:") == 0


async def test_a_stream_cut_before_its_end_is_not_settled_by_the_usage_of_its_beginning() -> None:
    """Anthropic's first event says how long the prompt is, and one token of answer."""
    ledger = Ledger()

    class Cut(ScriptedModel):
        async def stream(self, request, call):  # type: ignore[no-untyped-def]
            stream = await super().stream(request, call)
            inner = stream._chunks

            async def chunks():  # type: ignore[no-untyped-def]
                yield type(await anext(inner))(b"x", usage=Usage(input_tokens=30, output_tokens=1))
                for _ in range(50):
                    yield type(await anext(inner))(b"x", text="word ")
                raise UpstreamUnavailable("cut")

            stream._chunks = chunks()
            return stream

    b = bench(Cut("x" * 80), limits=Limits(tokens_per_min=1000), state=ledger)
    with pytest.raises(UpstreamUnavailable):
        await collect(await b.gateway.stream(request(stream=True, max_tokens=500), call()))
    assert b.records[0].input_tokens == 30 and b.records[0].output_tokens >= 50
    assert ledger.held("tpm:") == 30 + b.records[0].output_tokens


async def test_a_stream_is_settled_by_the_usage_its_caller_does_not_see() -> None:
    ledger = Ledger()
    async with fake_upstream() as up, http_client() as http:
        b = bench(openai_provider(up.url, http), limits=Limits(tokens_per_min=1000), state=ledger)
        chunks = await collect(await b.gateway.stream(request(stream=True, max_tokens=500), call()))
    assert ledger.held("tpm:") == 18
    assert b.records[0].cost_usd == pytest.approx(11e-6 + 14e-6)
    assert not any(b'"usage"' in chunk.data for chunk in chunks)


async def test_a_failed_call_gives_back_what_it_reserved() -> None:
    ledger = Ledger()
    b = bench(
        ScriptedModel(UpstreamUnavailable("x")),
        limits=Limits(tokens_per_min=1000, concurrent=1, usd_per_month=1.0),
        state=ledger,
        options=Options(max_attempts=1),
    )
    with pytest.raises(UpstreamUnavailable):
        await b.gateway.chat(request(max_tokens=500), call())
    assert (ledger.reserved, ledger.held("")) == (1, 0)


async def test_embeddings_count_against_the_token_limit() -> None:
    b = bench(ScriptedModel(), limits=Limits(tokens_per_min=100))
    with pytest.raises(LimitExceeded):
        await b.gateway.embed(EmbeddingRequest(model="fast", texts=("word " * 200,)), call())


async def test_a_new_minute_brings_new_tokens_and_a_new_month_new_money() -> None:
    clock = HandClock()
    model = ScriptedModel()
    model.usage = Usage(input_tokens=50, output_tokens=50)
    limits = Limits(tokens_per_min=100, usd_per_month=0.00029)
    b = bench(model, limits=limits, state=MemoryState(clock=clock, wall=clock))
    await b.gateway.chat(request("a", max_tokens=10), call())
    with pytest.raises(LimitExceeded, match="tokens per minute"):
        await b.gateway.chat(request("b", max_tokens=10), call())
    clock.move(60)
    await b.gateway.chat(request("b", max_tokens=10), call())
    clock.move(60)
    with pytest.raises(LimitExceeded, match="USD per month") as refused:
        await b.gateway.chat(request("c", max_tokens=10), call())
    clock.move(refused.value.retry_after_s)
    await b.gateway.chat(request("c", max_tokens=10), call())


class LostStore(MemoryState):
    async def get(self, key: str) -> bytes | None:
        raise StorageError("gone")

    async def put(self, *_: object, **__: object) -> None:
        raise StorageError("gone")

    async def reserve(self, claims: object, lease_s: float) -> tuple[str, object]:  # type: ignore[override]
        raise StorageError("gone")


async def test_a_lost_state_store_costs_the_cache_but_never_lets_a_limit_pass() -> None:
    free = bench(ScriptedModel(), state=LostStore())
    c = call()
    assert (await free.gateway.chat(request(), c)).text
    assert (c.cache, "cache_unavailable" in c.degraded) == ("BYPASS", True)
    limited = bench(ScriptedModel(), state=LostStore(), limits=Limits(tokens_per_min=10))
    with pytest.raises(StorageError):
        await limited.gateway.chat(request(), call())


class SlowToSettle(Ledger):
    """A store over the network: a settlement is under way for a while, and its caller may leave meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.under_way = asyncio.Event()
        self.answer = asyncio.Event()

    async def settle(self, reservation_id: str, amounts: object) -> None:
        self.under_way.set()
        await self.answer.wait()
        await super().settle(reservation_id, amounts)  # type: ignore[arg-type]


async def test_who_leaves_while_a_call_is_being_settled_still_pays_for_it() -> None:
    store = SlowToSettle()
    b = limited(ScriptedModel(), key=Limits(tokens_per_min=1000), state=store)
    running = asyncio.create_task(b.gateway.chat(request(max_tokens=500), call()))
    await store.under_way.wait()
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    store.answer.set()
    await until(lambda: store.held("tpm:") == 18)
