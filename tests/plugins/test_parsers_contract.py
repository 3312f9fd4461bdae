"""Every file in plugins/parsers passes the parser contract; a new one without a sample here fails."""

import io
import pkgutil
from importlib import import_module

import docx
import pytest

import bascule.plugins.parsers as family
from bascule.testing.documents import line, pdf
from bascule.testing.office import deck, ebook, export, grid, post, shape, workbook
from bascule.testing.parser_contract import check_parser

KINDS = sorted(module.name for module in pkgutil.iter_modules(family.__path__) if not module.name.startswith("_"))


def word_file() -> bytes:
    document = docx.Document()
    document.add_heading("Refund policy", 1)
    document.add_paragraph("Money comes back within 30 days.")
    table = document.add_table(rows=2, cols=2)
    for cell, text in zip((c for row in table.rows for c in row.cells), ("Item", "Days", "Books", "14"), strict=True):
        cell.text = text
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


SAMPLES = {
    "txt": (
        b"Refund policy\n=============\n\nMoney comes back\nwithin 30 days.\n\n* books\n* toys\n",
        ["Refund", "30 days", "toys"],
    ),
    "man": (
        b".TH REFUND 1 2026 shop\n.SH NAME\nrefund \\- money back\n.SH OPTIONS\n.TP\n"
        b'.BR \\-d ", " \\-\\-days =\\fIN\\fR\nwithin N days\n',
        ["refund - money back", "-d, --days=N", "within N days"],
    ),
    "md": (
        b"# Refund policy\n\nMoney comes back **within** 30 days.\n\n| a | b |\n|---|---|\n| 1 | 2 |\n",
        ["within 30 days", "1 | 2"],
    ),
    "html": (
        b"<!doctype html><h1>Refund</h1><p>Money comes <b>back</b>.</p><ul><li>books</ul>",
        ["Money comes back.", "books"],
    ),
    "csv": (b'item,days\nbooks,14\n"toys, small",30\n', ["books | 14", "toys, small | 30"]),
    "pdf": (pdf([line("Money comes back"), line("within 30 days")]), ["Money comes back", "within 30 days"]),
    "json": (
        b'{"title": "Shop", "goods": [{"item": "books", "days": 14}, {"item": "toys", "days": 30}], "note": "Ask us."}',
        ["books | 14", "note: Ask us."],
    ),
    "xml": (
        b"<?xml version='1.0'?><shop><title>Shop</title><p>Ask <b>us</b> first.</p><goods><g><item>books</item><days>14</days></g>"
        b"<g><item>toys</item><days>30</days></g></goods></shop>",
        ["Shop", "Ask us first.", "toys | 30"],
    ),
    "eml": (
        b"From: Ann <ann@example.test>\r\nTo: bob@example.test\r\nSubject: Refund policy\r\nMIME-Version: 1.0\r\n\r\n"
        b"Money comes back\r\nwithin 30 days.\r\n\r\n> older words\r\n",
        ["Refund policy", "Ann", "within 30 days."],
    ),
    "epub": (
        ebook(["<h1>One</h1><p>Money comes back.</p>", "<h1>Two</h1><p>Within 30 days.</p>"]),
        ["One", "Money comes back.", "Within 30 days."],
    ),
    "wxr": (
        export(post("Refunds", "<p>Money comes back.</p>") + post("Draft", "SECRET", status="draft")),
        ["Refunds", "Money comes back."],
    ),
    "xlsx": (workbook({"Goods": grid([["Item", "Days"], ["Books", "14"]])}), ["Item | Days", "Books | 14"]),
    "pptx": (
        deck([shape("Refund policy", place="title") + shape("Money comes back.")], notes={1: "Say it slowly."}),
        ["Refund policy", "Money comes back.", "Say it slowly."],
    ),
    "docx": (word_file(), ["Refund policy", "Money comes back within 30 days.", "Books | 14"]),
}


def test_every_parser_has_a_sample():
    assert set(SAMPLES) | {"image"} == set(KINDS)  # images: test_parser_images.py, with what the extra brings


@pytest.mark.parametrize("kind", sorted(SAMPLES))
def test_parser_keeps_the_contract(kind):
    sample, words = SAMPLES[kind]
    check_parser(import_module(f"bascule.plugins.parsers.{kind}").parser, sample=sample, words=words)
