"""From a model's text to sentences with checked citations.

A citation can only name a passage of the prompt; any other number is dropped. What a model writes is text: its links, images,
addresses and markup are stripped (law 10), so nothing in an answer reaches out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from bascule.core.documents import Citation, VisibleChunk
from bascule.rag import sentences, verify, words

NO_ANSWER: Final = "NO_ANSWER"
_MARKS: Final = re.compile(r"[ \t]*\[(\d{1,3}(?:[ \t]*,[ \t]*\d{1,3})*)\](?!\()")
_LOOKAHEAD: Final = 24  # no decision of `sentences.cut` looks further ahead, so what lies before is settled
_IMAGE: Final = re.compile(r"!\[([^\]\n]*)\](?:\([^)\n]*\)?|\[[^\]\n]*\])?")
_LINK: Final = re.compile(r"\[([^\]\n]*)\]\([^)\n]*\)?")
_REFERENCE: Final = re.compile(r"\[([^\]\n]*[^\]\d\s,][^\]\n]*)\]\[[^\]\n]*\]|^\s*\[[^\]\n]+\]:.*$", re.MULTILINE)
_TAG: Final = re.compile(r"</?[A-Za-z!?][^>\n]*>?")
_ADDRESS: Final = re.compile(
    r"\b[a-z][a-z0-9+.\-]{1,20}:/{2,}\S*|(?<![\w/])//[\w\-]+\.\S*|\bwww\.\S+|\b(?:javascript|data|vbscript|mailto|file|blob):\S*",
    re.IGNORECASE,
)
_TRAILING: Final = re.compile(r"[.!?,;:)\]]*$")


class Passage(msgspec.Struct, frozen=True):
    """A passage as it stands in the prompt under `number`, with its evidence prepared."""

    number: int
    chunk: VisibleChunk
    evidence: verify.Evidence


class Checked(msgspec.Struct, frozen=True):
    """One sentence after the check. `text` has no marks; `sources` are (passage, span) in the order cited; () when dropped.

    reason  "" when it stands, else why it was dropped: uncited, words, number, unit, date, name, negation, judge
    filler  it claims nothing ("Here is what I found:"), so dropping it takes nothing away
    """

    text: str
    sources: tuple[tuple[Passage, tuple[int, int]], ...]
    reason: str = ""
    coverage: float = 0.0
    filler: bool = False


def passages(chunks: Sequence[VisibleChunk]) -> tuple[Passage, ...]:
    return tuple(
        Passage(n, c, verify.evidence(c.text, c.title + " " + " ".join(c.heading_path), c.kind))
        for n, c in enumerate(chunks, start=1)
    )


def strip(text: str) -> str:
    """Links and images become their words; addresses, tags and reference definitions go."""
    for _ in range(3):  # a link may hold an image
        text = _LINK.sub(r"\1", _IMAGE.sub(r"\1", text))
    text = _TAG.sub("", _REFERENCE.sub(lambda m: m.group(1) or "", text))
    return _ADDRESS.sub(lambda m: "(link removed)" + _tail(m.group()), text).replace("](", "] (")


def _tail(address: str) -> str:
    found = _TRAILING.search(address)
    return found.group() if found else ""


class Reader:
    """Takes a model's text as it comes and gives back sentences that are settled: the same for any way of cutting the stream."""

    def __init__(self) -> None:
        self._rest = ""

    def feed(self, text: str) -> list[str]:
        self._rest += text
        spans = sentences.cut(self._rest)
        settled = [s for s in spans[:-1] if s[1] + _LOOKAHEAD < len(self._rest)]
        while settled and len(spans) > len(settled) and spans[len(settled)][0] + _LOOKAHEAD > len(self._rest):
            settled.pop()
        if not settled:
            return []
        found = [self._rest[a:b] for a, b in settled]
        self._rest = self._rest[spans[len(settled)][0] :]
        return found

    def close(self, *, cut_short: bool = False) -> list[str]:
        """The last sentences. `cut_short`: without an unfinished last one."""
        spans = sentences.cut(self._rest)
        found = [self._rest[a:b] for a, b in spans]
        self._rest = ""
        if cut_short and found and not re.search(r"[.!?…。！？][\"'”’»)\]*_`]*(?:\s*\[[\d, ]+\])*$", found[-1]):
            found.pop()
        return found


def check(sentence: str, shown: Mapping[int, Passage]) -> Checked:
    """Hold one sentence against the passages it cites; against all of them when it cites none that exist."""
    numbers = [int(n) for m in _MARKS.finditer(sentence) for n in m.group(1).split(",")]
    text = strip(_MARKS.sub("", sentence)).strip(" \t*-•#>")
    cited = [shown[n] for n in dict.fromkeys(numbers) if n in shown]
    if not re.search(r"\w", text) or _is_filler(text):
        return Checked(text, (), "uncited", filler=True)
    verdicts = [(p, verify.verify(text, p.evidence)) for p in cited or shown.values()]
    supported = [(p, v) for p, v in verdicts if v.supported]
    if not cited:
        supported = sorted(supported, key=lambda pv: (-pv[1].coverage, pv[0].number))[:1]
    if supported:
        return Checked(text, tuple((p, v.span) for p, v in supported), "", max(v.coverage for _, v in supported))
    nearest = max((v for _, v in verdicts), key=lambda v: v.coverage, default=None)
    if nearest is None:
        return Checked(text, (), "uncited")
    return Checked(text, (), nearest.reason if cited else "uncited", nearest.coverage)


def _is_filler(text: str) -> bool:
    return (
        not verify.numbers(text)
        and (len(words.content(text)) < 2 or text.rstrip().endswith(":"))
        and not verify.names(text)
    )


class Numbering:
    """Citations numbered from 1 in the order they appear; the same span of the same chunk keeps its number."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, tuple[int, int]], Citation] = {}

    def cite(self, chunk: VisibleChunk, span: tuple[int, int]) -> tuple[Citation, bool]:
        """The citation, and whether it is new."""
        key = (chunk.id, span)
        if key in self._known:
            return self._known[key], False
        citation = Citation(
            number=len(self._known) + 1,
            document_id=chunk.document_id,
            chunk_id=chunk.id,
            title=chunk.title or chunk.name,
            quote=chunk.text[span[0] : span[1]],
            span=span,
            collection=chunk.collection,
            heading_path=chunk.heading_path,
            page=chunk.page,
        )
        self._known[key] = citation
        return citation, True

    @property
    def citations(self) -> tuple[Citation, ...]:
        return tuple(self._known.values())
