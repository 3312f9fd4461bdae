from __future__ import annotations

import pytest

from bascule.rag.sentences import cut, split, whole

MANUAL = """The "with" statement
********************

The "with" statement is used to wrap the execution of a block with
methods defined by a context manager. See e.g. Dr. Roe on
item No. 5. It ends here.

   with EXPRESSION as TARGET:
       SUITE

 |  reverse(self, /)
 |      Reverse *IN PLACE*.
"""


def test_a_manual_gives_sentences_without_headings_rules_and_code() -> None:
    assert [s.text for s in split(MANUAL)] == [
        'The "with" statement is used to wrap the execution of a block with methods defined by a context manager.',
        "See e.g. Dr. Roe on item No. 5.",
        "It ends here.",
        "reverse(self, /): Reverse *IN PLACE*.",
    ]


def test_every_sentence_is_where_it_says() -> None:
    for sentence in split(MANUAL):
        quote = MANUAL[sentence.start : sentence.end]
        assert quote == quote.strip()
        assert sentence.text.split()[0] in quote
        assert sentence.text.split()[-1] in quote


def test_a_lead_in_is_read_with_its_list() -> None:
    text = "You may return an item if:\n\n- it is unused\n- it is in its box.\n\nNothing else counts."
    assert [s.text for s in split(text)] == [
        "You may return an item if: it is unused; it is in its box.",
        "Nothing else counts.",
    ]


def test_table_rows_carry_their_columns_names() -> None:
    markdown = "| Item | Price | Stock |\n|---|---|---|\n| Kettle | 39.90 EUR | 3 |"
    assert [s.text for s in split(markdown)] == ["Kettle: Price 39.90 EUR, Stock 3"]
    chunk = "Item | Price | Stock\nKettle | 39.90 EUR | 3"
    (row,) = split(chunk, "table")
    assert row.text == "Kettle: Price 39.90 EUR, Stock 3"
    assert chunk[row.start : row.end] == "Kettle | 39.90 EUR | 3"


def test_a_grids_row_over_two_lines_is_one_even_where_the_grid_is_cut_off() -> None:
    grid = (
        '| "s.reverse()" | reverses the items of *s* in | (4) |\n|               | place                       |     |'
    )
    assert [s.text for s in split(grid)] == ['"s.reverse()": reverses the items of *s* in place']


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("It costs 5.50 EUR. We ship at 3 p.m. daily.", ["It costs 5.50 EUR.", "We ship at 3 p.m. daily."]),
        ("Refunds take days [1]. They are free [2, 3].", ["Refunds take days [1].", "They are free [2, 3]."]),
        ("Refunds take days. [1] They are free. [2]", ["Refunds take days. [1]", "They are free. [2]"]),
        ("¿Cuántos días? Son diez.", ["¿Cuántos días?", "Son diez."]),
        ("one\ntwo", ["one", "two"]),
    ],
)
def test_prose_is_cut_after_its_marks_and_not_at_abbreviations(text: str, parts: list[str]) -> None:
    assert [text[a:b] for a, b in cut(text)] == parts


def test_a_cut_off_sentence_is_not_whole() -> None:
    (sentence,) = split(
        "and then the parcel that was sent on monday goes back to the sender, which is never free of charge."
    )
    assert not whole(sentence)


def test_a_long_hostile_text_is_cut_in_linear_time() -> None:
    for piece in ("[1]", "| a ", "a.b.", "(((", "- - ", "f(", "\n\n#", "**"):
        split(piece * 4000)
        cut(piece * 4000)
