"""Two gateways on one state store stand for two servers: identical calls run once over both."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from bascule.core.calls import CacheDirectives, Call, Usage
from bascule.core.chat import ChatRequest, ChatResponse
from bascule.core.embedding import EmbeddingRequest, EmbeddingResponse
from bascule.core.errors import LimitExceeded, UpstreamRejected, UpstreamTimeout, UpstreamUnavailable
from bascule.core.state import Lease
from bascule.gateway.kept import RESPONSES, KeptResponse, pack
from bascule.gateway.replicas import ALONE, ANSWERED_REASON, LEASE_S, Replicas
from bascule.gateway.routes import Limits, Options
from bascule.plugins.state_stores.memory import MemoryState
from bascule.testing.gateway import Bench, ScriptedModel, bench, call, collect, principal, request, until
from bascule.testing.replicas import SharedMemory
from bascule.testing.state_store_contract import HandClock

POOR = {"poor": Limits(tokens_per_min=1), "rich": Limits()}


def asking(b: Bench, c: Call | None = None, asked: ChatRequest | None = None) -> asyncio.Task[ChatResponse]:
    return asyncio.create_task(b.gateway.chat(asked or request(), c or call()))


async def cancelled(task: asyncio.Task[ChatResponse]) -> None:
    task.cancel()
    await asyncio.wait([task])


async def test_a_hundred_identical_requests_over_two_servers_make_one_upstream_call() -> None:
    state, model = SharedMemory(), ScriptedModel(gate=asyncio.Event())
    a, b = bench(model, state=state), bench(model, state=state)
    running = [asking(x) for x in (a, b) for _ in range(50)]
    await until(lambda: state.refused)
    model.gate.set()  # type: ignore[union-attr]
    answers = await asyncio.gather(*running)
    assert ({answer.text for answer in answers}, len(model.requests)) == ({"ok 1"}, 1)
    assert [r.cache for r in a.records] == ["MISS"] * 50
    assert {(r.cache, r.cache_reason, r.cost_usd, r.input_tokens) for r in b.records} == {
        ("HIT", ANSWERED_REASON, 0.0, 0)
    }
    assert sum(r.input_tokens for r in a.records) == 11


async def test_identical_streams_over_two_servers_make_one_upstream_call_and_the_other_server_replays_it() -> None:
    state, model = SharedMemory(), ScriptedModel(gate=asyncio.Event())
    a, b = bench(model, state=state), bench(model, state=state)

    async def streamed(x: Bench) -> list[bytes]:
        return [chunk.data for chunk in await collect(await x.gateway.stream(request(stream=True), call()))]

    running = [asyncio.create_task(streamed(x)) for x in (a, b) for _ in range(20)]
    await until(lambda: state.refused)
    model.gate.set()  # type: ignore[union-attr]
    told = await asyncio.gather(*running)
    assert len(model.requests) == 1
    assert {tuple(chunks) for chunks in told} == {(b"o", b"k", b" ", b"1", b"", b"[DONE]")}
    assert {(r.cache, r.cache_reason, r.cost_usd, r.outcome) for r in b.records} == {
        ("HIT", ANSWERED_REASON, 0.0, "ok")
    }


async def test_identical_embeddings_over_two_servers_make_one_upstream_call() -> None:
    state, model = SharedMemory(), ScriptedModel(gate=asyncio.Event())
    a, b = bench(model, state=state), bench(model, state=state)
    texts = EmbeddingRequest(model="fast", texts=("one", "three"))
    running = [asyncio.create_task(x.gateway.embed(texts, call())) for x in (a, b) for _ in range(20)]
    await until(lambda: state.refused)
    model.gate.set()  # type: ignore[union-attr]
    answers = await asyncio.gather(*running)
    assert ({answer.vectors for answer in answers}, model.embedded) == ({answers[0].vectors}, [("one", "three")])
    assert {(r.cache, r.cache_reason, r.cost_usd) for r in b.records} == {("HIT", ANSWERED_REASON, 0.0)}
    # What was handed over is each text's own entry from now on.
    again = await b.gateway.embed(EmbeddingRequest(model="fast", texts=("three",)), call())
    assert (again.vectors, len(model.embedded), b.records[-1].cache) == (answers[0].vectors[1:], 1, "HIT")


async def test_when_the_server_that_embeds_fails_the_other_one_embeds() -> None:
    state, model = SharedMemory(), ScriptedModel(gate=asyncio.Event())
    failing = ScriptedModel(gate=asyncio.Event())
    failing.fingerprint = ""

    async def fail(request: EmbeddingRequest, c: Call) -> EmbeddingResponse:
        assert failing.gate is not None
        await failing.gate.wait()
        raise UpstreamRejected("no", provider="scripted")

    failing.embed = fail  # type: ignore[method-assign]
    a, b = bench(failing, state=state), bench(model, state=state)
    asked = EmbeddingRequest(model="fast", texts=("one",))
    first = asyncio.create_task(a.gateway.embed(asked, call()))
    await until(lambda: state.asked)
    second = asyncio.create_task(b.gateway.embed(asked, call()))
    await until(lambda: state.refused)
    model.gate.set()  # type: ignore[union-attr]
    failing.gate.set()  # type: ignore[union-attr]
    with pytest.raises(UpstreamRejected):
        await first
    assert ((await second).dimension, model.embedded) == (2, [("one",)])


async def test_a_refusal_of_the_leader_is_not_shared_and_the_other_server_leads() -> None:
    state, model = SharedMemory(), ScriptedModel()
    state.limits = asyncio.Event()
    a, b = bench(model, state=state, limits=POOR), bench(model, state=state, limits=POOR)
    asked = request(max_tokens=5)
    refused = asking(a, call(principal(key_id="poor")), asked)
    await until(lambda: state.asked)
    served = asking(b, call(principal(key_id="rich")), asked)
    await until(lambda: state.refused)
    state.limits.set()
    with pytest.raises(LimitExceeded):
        await refused
    assert ((await served).text, len(model.requests)) == ("ok 1", 1)


@pytest.mark.parametrize("error", [UpstreamUnavailable("down"), ZeroDivisionError("a bug")])
async def test_when_the_leader_fails_the_other_server_leads(error: BaseException) -> None:
    state, broken, well = SharedMemory(), ScriptedModel(error, gate=asyncio.Event()), ScriptedModel()
    a, b = (bench(model, state=state, options=Options(max_attempts=1)) for model in (broken, well))
    failing = asking(a)
    await until(lambda: broken.requests)
    served = asking(b)
    await until(lambda: state.refused)
    broken.gate.set()  # type: ignore[union-attr]
    with pytest.raises(type(error)):
        await failing
    assert (await served).text == "ok 1"
    assert b.records[0].cache == "MISS"


async def test_when_the_leaders_last_caller_leaves_the_other_server_leads_at_once() -> None:
    state, model = SharedMemory(HandClock()), ScriptedModel(gate=asyncio.Event())
    a, b = bench(model, state=state), bench(model, state=state)
    leader = asking(a)
    await until(lambda: model.requests)
    follower = asking(b)
    await until(lambda: state.refused)
    await cancelled(leader)
    await until(lambda: len(model.requests) == 2)  # the clock stands still: the lease did not end, it was given back
    assert model.cancelled == 1
    model.gate.set()  # type: ignore[union-attr]
    assert (await follower).text == "ok 2"


async def test_what_is_not_kept_is_asked_for_by_each_server_at_once_and_not_one_after_the_other() -> None:
    state, model = SharedMemory(), ScriptedModel(gate=asyncio.Event())
    rest = ScriptedModel(gate=asyncio.Event())
    small = Options(cache_max_entry_bytes=1)
    a, *others = (bench(m, state=state, options=small) for m in (model, rest, rest, rest))
    leader = asking(a)
    await until(lambda: model.requests)
    followers = [asking(x) for x in others for _ in range(5)]
    await until(lambda: state.refused >= 3)
    model.gate.set()  # type: ignore[union-attr]
    await leader
    await until(lambda: len(rest.requests) == 3)  # none of them has been answered yet
    rest.gate.set()  # type: ignore[union-attr]
    assert len(await asyncio.gather(*followers)) == 15
    assert len(rest.requests) == 3


async def test_a_server_that_was_stopped_for_long_answers_its_own_callers_and_keeps_nothing() -> None:
    clock = HandClock()
    state, old, new = SharedMemory(clock), ScriptedModel("old", gate=asyncio.Event()), ScriptedModel("new")
    a, b = bench(old, state=state), bench(new, state=state)
    late = asking(a)
    await until(lambda: old.requests)
    follower = asking(b)
    await until(lambda: state.refused)
    clock.move(LEASE_S + 0.1)
    assert (await follower).text == "new"
    old.gate.set()  # type: ignore[union-attr]
    assert (await late).text == "old"
    assert {(await asking(x)).text for x in (a, b)} == {"new"}


async def test_an_answer_kept_by_a_server_that_then_died_is_found_by_the_next_leader() -> None:
    clock = HandClock()
    state, model = SharedMemory(clock), ScriptedModel(gate=asyncio.Event())
    state.keeps_releases = False
    a, b = bench(model, state=state), bench(model, state=state)
    leader = asking(a)
    await until(lambda: model.requests)
    follower = asking(b)
    await until(lambda: state.refused)
    model.gate.set()  # type: ignore[union-attr]
    await leader
    clock.move(LEASE_S + 0.1)
    assert ((await follower).text, len(model.requests)) == ("ok 1", 1)
    await until(lambda: state.released == 2)


async def test_a_store_that_is_away_leaves_each_server_alone_and_the_records_say_so() -> None:
    class Half(SharedMemory):
        async def lease(self, key: str, ttl_s: float, age_s: float = 0.0) -> Lease:
            self.away = True
            return await super().lease(key, ttl_s, age_s)

        async def get(self, key: str) -> bytes | None:
            return None

    state, model = Half(), ScriptedModel()
    a, b = bench(model, state=state), bench(model, state=state)
    assert [(await asking(x)).text for x in (a, b)] == ["ok 1", "ok 2"]
    assert [r.degraded for r in (*a.records, *b.records)] == [(ALONE,)] * 2


async def test_a_store_that_goes_away_while_a_server_waits_lets_it_call_alone() -> None:
    state, model, other = SharedMemory(), ScriptedModel(gate=asyncio.Event()), ScriptedModel("alone")
    a, b = bench(model, state=state), bench(other, state=state)
    leader = asking(a)
    await until(lambda: model.requests)
    follower = asking(b)
    await until(lambda: state.refused)
    state.away = True
    assert (await follower).text == "alone"
    model.gate.set()  # type: ignore[union-attr]
    assert (await leader).text == "ok 1"


@pytest.mark.parametrize(
    ("wishes", "ttl_s"),
    [(CacheDirectives(no_store=True), 60.0), (CacheDirectives(no_cache=True), 60.0), (None, 0.0)],
    ids=["no-store", "no-cache", "a model without cache"],
)
async def test_what_the_cache_is_not_asked_for_is_not_waited_for(wishes: CacheDirectives | None, ttl_s: float) -> None:
    state, model = SharedMemory(), ScriptedModel(gate=asyncio.Event())
    running = [asking(bench(model, state=state, cache_ttl_s=ttl_s), call(directives=wishes)) for _ in range(2)]
    await until(lambda: len(model.requests) == 2)
    model.gate.set()  # type: ignore[union-attr]
    await asyncio.gather(*running)
    assert state.asked == 0


async def test_a_server_alone_asks_for_no_lease() -> None:
    class Alone(SharedMemory):
        shared = False

    state = Alone()
    await asking(bench(ScriptedModel(), state=state))
    assert (state.asked, MemoryState.shared) == (0, False)


async def test_nobody_waits_for_another_server_beyond_the_deadline_nor_asks_any_more() -> None:
    state, model = SharedMemory(), ScriptedModel(gate=asyncio.Event())
    a, b = bench(model, state=state), bench(model, state=state, timeout_s=0.1)
    leader = asking(a)
    await until(lambda: model.requests)
    with pytest.raises(UpstreamTimeout):
        await asking(b)
    await until(lambda: b.gateway.under_way == 0)
    model.gate.set()  # type: ignore[union-attr]
    await leader
    assert len(model.requests) == 1


async def test_a_caller_who_leaves_asks_the_other_server_no_more() -> None:
    state, model = SharedMemory(), ScriptedModel(gate=asyncio.Event())
    a, b = bench(model, state=state), bench(model, state=state)
    leader = asking(a)
    await until(lambda: model.requests)
    leaver = asking(b)
    await until(lambda: state.refused)
    await cancelled(leaver)
    assert b.gateway.under_way == 0
    model.gate.set()  # type: ignore[union-attr]
    await leader
    assert [r.outcome for r in b.records] == ["cancelled"]


async def test_a_lease_granted_to_a_caller_who_has_left_is_given_back() -> None:
    state, model = SharedMemory(HandClock()), ScriptedModel()
    state.gate = asyncio.Event()
    a, b = bench(model, state=state), bench(model, state=state)
    leaver = asking(a)
    await until(lambda: state.leased)
    await cancelled(leaver)
    state.gate.set()
    await until(lambda: state.released)
    assert ((await asking(b)).text, state.refused) == ("ok 1", 0)


async def test_a_gateway_that_is_closed_gives_its_leases_back() -> None:
    state, model = SharedMemory(HandClock()), ScriptedModel(gate=asyncio.Event())
    a, b = bench(model, state=state), bench(ScriptedModel("next"), state=state)
    stopped = asking(a)
    await until(lambda: model.requests)
    await a.gateway.aclose()
    assert state.released == 1
    assert (await asking(b)).text == "next"
    await asyncio.wait([stopped])
    assert isinstance(stopped.exception(), UpstreamUnavailable)


async def test_an_answer_older_than_the_caller_accepts_is_not_taken_from_another_server() -> None:
    state, model = SharedMemory(), ScriptedModel("first", "second")
    a, b = bench(model, state=state), bench(model, state=state)
    await asking(a)
    young = call(directives=CacheDirectives(max_age_s=0.0))
    assert (await asking(b, young)).text == "second"


# ---------------------------------------------------------------- the lease itself


@pytest.fixture
async def leading() -> AsyncIterator[tuple[SharedMemory, HandClock, Replicas, Call]]:
    """A replica that leads one call, with leases so short that they are renewed many times while a test runs."""
    clock = HandClock()
    state = SharedMemory(clock)
    replicas, own = Replicas(state, 1000, lease_s=0.03), call()
    own.shared_key = "key"
    assert await replicas.lead(own, RESPONSES) is None
    assert own.fence > 0
    yield state, clock, replicas, own
    await replicas.aclose()


async def test_a_lease_is_renewed_while_the_work_lasts(
    leading: tuple[SharedMemory, HandClock, Replicas, Call],
) -> None:
    state, clock, replicas, own = leading
    for turn in range(1, 6):
        clock.move(0.025)
        renewed = state.renewed
        await until(lambda renewed=renewed: state.renewed > renewed)  # type: ignore[misc]
        assert (await state.lease("key", 1)).state == "held", turn
    replicas.end(own, well=True)
    await until(lambda: state.released)
    assert (await state.lease("key", 1, age_s=1)).state == "done"


async def test_a_renewal_the_store_did_not_answer_is_asked_for_again(
    leading: tuple[SharedMemory, HandClock, Replicas, Call],
) -> None:
    state, clock, _, _ = leading
    state.away = True
    await until(lambda: state.unanswered)
    state.away = False
    renewed = state.renewed
    await until(lambda: state.renewed > renewed)
    clock.move(0.025)
    assert (await state.lease("key", 1)).state == "held"


async def test_a_lost_lease_is_not_renewed_nor_released(
    leading: tuple[SharedMemory, HandClock, Replicas, Call],
) -> None:
    state, clock, replicas, own = leading
    clock.move(1)
    later = await state.lease("key", 100)
    assert later.state == "mine"
    renewed = state.renewed
    await until(lambda: state.renewed > renewed)
    replicas.end(own, well=True)
    await replicas.aclose()
    assert (await state.lease("key", 1)) == Lease("held", later.token)
    assert state.released == 0


async def test_a_follower_asks_ever_more_seldom() -> None:
    state, waited = SharedMemory(), []

    async def pause(wait_s: float) -> None:
        waited.append(wait_s)
        if len(waited) == 12:
            await state.release("key", leader.token)

    leader = await state.lease("key", 60)
    follower = call()
    follower.shared_key = "key"
    replicas = Replicas(state, 1000, pause=pause)
    assert await replicas.lead(follower, RESPONSES) is None
    assert all(0.005 <= wait_s <= 0.1 for wait_s in waited)
    assert waited[0] <= 0.01
    assert min(waited[5:]) >= 0.05
    await replicas.aclose()


async def test_waiting_for_another_server_ends_at_the_calls_deadline() -> None:
    state, waiting = SharedMemory(), call(timeout_s=0.05)
    waiting.shared_key = "key"
    await state.lease("key", 60)
    with pytest.raises(UpstreamTimeout, match="another server"):
        await Replicas(state, 1000).lead(waiting, RESPONSES)
    assert waiting.fence == 0


@pytest.mark.parametrize(
    ("age_s", "wishes", "taken"),
    [
        (0.0, None, True),
        (50.0, None, True),
        (70.0, None, False),
        (0.0, CacheDirectives(max_age_s=0.0), True),
        (50.0, CacheDirectives(max_age_s=40.0), False),
        (50.0, CacheDirectives(max_age_s=55.0), True),
    ],
    ids=["new", "fresh", "expired", "made since the call began", "too old for the caller", "young enough"],
)
async def test_what_another_server_kept_is_taken_while_it_is_fresh_for_this_caller(
    age_s: float, wishes: CacheDirectives | None, taken: bool
) -> None:
    state, asker = SharedMemory(), call(directives=wishes)
    asker.shared_key, asker.started_s = "key", asker.started_s - 1.0
    said = ChatResponse(
        wire="w", body=b"{}", model="m", provider="p", usage=Usage(), text="x", finish="stop", complete=True
    )
    leader = await state.lease("key", 60)
    kept = KeptResponse(time.time() - age_s, 60.0, said)
    await state.put("key", await pack(kept), 600, fence=leader.token)
    await state.release("key", leader.token, done_s=60)
    found = await Replicas(state, 1000).lead(asker, RESPONSES)
    assert (found is not None, asker.cache) == (taken, "HIT" if taken else "BYPASS")
