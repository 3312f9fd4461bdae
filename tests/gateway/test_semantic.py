from __future__ import annotations

import asyncio

import msgspec
import pytest

from bascule.core.calls import CacheDirectives
from bascule.core.errors import ConfigError, StorageError, UpstreamUnavailable
from bascule.gateway.cache_key import model_tag
from bascule.gateway.kept import RESPONSES, NotCached, pack
from bascule.gateway.metrics import SIMILAR
from bascule.gateway.routes import Limits
from bascule.plugins.state_stores.memory import MemoryState
from bascule.testing.gateway import ScriptedModel, bench, call, collect, http_client, openai_provider, request, until
from bascule.testing.semantic import FAR, ONE, OTHER, NearEmbedder, asked, semantic_bench
from bascule.testing.state_store_contract import HandClock
from bascule.testing.upstream import Fault, fake_upstream


def counted(outcome: str) -> float:
    return SIMILAR.labels("fast", outcome)._value.get()


async def test_a_question_in_nearly_the_same_words_gets_the_answer_of_the_first() -> None:
    model, before = ScriptedModel(), counted("hit")
    b = semantic_bench(model)
    first, second = call(), call()
    one = await b.gateway.chat(request(ONE), first)
    two = await b.gateway.chat(request(OTHER), second)
    assert one == two
    assert (first.cache, second.cache, len(model.requests)) == ("MISS", "HIT", 1)
    assert (second.cache_reason, second.cost_usd) == ("similar question 1.000", 0.0)
    assert second.age_s is not None
    assert counted("hit") == before + 1
    record = b.records[-1]
    assert (record.operation, record.cache, record.cache_reason) == ("chat", "HIT", "similar question 1.000")


async def test_a_stream_is_replayed_as_it_was() -> None:
    model = ScriptedModel()
    b = semantic_bench(model)
    one = await collect(await b.gateway.stream(request(ONE, stream=True), call()))
    second = call()
    two = await collect(await b.gateway.stream(request(OTHER, stream=True), second))
    assert (one, second.cache, len(model.requests)) == (two, "HIT", 1)


async def test_where_it_is_not_configured_nothing_is_compared() -> None:
    model = ScriptedModel()
    b = bench(model)
    assert [(await asked(b, text)).cache for text in (ONE, OTHER)] == ["MISS", "MISS"]
    assert not model.embedded


async def test_a_question_that_is_like_none_costs_no_embedding() -> None:
    embedder = NearEmbedder()
    b = semantic_bench(ScriptedModel(), embedder)
    for text in (ONE, "What is the capital of Spain?", "Who is the king of France?", ONE):
        await asked(b, text)
    assert not embedder.texts


async def test_embedding_counts_for_the_tenant_and_not_for_the_key_and_leaves_a_record() -> None:
    embedder = NearEmbedder()
    b = semantic_bench(ScriptedModel(), embedder, limits=Limits(requests_per_min=2))
    await asked(b, ONE)
    assert (await asked(b, OTHER)).cache == "HIT"
    who = embedder.calls[0].principal
    assert (who.tenant, who.key_id, who.system) == ("t", "", True)
    assert [record.operation for record in b.records] == ["chat", "embed", "chat"]


async def test_a_vector_is_made_once_and_kept_nowhere_but_in_the_index() -> None:
    embedder = NearEmbedder()
    b = semantic_bench(ScriptedModel(), embedder)
    for text in (ONE, OTHER, ONE.upper()):
        await asked(b, text)
    assert embedder.texts == [(OTHER, ONE), (ONE.upper(),)]
    assert all(made.cache == "BYPASS" for made in embedder.calls)


async def test_vectors_that_are_far_apart_are_no_hit() -> None:
    before = counted("far")
    b = semantic_bench(ScriptedModel(), NearEmbedder({OTHER: FAR}))
    assert [(await asked(b, text)).cache for text in (ONE, OTHER)] == ["MISS", "MISS"]
    assert counted("far") == before + 1


async def test_words_that_the_verifier_will_not_pass_over_are_counted_as_refused() -> None:
    before, embedder = counted("refused"), NearEmbedder()
    b = semantic_bench(ScriptedModel(), embedder)
    assert [(await asked(b, t)).cache for t in ("In what Year was it?", "In what year was It?")] == ["MISS", "MISS"]
    await asked(b, "On what Year was it?")
    assert counted("refused") >= before + 1
    assert not embedder.texts


async def test_vectors_of_another_model_do_not_compare() -> None:
    embedder = NearEmbedder()
    b = semantic_bench(ScriptedModel(), embedder, cache_ttl_s=600)
    await asked(b, ONE)
    assert (await asked(b, OTHER)).cache == "HIT"
    embedder.fingerprint = "near:2"
    assert (await asked(b, ONE.upper())).cache == "MISS"
    assert (await asked(b, ONE.lower())).cache == "HIT"


@pytest.mark.parametrize("silent", [False, True], ids=["fails", "is silent"])
async def test_when_embedding_fails_or_is_late_the_model_is_asked_in_time(silent: bool) -> None:
    embedder = NearEmbedder()
    b = semantic_bench(ScriptedModel(), embedder, semantic={"timeout_s": 0.02})
    await asked(b, ONE)
    if silent:
        embedder.gate = asyncio.Event()
    else:
        embedder.fails = UpstreamUnavailable("down")
    second = await asked(b, OTHER)
    assert (second.cache, second.degraded) == ("MISS", [])
    assert second.elapsed_s < 1.0


