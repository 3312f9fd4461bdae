"""What documents and models say on a terminal, in a pipe and in a spreadsheet: letters, never commands."""

from __future__ import annotations

import json

import pytest

from bascule.cli.output import Output
from bascule.cli.terminal import inert, printable

HOSTILE = [
    ("\x1b[2J\x1b[31mred\x1b[0m", "red"),
    ("\x1b]0;title\x07text", "text"),
    ("\x1b]52;c;cm0gLXJm\x1b\\text", "text"),
    ("\x1b]8;;https://evil.example\x1b\\link\x1b]8;;\x1b\\", "link"),
    ("\x9b31mred", "red"),
    ("\x9d0;title\x9ctext", "text"),
    ("\x1bP+q544e\x1b\\text", "text"),
    ("\x1bc\x1b(0text\x1b", "text"),
    ("good\rbad\x08\x08\x7f\x00", "goodbad"),
    ("abc\u202edcba\u202c\u2066x\u2069", "abcdcbax"),
    ("\x1b[\x1b[31mx", "x"),
]
PLAIN = ["Grüße, 日本語 👩‍👩‍👧", "a\tb\nc", "عربى עברית", "1 < 2 & [bold]"]


@pytest.mark.parametrize(("text", "left"), HOSTILE)
def test_terminal_sequences_are_taken_out_with_what_belongs_to_them(text, left):
    assert printable(text) == left


@pytest.mark.parametrize("text", PLAIN)
def test_letters_of_every_language_stay(text):
    assert printable(text) == text


@pytest.mark.parametrize("text", [text for text, _ in HOSTILE])
def test_no_way_to_the_terminal_lets_them_through(text, capsys):
    out = Output()
    out.say(text)
    out.note(text)
    out.problem(text)
    out.table(["name", "more"], [[text, [text, {text: text}]]], "nothing")
    out.fields([("name", text), ("list", [text])])
    out.document({"name": text})
    shown = "".join(capsys.readouterr())
    assert not [c for c in shown if (ord(c) < 32 or 127 <= ord(c) < 160) and c not in "\n\t"]
    out.document({"name": text})
    assert json.loads(capsys.readouterr().out) == {"name": text}


@pytest.mark.parametrize("cell", ['=HYPERLINK("https://evil.example")', "@SUM(A1)", "+1+cmd|' /C calc'!A0", "-2+3"])
def test_a_cell_that_a_spreadsheet_would_compute_is_text(cell, capsys):
    Output().table(["title"], [[cell], [f"\t {cell}"]], "nothing")
    assert capsys.readouterr().out.splitlines()[1:] == [f"'{cell}"] * 2


@pytest.mark.parametrize("cell", ["-1", "-0.25", "+4", "-", "a=b", "", "2026-11-28"])
def test_numbers_and_words_are_left_alone(cell):
    assert inert(cell) == cell
