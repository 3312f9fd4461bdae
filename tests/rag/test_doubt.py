"""What a passage that uses the question's words does not say."""

from __future__ import annotations

import pytest

from bascule.core.principals import Principal
from bascule.rag import doubt, opposites
from bascule.rag.language import asks_in_english
from bascule.rag.options import RagOptions
from bascule.testing.rag_fakes import World

BOB = Principal(tenant="t", subject="bob")
TREATY = """The treaty of Lindau was signed by Albert in 1758 and gave the northern valleys to the crown.
It requires every member to keep a register of ships. The bishop opposed the treaty before the war began.
Members without a harbour do not pay the toll."""


async def _asked(question: str, doubt_max: float = 0.82) -> tuple[str, str | None, dict[str, float]]:
    world = World()
    world.options = RagOptions(doubt_max=doubt_max)
    await world.add("treaty", TREATY, title="Treaty of Lindau")
    await world.add("bread", "Bread is baked from flour, water, salt and yeast.", title="Bread")
    answer = await world.questions.answer(BOB, question)
    trace = await world.catalogue.trace(BOB, answer.id)
    facts = next(s.facts for s in trace.stages if s.name == "verify")
    return answer.status, answer.reason, facts.get("doubt", {})


@pytest.mark.parametrize(
    "question",
    [
        "Who signed the treaty of Lindau in 1758?",
        "What does the treaty require every member to keep?",
        "Which members do not pay the toll?",
    ],
)
async def test_what_the_passage_says_is_answered(question: str) -> None:
    status, reason, figures = await _asked(question)
    assert (status, reason) == ("answered", None), figures


@pytest.mark.parametrize(
    ("question", "figure"),
    [
        ("What does the treaty not require every member to keep?", "negated_alone"),
        ("Who signed the treaty of Lindau in 1921?", "number_gone"),
        ("Why did the treaty of Lindau give Gustavus the southern valleys of the crown?", "opposite"),
    ],
)
async def test_what_it_does_not_say_is_refused_and_the_trace_tells_why(question: str, figure: str) -> None:
    status, reason, figures = await _asked(question, doubt_max=0.64)
    assert figures[figure] == 1.0
    assert (status, reason) == ("refused", "not_said"), figures
    assert figures["probability"] > figures["most"]


async def test_the_threshold_decides_and_one_never_refuses() -> None:
    question = "What does the treaty not require every member to keep?"
    assert (await _asked(question, doubt_max=1.0))[0] == "answered"
    assert (await _asked("Who signed the treaty of Lindau in 1758?", doubt_max=0.0))[1] == "not_said"


async def test_a_question_in_another_language_is_left_to_the_evidence() -> None:
    world = World()
    world.options = RagOptions(doubt_max=0.0)
    await world.add("tratado", "El tratado de Lindau fue firmado por Alberto en 1758.", title="Tratado de Lindau")
    answer = await world.questions.answer(BOB, "¿Quién no firmó el tratado de Lindau en 1758?")
    assert answer.status == "answered"


@pytest.mark.parametrize(("asked", "said"), [("before", "after"), ("least", "most"), ("reduced", "increases")])
def test_contraries_meet_whatever_their_form(asked: str, said: str) -> None:
    from bascule.rag.words import root

    assert opposites.opposed([root(asked)], frozenset([root(said)]))
    assert not opposites.opposed([root(asked)], frozenset([root(asked), root(said)]))


def test_every_weight_is_of_a_figure_and_doubt_rises_with_what_speaks_against_an_answer() -> None:
    fitted = doubt._fitted()
    assert set(fitted) == {"words", "vectors"}
    assert set(fitted["vectors"].weights) - set(fitted["words"].weights) == {"cosine", "sentence_cosine"}
    for weights in fitted.values():
        for name in ("negated_alone", "negated_other", "number_gone", "name_gone", "opposite"):
            assert weights.weights[name] > 0


@pytest.mark.parametrize(
    ("question", "english"),
    [
        ("What was signed in 1758?", True),
        ("The treaty was not signed by whom?", True),
        ("Was ist der Zweck des Vertrags?", False),
        ("Desde 2005, ¿quién viaja con el Doctor Who en The Daily?", False),
        ("Quel est le but du traité?", False),
    ],
)
def test_only_english_questions_are_doubted(question: str, english: bool) -> None:
    assert asks_in_english(question) is english
