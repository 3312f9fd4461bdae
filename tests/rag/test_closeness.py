from __future__ import annotations

from collections.abc import Sequence

import msgspec

from bascule.core.calls import Call
from bascule.core.embedding import Purpose
from bascule.core.errors import UpstreamTimeout
from bascule.core.principals import Principal
from bascule.rag import closeness
from bascule.rag.options import RagOptions
from bascule.testing.rag_fakes import WordEmbedder, World

BOB = Principal(tenant="t", subject="bob")
QUESTION = "Which vehicle did the founder buy?"
SAYS_IT = (
    "The company grew. Its first owner purchased a lorry. Rain fell in the valley. Sheep were shorn. Cheese was made."
)
SHARES_WORDS = "The founder of the club sold every vehicle. A founder may not buy again."
OTHERS = ["Founder is a title.", "Vehicle means cart.", "To buy is to pay.", "Sheep eat grass."]


class Knowing(WordEmbedder):
    """Knows some words for the same thing, by sentence alone: in a whole passage they are drowned."""

    fingerprint = "onnx:minilm:test"

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    async def embed(self, texts: Sequence[str], purpose: Purpose, call: Call) -> tuple[bytes, ...]:
        self.texts += texts
        return await super().embed(texts, purpose, call)

    def vector(self, text: str) -> bytes:
        same = text in (QUESTION, "Its first owner purchased a lorry.")
        return super().vector("owner purchased lorry" if same else text)


async def _world(embedder: WordEmbedder, **options: object) -> World:
    world = World(embedder=embedder, options=RagOptions(prompt_key=b"k", **options))  # type: ignore[arg-type]
    for name, text in {"says": SAYS_IT, "shares": SHARES_WORDS, **{f"o{i}": t for i, t in enumerate(OTHERS)}}.items():
        await world.add(name, text)
    return world


async def _order(world: World) -> list[str]:
    return [hit.chunk.document_id for hit in await world.questions.search(BOB, QUESTION)]


async def test_a_passage_whose_sentence_says_it_in_other_words_moves_up() -> None:
    world = await _world(Knowing(), sentence_weight=0.6)
    without = await _world(Knowing(), sentence_weight=0.0)
    assert (await _order(without)).index("says") > 0
    hits = await world.questions.search(BOB, QUESTION)
    assert hits[0].chunk.document_id == "says"
    assert hits[0].parts["sentence"] > 0.99
    scores = [hit.score for hit in hits]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)


async def test_only_the_best_passages_are_read_and_two_sentences_of_each() -> None:
    world = await _world(Knowing(), sentence_passages=2)
    hits = await world.questions.search(BOB, QUESTION)
    assert ["sentence" in hit.parts for hit in hits[:2]] == [True, True]
    assert not any("sentence" in hit.parts for hit in hits[2:])
    assert isinstance(world.embedder, Knowing)
    asked = world.embedder.texts[world.embedder.texts.index(QUESTION) + 1 :]
    assert 2 <= len(asked) <= 4


async def test_a_sentence_is_embedded_once_and_of_what_was_seen_alone() -> None:
    embedder = Knowing()
    questions = (await _world(embedder)).questions
    first = await questions.search(BOB, QUESTION)
    calls = len(embedder.calls)
    assert embedder.calls[-1].directives.no_store
    assert embedder.calls[-1].document_ids <= {hit.chunk.document_id for hit in first}
    assert await questions.search(BOB, QUESTION) == first
    assert len(embedder.calls) == calls + 1  # the question's own


async def test_what_is_kept_is_bounded() -> None:
    embedder = Knowing()
    kept = closeness.Closeness(RagOptions(), kept=3)
    kept._keep({("m", str(i), 0): b"" for i in range(5)})
    assert list(kept._kept) == [("m", str(i), 0) for i in (2, 3, 4)]
    assert closeness.scaled(embedder)


async def test_cosines_of_another_models_scale_count_for_nothing() -> None:
    embedder = WordEmbedder()
    world = await _world(embedder)
    hits = await world.questions.search(BOB, QUESTION)
    assert not any("sentence" in hit.parts for hit in hits)
    assert len(embedder.calls) == 1


async def test_when_sentences_cannot_be_embedded_the_order_is_that_of_the_features() -> None:
    class Failing(Knowing):
        async def embed(self, texts: Sequence[str], purpose: Purpose, call: Call) -> tuple[bytes, ...]:
            if texts[0] != QUESTION:
                raise UpstreamTimeout("The embedding model took too long.")
            return await super().embed(texts, purpose, call)

    world = await _world(Knowing(), sentence_weight=0.0)
    expected = await _order(world)
    world.embedder = Failing()
    world.options = msgspec.structs.replace(world.options, sentence_weight=0.6)
    assert await _order(world) == expected
    assert closeness.SENTENCES_FAILED in (await world.questions.answer(BOB, QUESTION)).degraded


async def test_hidden_passages_change_nothing() -> None:
    world, more = await _world(Knowing()), await _world(Knowing())
    for number in range(5):
        await more.add(f"secret{number}", f"The founder did buy a vehicle, {number} times.", allow=["group:hr"])
    found = [await one.questions.search(BOB, QUESTION) for one in (world, more)]
    expected, told = ([(h.chunk.document_id, h.parts.get("sentence")) for h in hits] for hits in found)
    assert told == expected
