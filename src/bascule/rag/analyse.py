"""What a question asks for to the letter: phrases in quotes, codes, and what it wants left out.

Plain words say what a question is about, and passages that lack some of them may still answer it. A quoted phrase or a part
number is meant as it stands: passages that have it come before those that have not (they are not the only ones, since the document
may write it otherwise). What follows NOT, or a minus before quotes, is left out altogether. Negation in plain words ("without a
licence", "not covered") changes no ranking: the passages that answer such a question say the same words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from bascule.core.documents import Hit, VisibleChunk
from bascule.core.lexical import fold
from bascule.rag import words

MOST: Final = 8  # of each kind: what is more is searched for as plain words
_QUOTED: Final = re.compile(
    r"(?P<minus>(?:(?<!\S)-|(?<!\S)(?<![A-Z][A-Z]\s)NOT\s+))?(?:\"([^\"]{2,200})\"|“([^”]{2,200})”|«([^»]{2,200})»|„([^“”]{2,200})[“”])"
)
# A wish stands out: in IF NOT EXISTS, MUST NOT and WHY DOES IT NOT START other capitals come before it.
_NOT_WORD: Final = re.compile(r"(?<!\S)(?<![A-Z][A-Z]\s)NOT\s+([^\W_][\w-]*)")
_CODE: Final = re.compile(r"(?<![\w./-])(?=[\w./-]*\d)(?=[\w./-]*[A-Z])[A-Za-z0-9]+(?:[-./_][A-Za-z0-9]+)*(?![\w-])")
_NO_CODE: Final = re.compile(r"\d+(?:st|nd|rd|th|s|[A-Z])?|Q[1-4]|[A-Z]\d?", re.IGNORECASE)


class Analysis(msgspec.Struct, frozen=True, kw_only=True):
    """`query`: what is searched with, without what is to be left out."""

    query: str
    phrases: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()

    @property
    def facts(self) -> Mapping[str, list[str]]:
        found = {"phrases": self.phrases, "codes": self.codes, "excluded": self.excluded}
        return {name: list(texts) for name, texts in found.items() if texts}


def analyse(query: str) -> Analysis:
    phrases: list[str] = []
    excluded: list[str] = []
    for match in _QUOTED.finditer(query):
        text = next(group for group in match.groups()[1:] if group)
        if words.plain(text):
            (excluded if match["minus"] else phrases).append(text.strip())
    excluded += _NOT_WORD.findall(_QUOTED.sub(" ", query))
    bare = _NOT_WORD.sub(" ", _QUOTED.sub(lambda m: " " if m["minus"] else m.group(), query)).strip()
    if not words.plain(bare):  # nothing would be left to search for
        return Analysis(query=query)
    unquoted = _QUOTED.sub(" ", bare)
    codes = [code for code in _CODE.findall(unquoted) if not _NO_CODE.fullmatch(code)]
    return Analysis(
        query=" ".join(bare.split()) if excluded else query,
        phrases=tuple(dict.fromkeys(phrases))[:MOST],
        codes=tuple(dict.fromkeys(codes))[:MOST],
        excluded=tuple(dict.fromkeys(excluded))[:MOST],
    )


def fits(analysis: Analysis, chunk: VisibleChunk) -> bool:
    """Does it hold nothing that is to be left out?"""
    if not analysis.excluded:
        return True
    text = _flat(chunk)
    return not any(_holds(text, phrase) for phrase in analysis.excluded)


def exact_first(analysis: Analysis, hits: Sequence[Hit]) -> list[Hit]:
    """Those that have more of the phrases and codes before those that have less, else as they were. The scores stay where
    they stand, so that they never rise along the list."""
    asked = (*analysis.phrases, *analysis.codes)
    if not asked or not hits:
        return list(hits)
    texts = [_flat(hit.chunk) for hit in hits]
    shares = [sum(_holds(text, phrase) for phrase in asked) / len(asked) for text in texts]
    order = sorted(range(len(hits)), key=lambda at: -shares[at])
    return [
        msgspec.structs.replace(hits[at], score=hits[place].score, parts={**hits[at].parts, "exact": shares[at]})
        for place, at in enumerate(order)
    ]


def _flat(chunk: VisibleChunk) -> str:
    """A phrase does not reach from title or heading into the text."""
    return _even(" | ".join((chunk.title, *chunk.heading_path, chunk.text)))


def _even(text: str) -> str:
    """Without what spacing, case, accents and the shape of an apostrophe make different."""
    return " ".join(fold(text).replace("’", "'").split())


def _holds(text: str, phrase: str) -> bool:
    """As whole words: FB-101 is neither FB-1012 nor XFB-101."""
    return re.search(rf"(?<![\w-]){re.escape(_even(phrase))}(?!\w)", text) is not None
