"""The console's words for codes, and the shape of what its templates show. Text stays text: templates escape it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from bascule.core.documents import Answer, Citation, Document, VisibleChunk
from bascule.core.principals import Principal
from bascule.server.views import is_keeper

LACKS: Final = {
    "lexical_only": "Search is by words only: no embedding model is in reach.",
    "no_model": "No chat model is configured: answers quote the best passages.",
    "model_failed": "The chat model did not answer: the best passages are quoted instead.",
    "upstream_error": "The chat model did not answer: the best passages are quoted instead.",
}
REASONS: Final = {
    "no_evidence": "Nothing in the documents you may read answers this question.",
    "not_said": "The documents you may read are about this, but do not seem to say what you ask.",
    "unsupported": "An answer was written, but its sources do not support it, so it is not shown.",
    "empty_collection": "There is nothing to read in this collection yet.",
    "upstream_error": "The chat model did not answer.",
}
STATES: Final = {
    "queued": "waiting",
    "running": "working",
    "paused": "paused",
    "indexed": "ready",
    "unchanged": "unchanged",
    "failed": "failed",
    "superseded": "replaced",
    "done": "done",
    "cancelled": "cancelled",
    "deleted": "deleted",
}
_MARK: Final = re.compile(r"\[(\d{1,3})\]")


class Piece(msgspec.Struct, frozen=True):
    """A stretch of an answer: text, or the citation that its mark `[n]` names."""

    text: str
    citation: Citation | None = None


class DocumentRow(msgspec.Struct, frozen=True):
    """`allow` and `deny` are None for a reader who may not know whom else the document is for."""

    id: str
    title: str
    name: str
    collection: str
    state: str
    word: str
    reason: str
    allow: list[str] | None
    deny: list[str] | None
    alike: int = 0

    @classmethod
    def of(cls, document: Document, principal: Principal, alike: int = 0) -> DocumentRow:
        mine = is_keeper(document, principal)
        return cls(
            document.id,
            document.title or document.name,
            document.name,
            document.collection,
            document.state,
            STATES.get(document.state, document.state),
            document.reason,
            sorted(document.rights.allow) if mine else None,
            sorted(document.rights.deny) if mine else None,
            alike,
        )


class Passage(msgspec.Struct, frozen=True):
    """A passage in three parts, the middle one being what is cited, with what stands around it in its document."""

    title: str
    place: str
    before: list[str]
    lead: str
    cited: str
    rest: str
    after: list[str]

    @classmethod
    def of(cls, chunk: VisibleChunk, around: Sequence[VisibleChunk], start: int, end: int) -> Passage:
        start, end = (start, end) if 0 <= start < end <= len(chunk.text) else (0, 0)
        place = [chunk.collection, *headings(chunk.title, chunk.heading_path)]
        if chunk.page is not None:
            place.append(f"page {chunk.page}")
        return cls(
            chunk.title or chunk.name,
            " › ".join(place),
            [near.text for near in around if near.ordinal < chunk.ordinal],
            chunk.text[:start],
            chunk.text[start:end],
            chunk.text[end:],
            [near.text for near in around if near.ordinal > chunk.ordinal],
        )


def pieces(answer: Answer) -> list[Piece]:
    """The answer cut at its citation marks. A mark that names no citation stays text."""
    known = {citation.number: citation for citation in answer.citations}
    found: list[Piece] = []
    at = 0
    for mark in _MARK.finditer(answer.answer):
        citation = known.get(int(mark.group(1)))
        if citation is None:
            continue
        found += [Piece(answer.answer[at : mark.start()]), Piece(mark.group(1), citation)]
        at = mark.end()
    return [piece for piece in [*found, Piece(answer.answer[at:])] if piece.text]


def headings(title: str, path: Sequence[str]) -> list[str]:
    """The headings above a passage, without the one that is the document's title again."""
    return list(path[1:] if path and path[0] == title else path)


def reason(code: str | None) -> str:
    """A sentence for why there is no answer, or no whole one."""
    return REASONS.get(code or "", (code or "").replace("_", " "))


def lacks(codes: Sequence[str]) -> list[str]:
    """Sentences for the codes of what was missing (law 11)."""
    return [LACKS.get(code.partition(":")[0], code.partition(":")[0].replace("_", " ")) for code in codes]
