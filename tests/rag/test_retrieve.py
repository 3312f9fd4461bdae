from __future__ import annotations

import pytest

from bascule.core.errors import InvalidRequest, NotFound, UpstreamUnavailable
from bascule.core.principals import Principal
from bascule.core.vectors import Candidate
from bascule.plugins.vector_stores.memory import MemoryVectorStore
from bascule.rag.options import RagOptions
from bascule.testing.rag_fakes import WordEmbedder, World

ANN = Principal(tenant="t", subject="ann", groups=frozenset({"hr"}))
BOB = Principal(tenant="t", subject="bob")


async def test_a_lying_store_leaks_neither_text_nor_id_nor_count() -> None:
    honest, lying = World(), World()
    for world in (honest, lying):
        await world.add("open", ["Refunds take five days.", "Refunds need a receipt."])
    secret = await lying.add("secret", "Refunds to directors are never paid.", allow=["group:hr"])
    lying.store.lies = [Candidate(i, 1000.0) for i in (*secret, "no-such-chunk")]
    expected = await honest.questions.search(BOB, "refunds", limit=5)
    found = await lying.questions.search(BOB, "refunds", limit=5)
    assert [(h.chunk.id, h.score, h.parts) for h in found] == [(h.chunk.id, h.score, h.parts) for h in expected]
    assert len(found) == 2
    assert {h.chunk.id for h in await lying.questions.search(ANN, "refunds", limit=5)} > set(secret)


async def test_another_tenants_chunks_never_appear() -> None:
    world = World()
    theirs = await world.add("theirs", "Refunds take nine days.", tenant="other")
    await world.add("ours", "Refunds take five days.")
    world.store.lies = [Candidate(theirs[0], 99.0)]
    hits = await world.questions.search(BOB, "refunds")
    assert [h.chunk.document_id for h in hits] == ["ours"]


async def test_refill_asks_again_for_twice_as_many_until_enough_are_visible() -> None:
    world = World(options=RagOptions(candidates=5, rerank_weight=0))
    await world.add("wanted", "Refunds take five days.", metadata={"year": 2026})
    for n in range(12):
        await world.add(f"other{n}", "Refunds refunds refunds.", metadata={"year": 2020})
    hits = await world.questions.search(BOB, "refunds", limit=1, where={"year": 2026})
    assert [h.chunk.document_id for h in hits] == ["wanted"]
    assert world.store.searches == 3  # 5, 10, 20


async def test_refill_is_bounded() -> None:
    world = World(options=RagOptions(candidates=2, refills=3))
    for n in range(40):
        await world.add(f"other{n}", f"Refunds {n}.", metadata={"year": 2020})
    assert await world.questions.search(BOB, "refunds", limit=1, where={"year": 2026}) == []
    assert world.store.searches == 4


async def test_a_filter_finds_the_one_document_that_the_words_rank_last() -> None:
    world = World(options=RagOptions(candidates=2, refills=0))
    world.store = MemoryVectorStore()  # type: ignore[assignment]
    await world.add("wanted", "Refunds take five days, it says here, in so many words.", metadata={"year": 2026})
    for n in range(20):
        await world.add(f"other{n}", "Refunds refunds refunds.", metadata={"year": 2020})
    where = {"year": {"gt": 2020}}
    assert [h.chunk.document_id for h in await world.questions.search(BOB, "refunds", where=where)] == ["wanted"]
    answer = await world.questions.answer(BOB, "refunds", where=where)
    stages = {s["name"]: s["facts"] for s in (await world.questions.explain(BOB, answer.id))["stages"]}
    assert stages["filter"] == {"where": '{"year": {"gt": 2020}}'}


async def test_a_filter_that_is_none_is_refused_before_anything_is_searched() -> None:
    world = World()
    await world.add("open", "Refunds take five days.")
    with pytest.raises(InvalidRequest) as refused:
        await world.questions.search(BOB, "refunds", where={"year": {"$gt": 1}})
    assert (refused.value.param, world.store.searches) == ("filter", 0)


async def test_a_missing_and_a_forbidden_collection_look_the_same() -> None:
    world = World()
    await world.add("secret", "Salaries.", allow=["group:hr"], collection="hr")
    for name in ("hr", "nothing"):
        with pytest.raises(NotFound) as failure:
            await world.questions.search(BOB, "salaries", collections=[name])
        assert failure.value.message == "There is no such collection."


async def test_meaning_and_words_are_both_searched_and_both_shown() -> None:
    world = World(embedder=WordEmbedder())
    await world.add("a", "Refunds take five days.")
    await world.add("b", "Parcels are sent on Monday.")
    (best, *_) = await world.questions.search(BOB, "When do refunds come?")
    assert best.chunk.document_id == "a"
    assert {"dense", "lexical", "cosine"} <= best.parts.keys()


async def test_vectors_of_another_fingerprint_are_not_compared() -> None:
    world = World(embedder=WordEmbedder())
    await world.add("a", "Refunds take five days.", lexical_only=True)
    answer = await world.questions.answer(BOB, "How long do refunds take?")
    assert "lexical_only" in answer.degraded
    (hit,) = await world.questions.search(BOB, "refunds")
    assert "dense" not in hit.parts


async def test_a_failing_embedder_degrades_to_words_and_says_so() -> None:
    embedder = WordEmbedder()
    world = World(embedder=embedder)
    await world.add("a", "Refunds take five days.")
    embedder.error = UpstreamUnavailable("down")
    answer = await world.questions.answer(BOB, "How many days do refunds take?")
    assert answer.status == "answered"
    assert {"lexical_only", "embedding_failed"} <= set(answer.degraded)


async def test_the_embedding_call_has_a_deadline_of_its_own_within_the_questions() -> None:
    embedder = WordEmbedder()
    world = World(embedder=embedder, options=RagOptions(timeout_s=100, embed_timeout_s=2))
    await world.add("a", "Refunds take five days.")
    await world.questions.search(BOB, "refunds")
    assert embedder.calls[0].deadline.left_s() <= 2
    assert embedder.calls[0].principal is BOB


async def test_a_limit_out_of_range_and_an_empty_query_are_refused() -> None:
    world = World()
    await world.add("a", "Refunds.")
    for query, limit in (("refunds", 0), ("refunds", 101), ("  ", 5), ("x" * 5000, 5)):
        with pytest.raises(InvalidRequest):
            await world.questions.search(BOB, query, limit=limit)


async def test_a_question_as_long_as_a_letter_is_searched_by_its_telling_words() -> None:
    world = World()
    await world.add("a", "Bicyclefreewheelsprocket repairs take five days.")
    letter = (
        " ".join(f"w{n}" for n in range(600)) + " bicyclefreewheelsprocket " + " ".join(f"v{n}" for n in range(300))
    )
    (hit,) = await world.questions.search(BOB, letter[:3990])
    assert hit.chunk.document_id == "a"
