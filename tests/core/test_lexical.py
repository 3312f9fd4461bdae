from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bascule.core import lexical
from bascule.core.lexical import MAX_TERM_CHARS, STOPWORDS, fold, stem, terms


@pytest.mark.parametrize(
    "words",
    [
        "price prices priced pricing",
        "policy policies",
        "stop stops stopped stopping",
        "care cares caring cared",
        "precio precios",
        "niño niños",
        "económica económicas",
    ],
)
def test_forms_of_one_word_become_one_term(words: str) -> None:
    assert len(set(terms(words))) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [("news", "newton"), ("string", "str"), ("speed", "spe"), ("universal", "university"), ("1990s", "1990")],
)
def test_words_of_other_meaning_stay_apart(one: str, other: str) -> None:
    assert stem(one) != stem(other)


def test_short_words_numbers_and_other_scripts_are_left_as_they_are() -> None:
    assert [stem(word) for word in ("gas", "ed", "bus", "v2s", "340s", "北京", "книги")] == [
        "gas", "ed", "bus", "v2s", "340s", "北京", "книги",
    ]  # fmt: skip


def test_case_accents_and_possessives_do_not_matter() -> None:
    assert terms("Müller’s CAFÉ") == terms("muller cafe")
    assert fold("Straße") == "strasse"


def test_stop_words_of_english_and_spanish_are_dropped() -> None:
    assert terms("What is the capital of France?") == terms("capital France")
    assert terms("¿Cuál es la capital de España?") == terms("capital España")


def test_a_stop_word_that_the_text_is_about_is_kept() -> None:
    assert "with" in terms("the with statement")
    assert "for" in terms("for loops and more")
    assert "if" in terms('what "if" means')
    assert "if" in terms("if clauses")


def test_identifiers_are_found_whole_and_in_parts() -> None:
    assert {"os.path.join", "os", "path", "join"} <= set(terms("call os.path.join here"))
    assert {"get", "user", "name"} <= set(terms("getUserName"))
    assert set(terms("os.path.join")) & set(terms("join of a path"))


def test_order_and_repeats_are_kept() -> None:
    assert terms("red fish blue fish") == ("red", "fish", "blue", "fish")


def test_a_term_has_a_bounded_length() -> None:
    assert max(map(len, terms("x" * 500 + " " + "a.b" * 200))) == MAX_TERM_CHARS


@pytest.mark.parametrize("text", ["", " \n\t", "...", "of and in", "'’'", "___"])
def test_text_without_words_has_no_terms(text: str) -> None:
    assert terms(text) == ()


@pytest.mark.parametrize("piece", ["a", "a.", "a-", "aB", "_", "'", "1", '"', "for ", "é", "a'"])
def test_hostile_text_takes_time_in_proportion_to_its_length(piece: str) -> None:
    started_s = time.process_time()
    terms(piece * (200_000 // len(piece)))
    assert time.process_time() - started_s < 5


def long_way(text: str) -> list[str]:
    """Word by word, each looked at in its place."""
    found, previous = [], ""
    for match in lexical._WORD.finditer(text):
        word = fold(match.group()).replace("’", "'").removesuffix("'s")
        start, end = match.span()
        stopped = word in STOPWORDS and (
            word in ("a", "an", "the")
            or not (
                previous in ("a", "an", "the") or lexical._quoted(text, start, end) or lexical._before_a_part(text, end)
            )
        )
        found += [] if stopped else lexical._read_word(match.group())[1]
        previous = word
    return found


MENTIONING = st.lists(
    st.one_of(
        st.sampled_from(
            ["for", "the", "with", "a", "it's", "'", '"', "’", "loops", "Loop's", "statement", "word", "if", "FOR"]
        ),
        st.sampled_from([" ", "  ", "    ", ", ", ". ", "\n", "_", "-"]),
        st.text(max_size=5),
    ),
    max_size=14,
).map("".join)


@settings(max_examples=500, deadline=None)
@given(MENTIONING)
def test_stop_words_are_told_as_by_looking_at_each_in_its_place(text: str) -> None:
    assert lexical._words(text) == long_way(text)


def test_a_word_longer_than_a_term_changes_nothing_for_the_others() -> None:
    text = "the with statement and " + "x" * 100 + ' "if" loops'
    assert lexical._words(text) == long_way(text)
