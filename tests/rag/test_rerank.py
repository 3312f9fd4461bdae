from __future__ import annotations

from bascule.core.principals import Principal
from bascule.rag.options import RagOptions
from bascule.rag.rerank import feature_score, features, read, rerank
from bascule.testing.rag_fakes import World

BOB = Principal(tenant="t", subject="bob")


async def _ranked(query: str, weight: float, **texts: str) -> list[str]:
    world = World(options=RagOptions(rerank_weight=weight))
    for name, text in texts.items():
        await world.add(name, text, title=name)
    return [h.chunk.document_id for h in await world.questions.search(BOB, query)]


async def test_a_passage_with_the_phrase_scores_above_one_with_scattered_words() -> None:
    world = World()
    await world.add("near", "The return label is inside the parcel you received from us in the post last week.")
    await world.add("far", "The label is blue. Nothing else is known of it here. Some wait for the return of spring.")
    chunks = {h.chunk.document_id: h.chunk for h in await world.questions.search(BOB, "return label")}
    reading = read("return label", list(chunks.values()))
    assert features(reading, chunks["near"])["phrase"] == 1
    assert feature_score(reading, chunks["near"]) > feature_score(reading, chunks["far"])


async def test_a_mentioned_stop_word_counts_as_a_word() -> None:
    ranked = await _ranked(
        "What does the with statement do?",
        0.45,
        other='The "if" statement runs a statement when its condition holds, a statement of choice.',
        wanted='The "with" statement wraps a block.',
    )
    assert ranked[0] == "wanted"


async def test_scores_stay_between_zero_and_one_and_never_rise() -> None:
    world = World(options=RagOptions(rerank_depth=3))
    for n in range(8):
        await world.add(f"d{n}", f"Refunds {'refunds ' * n} take {n} days.")
    scores = [h.score for h in await world.questions.search(BOB, "refunds take days")]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= s <= 1 for s in scores)
    assert len(scores) == 8


async def test_without_weight_the_fused_order_stays() -> None:
    world = World(options=RagOptions(rerank_weight=0))
    await world.add("a", "Refunds take five days.")
    hits = await world.questions.search(BOB, "refunds")
    assert rerank(read("refunds", [h.chunk for h in hits]), hits, weight=0, depth=5) == hits


async def test_weights_come_from_the_visible_passages_alone() -> None:
    world = World()
    await world.add("a", "Refunds take five days.")
    await world.add("b", "Refunds need a receipt.")
    hits = await world.questions.search(BOB, "refunds receipt")
    weights = read("refunds receipt", [h.chunk for h in hits]).weights
    assert weights["receipt"] > weights["refund"]