async def test_an_answer_is_gone_with_a_purge_and_with_the_end_of_its_lifetime() -> None:
    clock = HandClock()
    model = ScriptedModel()
    b = semantic_bench(model, state=MemoryState(clock=clock), cache_ttl_s=60)
    await asked(b, ONE)
    await b.state.purge(model_tag("t", "fast"))
    clock.move(1)
    gone = counted("gone")
    assert (await asked(b, OTHER)).cache == "MISS"
    assert counted("gone") == gone + 1
    assert (await asked(b, ONE.upper())).cache == "HIT"  # of the answer made since
    clock.move(61)
    assert (await asked(b, ONE.lower())).cache == "MISS"


async def test_an_answer_kept_past_its_lifetime_for_failures_is_no_hit() -> None:
    model, before = ScriptedModel(), counted("old")
    b = semantic_bench(model, stale_if_error_s=3600)
    key = (await asked(b, ONE)).shared_key
    value = await b.state.get(key)
    assert value is not None
    kept = RESPONSES.decode(value)
    aged = msgspec.structs.replace(kept, stored_at_s=kept.stored_at_s - 3700)
    await b.state.put(key, await pack(aged), 60)
    assert ((await asked(b, OTHER)).cache, len(model.requests), counted("old")) == ("MISS", 2, before + 1)


async def test_comparing_never_takes_the_time_that_the_model_needs() -> None:
    embedder = NearEmbedder()
    b = semantic_bench(ScriptedModel(), embedder, semantic={"timeout_s": 5.0})
    await asked(b, ONE)
    embedder.gate = asyncio.Event()
    second = await asked(b, OTHER, timeout_s=1.0)
    assert (second.cache, len(b.records)) == ("MISS", 3)
    assert second.elapsed_s < 0.8


async def test_a_state_store_that_does_not_answer_is_a_miss() -> None:
    class Away(MemoryState):
        away = False

        async def get(self, key: str) -> bytes | None:
            if self.away:
                self.away = False
                raise StorageError("away")
            return await super().get(key)

    state = Away()
    model, embedder = ScriptedModel(), NearEmbedder()
    b = semantic_bench(model, embedder, state=state)
    await asked(b, ONE)
    embedder.gate = asyncio.Event()
    asking = asyncio.create_task(asked(b, OTHER))
    await until(lambda: embedder.texts)
    state.away = True
    embedder.gate.set()
    second = await asking
    assert (second.cache, second.degraded, len(model.requests)) == ("MISS", ["cache_unavailable"], 2)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(content=" "),
        Fault(finish="length"),
        Fault(finish="content_filter"),
        Fault(
            finish="tool_calls",
            tool_calls=[{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        ),
    ],
    ids=["empty", "cut", "filtered", "a tool call"],
)
async def test_an_answer_that_is_not_good_or_calls_a_tool_is_given_to_nobody_else(fault: Fault) -> None:
    async with fake_upstream() as up, http_client() as http:
        b = semantic_bench(openai_provider(up.url, http))
        up.always = fault
        for stream in (False, True):
            for text in (ONE, OTHER):
                assert (await asked(b, text, stream=stream)).cache == "MISS"
        assert len(up.calls) == 4


async def test_an_error_teaches_nothing() -> None:
    b = semantic_bench(
        ScriptedModel(UpstreamUnavailable("down"), UpstreamUnavailable("down"), UpstreamUnavailable("down"))
    )
    with pytest.raises(UpstreamUnavailable):
        await asked(b, ONE)
    assert (await asked(b, OTHER)).cache == "MISS"


async def test_what_a_caller_asks_of_the_cache_holds_here_too() -> None:
    model = ScriptedModel()
    b = semantic_bench(model)

    async def verdict(text: str, **wishes: object) -> str:
        return (await asked(b, text, directives=CacheDirectives(**wishes))).cache  # type: ignore[arg-type]

    assert await verdict(ONE, no_store=True) == "BYPASS"
    assert await verdict(OTHER) == "MISS"  # nothing was learnt
    assert await verdict(ONE, no_store=True) == "BYPASS"
    assert await verdict(ONE, no_cache=True) == "BYPASS"
    assert await verdict(ONE.upper(), max_age_s=-1) == "MISS"
    assert await verdict(ONE.lower(), max_age_s=100) == "HIT"
    with pytest.raises(NotCached):
        await verdict("  " + ONE, only_if_cached=True)


async def test_off_for_the_model_is_off_here_too() -> None:
    b = semantic_bench(ScriptedModel(), cache_ttl_s=0)
    assert [(await asked(b, text)).cache for text in (ONE, OTHER)] == ["BYPASS", "BYPASS"]


async def test_an_embedding_model_that_is_not_there_is_said_at_the_start() -> None:
    with pytest.raises(ConfigError, match=r"models\.fast\.semantic_cache .* 'gone'.*bascule models pull"):
        semantic_bench(ScriptedModel(), semantic={"embedding_model": "gone"})


async def test_many_at_once_are_answered_and_nothing_is_left_under_way() -> None:
    model = ScriptedModel()
    b = semantic_bench(model)
    wordings = [ONE, OTHER, ONE.upper(), ONE.lower()] * 25
    calls = await asyncio.gather(*(asked(b, text) for text in wordings))
    assert len(model.requests) <= 4
    assert {made.cache for made in calls} <= {"HIT", "MISS"}
    assert (await asked(b, "what's the capital of France")).cache == "HIT"
    assert b.gateway.under_way == 0


async def test_after_a_change_of_configuration_it_learns_anew() -> None:
    model = ScriptedModel()
    b = semantic_bench(model)
    await asked(b, ONE)
    was = b.gateway.adopt(semantic_bench(model, state=b.state).gateway)
    assert (await asked(b, OTHER)).cache == "MISS"
    assert (await asked(b, ONE.upper())).cache == "HIT"
    await was.aclose()
