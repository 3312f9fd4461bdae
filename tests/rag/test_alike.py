"""Passages that say the same are read once; those that only look alike are both read."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from bascule.core.principals import Principal
from bascule.rag.alike import read, same
from bascule.testing.rag_fakes import World

SQUAD = Path(__file__).parents[3] / "shared" / "data" / "retrieval" / "squad2" / "corpus.jsonl"
BOB = Principal(tenant="t", subject="bob")
HR = Principal(tenant="t", subject="ann", groups=frozenset({"hr"}))
TEXT = (
    "Goods that were bought in the shop on Main Street may be returned within 30 days of the sale, with their receipt and in their "
    "own box, and the price is paid back by the way in which it was paid, which takes up to five working days after they arrive."
)


@pytest.mark.parametrize(
    "other",
    [
        TEXT,
        TEXT.upper().capitalize(),
        TEXT.replace(", ", "; ").replace(" ", "  "),
        TEXT.replace("which takes up to", "and takes up to"),
        "Please note: " + TEXT,
        TEXT.replace("were bought", "have been bought"),
    ],
)
def test_the_same_in_nearly_the_same_words_is_the_same(other: str) -> None:
    one, two = read(TEXT), read(other)
    assert same(one, two) and same(two, one)


@pytest.mark.parametrize(
    "other",
    [
        TEXT.replace("30 days", "14 days"),
        TEXT.replace("may be", "may not be"),
        TEXT.replace("may be", "cannot be"),
        TEXT.replace("is paid back", "isn't paid back"),
        TEXT.replace("Main Street", "Mill Street"),
        TEXT.replace("with their receipt", "without their receipt"),
        TEXT[: len(TEXT) // 2],
        "",
    ],
)
def test_what_differs_in_a_number_a_name_or_a_negation_is_not(other: str) -> None:
    assert not same(read(TEXT), read(other))


async def test_an_answer_reads_one_of_several_copies_and_only_those_its_reader_may_read() -> None:
    world = World()
    await world.add("first", TEXT)
    await world.add("copy", TEXT.replace("which takes", "and takes"))
    await world.add("secret", TEXT.replace("working days", "days of work"), allow=["group:hr"])
    await world.add("other", TEXT.replace("30 days", "14 days"))
    answer = await world.questions.answer(BOB, "May goods be returned within days of the sale?")
    explained = await world.questions.explain(BOB, answer.id)
    facts = next(stage["facts"] for stage in explained["stages"] if stage["name"] == "prompt")
    assert len(facts["chunk_ids"]) == 2 and len(facts["repeated_chunk_ids"]) == 1
    found = await world.questions.search(BOB, "goods returned", limit=10)
    assert {hit.chunk.document_id for hit in found} == {"first", "copy", "other"}, "a search lists them all"


def test_real_passages_are_never_taken_for_each_other_and_light_edits_nearly_always_are() -> None:
    if not SQUAD.is_file():
        pytest.skip("shared/data/retrieval is not here: real passages are not tried")
    texts = [json.loads(line)["text"] for line in SQUAD.read_text(encoding="utf-8").splitlines()]
    readings = [read(text) for text in texts]
    wrong = sum(same(one, two) for n, one in enumerate(readings) for two in readings[:n])
    assert wrong == 0
    chance, kept, tried = random.Random(7), 0, 0
    for text, reading in zip(texts, readings, strict=True):
        words = text.split()
        plain = [n for n, word in enumerate(words) if word.isalpha() and word.islower() and len(word) > 3]
        if len(words) < 60 or not plain:
            continue
        tried += 1
        del words[chance.choice(plain)]
        kept += same(reading, read(" ".join(words)))
    assert tried > 100 and kept / tried > 0.95, (kept, tried)
