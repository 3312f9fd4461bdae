from __future__ import annotations

import pytest

from bascule.core.documents import Hit
from bascule.core.principals import Principal
from bascule.rag.diverse import diversify
from bascule.rag.options import RagOptions
from bascule.testing.rag_fakes import World

BOB = Principal(tenant="t", subject="bob")


@pytest.fixture
async def hits() -> list[Hit]:
    world = World()
    await world.add("a", ["Refunds take five days.", "Refunds take five long days.", "Refunds take five whole days."])
    await world.add("b", "Refunds need a receipt from the shop.")
    chunks = [c for d in world.catalogue.documents.values() for c in d.chunks]
    return [Hit(chunk=chunk, score=score, parts={}) for chunk, score in zip(chunks, (1.0, 0.9, 0.8, 0.7), strict=True)]


def order(hits: list[Hit]) -> list[str]:
    return [f"{h.chunk.document_id}{h.chunk.ordinal}" for h in hits]


async def test_off_is_off(hits: list[Hit]) -> None:
    assert diversify(hits, mmr=0, depth=30, per_document=0) == hits


async def test_more_of_one_document_comes_after_the_others_and_none_is_lost(hits: list[Hit]) -> None:
    found = diversify(hits, mmr=0, depth=30, per_document=1)
    assert order(found) == ["a0", "b0", "a1", "a2"]
    assert [h.score for h in found] == [1.0, 0.7, 0.7, 0.7]
    assert order(diversify(hits, mmr=0, depth=30, per_document=2)) == ["a0", "a1", "b0", "a2"]


async def test_what_is_unlike_the_best_comes_before_what_says_it_again(hits: list[Hit]) -> None:
    assert order(diversify(hits, mmr=0.5, depth=30, per_document=0))[:2] == ["a0", "b0"]
    assert order(diversify(hits, mmr=0.01, depth=30, per_document=0)) == order(hits)
    assert order(diversify(hits, mmr=0.5, depth=2, per_document=0)) == order(hits)


async def test_explain_shows_what_diversity_did() -> None:
    world = World(options=RagOptions(per_document=1, mmr=0.3, fusion="distribution"))
    await world.add("a", ["Refunds take five days.", "Refunds take nine days in winter."])
    await world.add("b", "Refunds need a receipt from the shop.")
    answer = await world.questions.answer(BOB, "How many days do refunds take?")
    stages = {s["name"]: s["facts"] for s in (await world.questions.explain(BOB, answer.id))["stages"]}
    assert (stages["diversify"]["mmr"], stages["diversify"]["per_document"]) == (0.3, 1)
    assert len(stages["diversify"]["hits"]) == 3
    assert stages["fuse"]["method"] == "distribution"
