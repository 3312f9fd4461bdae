"""PowerPoint presentations: the slides in their order, a page each; titles, lists, tables, and the speaker's notes.

Left out and counted: hidden slides and shapes, what lies off the slide, transparent or tiny text, and white text where nothing
gives it a ground. Nothing is fetched: relations to outside the file are ignored.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections import Counter
from typing import Final

from lxml import etree  # type: ignore[import-untyped]

from bascule.core.errors import IngestError
from bascule.core.parsing import Block, ParsedDocument, Parser
from bascule.plugins.parsers._archives import check_archive
from bascule.plugins.parsers.pptx.deck import Deck
from bascule.plugins.parsers.pptx.shapes import Slide

_DAMAGED: Final = (
    KeyError, ValueError, IndexError, TypeError, AttributeError, OverflowError, zipfile.BadZipFile, zlib.error, EOFError,
    NotImplementedError, RuntimeError, struct.error, etree.XMLSyntaxError, OSError,
)  # fmt: skip


class PptxParser:
    def parse(self, data: bytes, name: str) -> ParsedDocument:
        try:
            check_archive(data, "PowerPoint")
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                return _read(Deck(archive))
        except RecursionError:
            raise IngestError("The presentation is nested too deeply to be read.", reason="damaged") from None
        except _DAMAGED:
            raise IngestError(
                "The PowerPoint file is damaged. Open it in a presentation program and save it again as .pptx.",
                reason="damaged",
            ) from None


def _read(deck: Deck) -> ParsedDocument:
    removed: Counter[str] = Counter()
    blocks: list[Block] = []
    for number, part in enumerate(deck.slides(), 1):
        root = deck.root(part)
        if root.get("show") in ("0", "false"):
            removed["hidden_slides"] += 1
            continue
        blocks += Slide(root, number, deck.size, deck.has_ground(part, root), removed).blocks()
        notes = deck.notes(part)
        if notes is not None:
            blocks += Slide(notes, number, None, True, removed).notes()
    if not blocks:
        raise IngestError("The presentation has no visible text in it; it may hold pictures only.", reason="empty")
    heading = next((block.text for block in blocks if block.kind == "heading"), "")
    return ParsedDocument(title=deck.title() or heading, blocks=tuple(blocks), removed=dict(removed))


parser: Parser = PptxParser()
