"""An answer while it is put together: sentence by sentence, each with its citations, as the events that say so."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from bascule.core.documents import Citation, VisibleChunk
from bascule.rag import cite
from bascule.rag.events import AnswerEvent, CitationEvent, DeltaData, DeltaEvent
from bascule.rag.extract import Pick

_ENDS: Final = re.compile(r"[.!?…。！？][\"'”’»)\]*_`]*$")


class Draft:
    """Collects what stands; `text` is the deltas joined."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._numbering = cite.Numbering()
        self.dropped: list[cite.Checked] = []
        self.kept: list[cite.Checked] = []

    @property
    def text(self) -> str:
        return "".join(self._parts)

    @property
    def citations(self) -> tuple[Citation, ...]:
        return self._numbering.citations

    def take_dropped(self) -> list[cite.Checked]:
        """What was dropped so far, which is then no longer counted as dropped."""
        taken, self.dropped = self.dropped, []
        return taken

    def add(self, checked: cite.Checked) -> Iterator[AnswerEvent]:
        """A model's sentence after its check: nothing when it was dropped."""
        if not checked.sources:
            if not checked.filler:
                self.dropped.append(checked)
            return
        self.kept.append(checked)
        yield from self._say(checked.text, [(p.chunk, span) for p, span in checked.sources], " ")

    def quote(self, pick: Pick) -> Iterator[AnswerEvent]:
        """A passage's own sentence; list items and rows get a line of their own."""
        text = readable(pick.sentence.text)
        parting = " " if pick.sentence.kind == "prose" else "\n"
        yield from self._say(text, [(pick.hit.chunk, (pick.sentence.start, pick.sentence.end))], parting)

    def _say(
        self, text: str, sources: list[tuple[VisibleChunk, tuple[int, int]]], parting: str
    ) -> Iterator[AnswerEvent]:
        marks = []
        for chunk, span in sources:
            citation, new = self._numbering.cite(chunk, span)
            marks.append(f"[{citation.number}]")
            if new:
                yield CitationEvent(citation)
        part = (parting if self._parts else "") + f"{text} {''.join(marks)}"
        self._parts.append(part)
        yield DeltaEvent(DeltaData(part))


def readable(text: str) -> str:
    """As an answer prints it: a capital, a full stop, no links."""
    text = cite.strip(text).strip()
    if text[:1].islower() and not re.match(r"[\w.]*[(_.]|[a-z]+[A-Z]", text):
        text = text[0].upper() + text[1:]
    return text if _ENDS.search(text) else text + "."
