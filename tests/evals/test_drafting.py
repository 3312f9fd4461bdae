"""Questions made of statements: what is asked, and what is better left."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from bascule.evals.drafting import draft

SQUAD = Path(__file__).parents[3] / "shared" / "data" / "retrieval" / "squad2" / "corpus.jsonl"


@pytest.mark.parametrize(
    ("said", "question", "answer"),
    [
        ("The Mill Street bridge was opened in 1894.", "When was the Mill Street bridge opened?", "1894"),
        ("In 1894, the Mill Street bridge was opened to carts.", "When was the Mill Street bridge opened to carts?", "1894"),
        ("Anna Mill founded the Fernhill works in May 1901.", "When did Anna Mill found the Fernhill works?", "May 1901"),
        ("A customer may return a bicycle within 30 days.", "Within how many days may a customer return a bicycle?", "30 days"),
        ("Interns have 2 days of paid holiday a month.", "How many days of paid holiday do interns have?", "2 days"),
        ("The warranty on steel frames is 10 years.", "How long is the warranty on steel frames?", "10 years"),
        ("The Mill Street bridge was designed by Anna Mill.", "By whom was the Mill Street bridge designed?", "Anna Mill"),
        ("Anna Mill was born in Norwell, and left early.", "Where was Anna Mill born?", "Norwell"),
        ("A decision problem is a kind of puzzle.", "What is a decision problem?", "a kind of puzzle"),
        ("The European Coal and Steel Community (ECSC) pays.", "What does ECSC stand for?", "European Coal and Steel Community"),
        ("There are 12 arches in the Mill Street bridge.", "How many arches are there in the Mill Street bridge?", "12 arches"),
    ],
)  # fmt: skip
def test_a_plain_statement_gives_its_question(said: str, question: str, answer: str) -> None:
    found = {each.question: each for each in draft(said)}
    assert question in found, list(found)
    assert found[question].answer == answer and said[found[question].start : found[question].end] == said


@pytest.mark.parametrize(
    "said",
    [
        "It was opened in 1894.",  # what?
        "The act was passed in 1894.",  # which?
        "The man who built it was born in Norwell.",
        "Anna Mill, an engineer, said that this was opened in 1894.",
        "Although the bridge was opened in 1894, nobody came.",
        "Tesla said the motor was built in 1888.",
        "The Mill Street bridge was designed by Spanish engineers.",
        "El puente fue inaugurado en 1894 por la ciudad y la gente que vino de lejos para ver la obra.",
        "open(path) was added in 1894",
        "When was the bridge opened?",
    ],
)
def test_what_would_read_badly_is_left(said: str) -> None:
    assert draft(said) == []


def test_each_row_of_a_table_gives_one_cell_and_what_has_two_answers_is_not_asked() -> None:
    table = "model | list_price | weight\nKestrel | 1890 | 9.8\nHeron | 1290 | 11.2\nKestrel | 1990 | 9.8"
    found = draft(table, "table", "Prices")
    assert [(each.question, each.answer) for each in found] == [
        ('What does the table "Prices" give as weight for Heron?', "11.2")
    ]
    assert table[found[0].start : found[0].end] == "Heron | 1290 | 11.2"
    assert draft("The Old Mill was opened in 1890. The Old Mill was opened in 1891.") == []


def test_of_real_articles_each_answer_stands_in_its_sentence() -> None:
    if not SQUAD.is_file():
        pytest.skip("shared/data/retrieval is not here: real passages are not tried")
    rows = [json.loads(line) for line in SQUAD.read_text(encoding="utf-8").splitlines()]
    found = [(row["text"], each) for row in random.Random(1).sample(rows, 200) for each in draft(row["text"])]
    assert len(found) >= 15, "few sentences are plain enough; none would be a fault"
    for text, each in found:
        assert each.answer in " ".join(text[each.start : each.end].split())
        assert each.answer not in each.question and each.question[0].isupper() and each.question.endswith("?")
