from __future__ import annotations

import pytest

from bascule.rag.verify import Said, difference, evidence, numbers, verify

PASSAGE = (
    "A customer may return a bicycle within 30 days of delivery. Helmets cannot be taken back. "
    "Refunds of 1,250 EUR or more are signed by Maria Lopez on Monday. Carbon frames weigh 1.4 kg. "
    "The shop opened in March 2019 and does not sell electric scooters."
)


@pytest.mark.parametrize(
    "sentence",
    [
        "A customer may return a bicycle within 30 days of delivery.",
        "Bicycles may be returned by a customer within thirty days of delivery.",
        "Helmets cannot be taken back.",
        "Refunds of 1250 euros or more are signed by Maria Lopez.",
        "The carbon frames weigh 1,4 kg.",
        "The shop does not sell electric scooters.",
    ],
)
def test_what_the_passage_says_is_supported(sentence: str) -> None:
    verdict = verify(sentence, evidence(PASSAGE))
    assert verdict.supported, verdict


@pytest.mark.parametrize(
    ("sentence", "reason"),
    [
        ("A customer may return a bicycle within 60 days of delivery.", "number"),
        ("A customer may return a bicycle within 30 weeks of delivery.", "unit"),
        ("Helmets can be taken back.", "negation"),
        ("A customer may not return a bicycle within 30 days of delivery.", "negation"),
        ("Refunds of 1,250 USD or more are signed by Maria Lopez on Monday.", "unit"),
        ("Refunds of 1,250 EUR or more are signed by Maria Jones on Monday.", "name"),
        ("Refunds of 1,250 EUR or more are signed by Maria Lopez on Friday.", "date"),
        ("The shop opened in April 2019.", "date"),
        ("The shop opened in March 2018.", "number"),
        ("The shop sells electric scooters.", "negation"),
        ("Parcels to Norway need a customs form and a stamp.", "words"),
    ],
)
def test_what_differs_is_named_and_unsupported(sentence: str, reason: str) -> None:
    verdict = verify(sentence, evidence(PASSAGE))
    assert not verdict.supported
    assert verdict.reason == reason


def test_the_span_is_the_supporting_sentence() -> None:
    start, end = verify("Helmets cannot be taken back.", evidence(PASSAGE)).span
    assert PASSAGE[start:end] == "Helmets cannot be taken back."


def test_a_number_in_the_title_supports_no_number() -> None:
    assert not verify("Returns take 14 days.", evidence("Returns take some days.", "Returns 14 days")).supported


def test_numbers_are_canonical_and_keep_their_units() -> None:
    assert numbers("1,000 EUR, $5.50, thirty days, 6 %") == {
        "1000": {"eur"},
        "5.5": {"usd"},
        "30": {"day"},
        "6": {"%"},
    }


def test_a_number_without_a_unit_agrees_with_one_that_has_it() -> None:
    assert difference(Said("It takes 5."), Said("It takes 5 days."), Said("")) == ""


def test_what_was_held_against_a_passage_before_changes_no_verdict():
    text = "Goods may be returned within 30 days. Lamps cost 5 EUR. Nobody opens the gate on Sunday."
    said = ["Goods may not be returned within 30 days.", "Lamps cost 5 USD.", "Lamps cost 5 EUR.", "Goods: 40 days."]
    shared = evidence(text)
    assert [verify(s, shared) for s in said * 2] == [verify(s, evidence(text)) for s in said * 2]
