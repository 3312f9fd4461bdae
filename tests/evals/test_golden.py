from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from bascule.core.errors import ConfigError, NotFound
from bascule.core.principals import Principal
from bascule.evals import golden
from bascule.evals.golden import Plain, Question
from bascule.testing.rag_fakes import World

BOB = Principal(tenant="t", subject="bob")


class Client:
    """The part of a client an evaluation needs, over a World."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def ask(self, question: str, collections: Sequence[str] | None, model: str | None) -> Plain:
        found = await self._world.questions.answer(BOB, question, collections=collections, model=model)
        return dict(msgspec.to_builtins(found))

    async def search(self, query: str, collections: Sequence[str] | None, limit: int) -> list[Plain]:
        hits = await self._world.questions.search(BOB, query, collections=collections, limit=limit)
        return [{"document_id": h.chunk.document_id} for h in hits]

    async def explain(self, answer_id: str) -> Plain:
        return await self._world.questions.explain(BOB, answer_id)

    async def document(self, document_id: str) -> Plain:
        if document_id not in self._world.catalogue.documents:
            raise NotFound("There is no such document.")
        return {"id": document_id, "name": f"{document_id}.md", "title": "", "external_id": ""}


async def _outcomes(*questions: Question) -> list[golden.Outcome]:
    world = World()
    await world.add("returns", "A bicycle may be returned within 30 days.")
    await world.add("shipping", "Delivery takes three days.")
    return await golden.run(Client(world), questions, lambda done: None)


async def test_right_abstained_and_wrong_are_scored_apart() -> None:
    outcomes = await _outcomes(
        Question(
            question="Within how many days may a bicycle be returned?", answer=("30 days",), documents=("returns.md",)
        ),
        Question(question="Within how many days may a bicycle be returned?", answer=("60 days",)),
        Question(question="What is the capital of France?", answer=("Paris",)),
        Question(question="What is the capital of France?", answerable=False),
        Question(question="Within how many days may a bicycle be returned?", answerable=False),
    )
    assert [o.score for o in outcomes] == [1, -1, 0, 1, -1]
    first = outcomes[0]
    assert (first.ndcg, first.recall, first.reciprocal_rank, first.citation_precision) == (1, 1, 1, 1)
    figures = golden.summary(outcomes)
    assert figures["answer_score"] == 0
    assert figures["refused_answerable"] == pytest.approx(1 / 3)
    assert figures["refused_unanswerable"] == 0.5
    assert figures["citation_precision"] == 1


async def test_what_a_set_does_not_say_is_not_measured() -> None:
    (outcome,) = await _outcomes(Question(question="Within how many days may a bicycle be returned?"))
    assert (outcome.score, outcome.ndcg, outcome.citation_precision) == (None, None, None)
    assert golden.summary([outcome])["ndcg_at_10"] is None


@pytest.mark.parametrize(
    ("text", "named"), [("", "no questions"), ("{}\n", "line 1"), ('{"question": "a"}\n{"q": 1}\n', "line 2")]
)
def test_a_bad_set_is_refused_by_line(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "set.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=named):
        golden.read(path)


async def test_what_may_not_be_told_is_right_when_refused_and_a_leak_when_said() -> None:
    world = World()
    await world.add("pay", "The bonus is 900 euros.")
    asked = Question(
        question="How much is the bonus?", answer=("900 euros",), documents=("pay.md",), allowed=("group:hr",)
    )
    (told,) = await golden.run(Client(world), [asked], lambda done: None, as_marks=["group:hr"])
    assert (told.score, told.answerable, told.leaked) == (1, True, None)
    assert told.confidence is not None
    assert 0.4 < told.confidence <= 1
    (leaked,) = await golden.run(Client(world), [asked], lambda done: None, as_marks=["user:bob"])
    assert (leaked.score, leaked.answerable, leaked.leaked, leaked.ndcg) == (-1, False, True, None)
    assert golden.summary([leaked])["leaked"] == 1
    world.catalogue.delete("pay")
    (kept,) = await golden.run(Client(world), [asked], lambda done: None, as_marks=["user:bob"])
    assert (kept.score, kept.leaked, kept.confidence) == (1, False, None)


async def test_a_set_that_says_who_may_be_told_wants_to_know_who_asks() -> None:
    asked = Question(question="How much is the bonus?", allowed=("group:hr",))
    with pytest.raises(ConfigError, match="--as"):
        await golden.run(Client(World()), [asked], lambda done: None)


async def test_risk_and_coverage_count_judged_questions_alone() -> None:
    figures = golden.summary(
        await _outcomes(
            Question(question="Within how many days may a bicycle be returned?", answer=("30 days",)),
            Question(question="Within how many days may a bicycle be returned?", answer=("60 days",)),
            Question(question="Within how many days may a bicycle be returned?"),
            Question(question="What is the capital of France?", answer=("Paris",)),
        )
    )
    assert (figures["coverage"], figures["risk"]) == (pytest.approx(2 / 3), 0.5)
    assert figures["risk_coverage_area"] == 0.5
