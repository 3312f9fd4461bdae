from __future__ import annotations

import math
from array import array

import pytest

from bascule.gateway.alike import Question
from bascule.gateway.semantic_index import SHELF, Index, cosine
from bascule.testing.state_store_contract import HandClock

QUESTION = Question(("who", "is", "it", "?"))


def vector(*values: float) -> bytes:
    return array("f", values).tobytes()


def keys(index: Index, place: bytes) -> list[str]:
    return [asked.key for asked in index.find(place)]


def test_what_was_added_is_found_at_its_place_the_newest_first() -> None:
    index = Index(10)
    for place, key in ((b"p", "1"), (b"p", "2"), (b"q", "3")):
        index.add(place, key, "text", QUESTION, 60)
    assert (keys(index, b"p"), keys(index, b"q"), keys(index, b"r")) == (["2", "1"], ["3"], [])


def test_a_key_stands_once_and_can_be_dropped() -> None:
    index = Index(10)
    for key in ("1", "2", "1"):
        index.add(b"p", key, "text", QUESTION, 60)
    assert (keys(index, b"p"), len(index)) == (["1", "2"], 2)
    index.drop(b"p", "1")
    index.drop(b"p", "2")
    index.drop(b"p", "2")
    assert (keys(index, b"p"), len(index)) == ([], 0)


def test_it_never_holds_more_than_it_may_and_the_oldest_go_first() -> None:
    index = Index(20)
    for number in range(100):
        index.add(b"%d" % (number // 2), str(number), "text", QUESTION, 60)
        assert len(index) <= 20
    assert keys(index, b"49") == ["99", "98"]
    assert keys(index, b"0") == []
    for number in range(50):
        index.add(b"one", str(number), "text", QUESTION, 60)
    assert (len(keys(index, b"one")), len(index) <= 20) == (SHELF, True)


def test_what_has_expired_is_not_found_and_leaves_at_the_next_call() -> None:
    clock = HandClock()
    index = Index(10, clock)
    index.add(b"p", "1", "text", QUESTION, 60)
    clock.move(30)
    index.add(b"p", "2", "text", QUESTION, 60)
    index.add(b"q", "3", "text", QUESTION, 60)
    clock.move(31)
    assert keys(index, b"p") == ["2"]
    clock.move(30)
    assert (keys(index, b"r"), len(index)) == ([], 0)


@pytest.mark.parametrize(
    ("one", "other", "score"),
    [
        (vector(1, 0), vector(1, 0), 1.0),
        (vector(1, 0), vector(0, 1), 0.0),
        (vector(0.6, 0.8), vector(0.8, 0.6), 0.96),
        (vector(1, 0), vector(1, 0, 0), -1.0),
        (vector(math.nan, 0), vector(1, 0), -1.0),
        (vector(math.inf, 0), vector(1, 0), -1.0),
        (vector(3, 0), vector(3, 0), -1.0),
    ],
    ids=["same", "across", "near", "another length", "nan", "infinite", "not of unit length"],
)
def test_only_vectors_that_compare_are_near(one: bytes, other: bytes, score: float) -> None:
    assert cosine(one, other) == pytest.approx(score, abs=1e-6)
