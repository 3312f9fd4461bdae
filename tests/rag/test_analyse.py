"""What a question asks for to the letter."""

from __future__ import annotations

import pytest

from bascule.core.documents import Hit
from bascule.core.principals import Principal
from bascule.rag.analyse import analyse, exact_first
from bascule.rag.options import RagOptions
from bascule.testing.rag_fakes import World

BOB = Principal(tenant="t", subject="bob")
PLAIN = [
    "What does find -name do?",
    "How many days in the 1990s, the 21st century and on page 4?",
    "Which bikes come without a kickstand, and what is not covered?",
    "Who won World War II?",
    "NOT",
    "How do I use CREATE TABLE IF NOT EXISTS?",
    "What does MUST NOT mean in a standard?",
    "How do I find rows where a column IS NOT NULL?",
    "WHY DOES MY BIKE NOT BRAKE",
    'What is "?"',
    "pip install -U --no-deps",
]


@pytest.mark.parametrize("question", PLAIN)
def test_plain_words_ask_for_nothing_to_the_letter(question: str) -> None:
    found = analyse(question)
    assert found.query == question and not found.facts


@pytest.mark.parametrize(
    ("question", "query", "facts"),
    [
        ('Who wrote "On Complexity"?', 'Who wrote "On Complexity"?', {"phrases": ["On Complexity"]}),
        ("What is “paid leave”, «reposo»?", "What is “paid leave”, «reposo»?", {"phrases": ["paid leave", "reposo"]}),
        ("The price of FB-101 and error E404?", "The price of FB-101 and error E404?", {"codes": ["FB-101", "E404"]}),
        ('leave NOT unpaid -"last year"', "leave", {"excluded": ["last year", "unpaid"]}),
        ('"leave" NOT "sick pay"', '"leave"', {"phrases": ["leave"], "excluded": ["sick pay"]}),
    ],
)
def test_quotes_codes_and_what_is_to_be_left_out_are_read(
    question: str, query: str, facts: dict[str, list[str]]
) -> None:
    found = analyse(question)
    assert (found.query, found.facts) == (query, facts)


async def _world(**options: object) -> World:
    world = World(options=RagOptions(**options))  # type: ignore[arg-type]
    for name, text in TEXTS.items():
        await world.add(name, text)
    return world


TEXTS = {
    "far": "The holiday of interns is paid. Holiday pay is settled in the holiday month; interns ask for holiday and pay.",
    "near": "Interns, like everybody, have paid  holiday by the month.",
    "code": "FB-101 is a gravel bicycle.",
    "other": "FB-1012 is a gravel bicycle with a gravel fork, FB 101 mm wide, a bicycle for gravel.",
}


async def test_a_passage_with_the_phrase_comes_first_and_the_others_stay() -> None:
    world = await _world()
    plain = await world.questions.search(BOB, "paid holiday of interns")
    quoted = await world.questions.search(BOB, '"paid holiday" of interns')
    assert quoted[0].chunk.document_id == "near" and quoted[0].parts["exact"] == 1
    assert {hit.chunk.id for hit in plain} <= {hit.chunk.id for hit in quoted}
    scores = [hit.score for hit in quoted]
    assert scores == sorted(scores, reverse=True)
    assert (await world.questions.search(BOB, "gravel bicycle FB-101"))[0].chunk.document_id == "code"


async def test_what_is_left_out_is_gone_from_answers_too_and_the_trace_tells() -> None:
    world = await _world()
    found = await world.questions.search(BOB, "gravel bicycle NOT fork")
    assert [hit.chunk.document_id for hit in found] == ["code"]
    answer = await world.questions.answer(BOB, "Which is a gravel bicycle? NOT fork")
    assert {citation.document_id for citation in answer.citations} <= {"code"}
    stage = next(s for s in (await world.questions.explain(BOB, answer.id))["stages"] if s["name"] == "rewrite")
    assert stage["facts"]["excluded"] == ["fork"] and stage["facts"]["query"] == "Which is a gravel bicycle?"


async def test_switched_off_a_quote_is_words() -> None:
    world = await _world(exact=False)
    assert all("exact" not in hit.parts for hit in await world.questions.search(BOB, '"paid holiday" of interns'))


def test_without_hits_there_is_nothing_to_order() -> None:
    none: list[Hit] = []
    assert exact_first(analyse('"a phrase"'), none) == []
