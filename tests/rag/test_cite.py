from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.core.documents import VisibleChunk
from bascule.core.principals import Principal
from bascule.rag import cite
from bascule.testing.rag_fakes import World

BOB = Principal(tenant="t", subject="bob")
EXFILTRATION = Path(__file__).parents[2].parent / "shared/data/security/output_exfiltration.jsonl"


async def _shown(*texts: str) -> dict[int, cite.Passage]:
    world = World()
    await world.add("d", texts)
    chunks: list[VisibleChunk] = world.catalogue.documents["d"].chunks
    return {p.number: p for p in cite.passages(chunks)}


async def test_a_citation_outside_the_retrieved_set_is_impossible() -> None:
    shown = await _shown("Refunds take five days.", "Parcels leave on Monday.")
    checked = cite.check("Refunds take five days [7].", shown)
    assert [p.number for p, _ in checked.sources] == [1]  # found by its words; the invented number is gone
    assert checked.text == "Refunds take five days."
    assert cite.check("Refunds need nine signatures of the board [7].", shown).sources == ()


async def test_a_sentence_is_held_against_what_it_cites_not_against_the_rest() -> None:
    shown = await _shown("Refunds take five days.", "Parcels leave on Monday.")
    checked = cite.check("Refunds take five days [2].", shown)
    assert checked.sources == ()
    assert checked.reason == "words"


async def test_several_citations_keep_those_that_hold() -> None:
    shown = await _shown("Refunds take five days.", "Parcels leave on Monday.")
    assert [p.number for p, _ in cite.check("Refunds take five days [1, 2].", shown).sources] == [1]


async def test_the_span_quotes_the_supporting_sentence() -> None:
    shown = await _shown("We sell bicycles. Refunds take five days. Parcels leave on Monday.")
    ((passage, span),) = cite.check("Refunds take five days [1].", shown).sources
    citation, new = cite.Numbering().cite(passage.chunk, span)
    assert new
    assert citation.quote == "Refunds take five days." == passage.chunk.text[slice(*citation.span)]


async def test_filler_is_no_claim() -> None:
    checked = cite.check("Here is what I found:", await _shown("Refunds take five days."))
    assert checked.filler
    assert checked.sources == ()


@pytest.mark.parametrize(
    ("written", "left"),
    [
        ("See [the page](https://evil.example/?q=secret) now.", "See the page now."),
        ("![chart](https://evil.example/x.png)Fine.", "chartFine."),
        ("[![a](http://e.example/1)](http://e.example/2) ok", "a ok"),
        ("Go to https://evil.example/x?y=1.", "Go to (link removed)."),
        ("<img src='//evil.example/a'>Text <b>bold</b>", "Text bold"),
        ("[click][1]\n[1]: http://evil.example", "click\n"),
        ("Plain text [1] with (brackets) and a/b.", "Plain text [1] with (brackets) and a/b."),
    ],
)
def test_links_images_and_markup_become_text(written: str, left: str) -> None:
    assert cite.strip(written) == left


def test_no_collected_exfiltration_output_keeps_a_way_out() -> None:
    if not EXFILTRATION.exists():
        pytest.skip("shared/data/security/output_exfiltration.jsonl is not here")
    rows = [json.loads(line) for line in EXFILTRATION.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        text = next(v for k, v in row.items() if k in ("output", "text", "markdown", "content"))
        left = cite.strip(text)
        assert not re.search(
            r"https?:/{2}|\]\(|<\s*(?:img|a|script|iframe|svg|link|meta|form)\b", left, re.IGNORECASE
        ), left


TEXT = (
    "Refunds take 5 days [1]. They are e.g. paid by card [2, 3]. See [here](http://a.example/b. c) for more! "
    "Is it free? Yes. [1] It costs 3.50 EUR [2].\n- One item [1]\n- Two items [2]\n\nThe end comes at 3 p.m. on Monday"
)


@given(st.lists(st.integers(min_value=1, max_value=len(TEXT)), max_size=30))
def test_a_stream_is_read_the_same_however_it_is_cut(cuts: list[int]) -> None:
    whole = cite.Reader()
    expected = whole.feed(TEXT) + whole.close()
    places = sorted({0, *cuts, len(TEXT)})
    reader = cite.Reader()
    found = [s for a, b in itertools.pairwise(places) for s in reader.feed(TEXT[a:b])]
    assert found + reader.close() == expected


def test_an_unfinished_last_sentence_is_left_out() -> None:
    reader = cite.Reader()
    reader.feed("Refunds take five days [1]. They are paid to the")
    assert reader.close(cut_short=True) == ["Refunds take five days [1]."]
