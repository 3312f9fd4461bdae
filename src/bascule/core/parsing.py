"""From bytes to blocks: the ports of parsers and of text recognition, and what they return. In a child process only (law 9)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec

BlockKind = Literal["heading", "paragraph", "list", "table", "code"]


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of a document in reading order.

    level  1..6 for a heading, 0 otherwise
    page   1-based page number, None where the format has no pages
    rows   for a table: rows of cells, the header first; `text` then holds the same as `a | b` lines
    """

    kind: BlockKind
    text: str
    level: int = 0
    page: int | None = None
    rows: tuple[tuple[str, ...], ...] = ()


class ParsedDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`removed` names what the parser left out and why, e.g. {"hidden_text": 3, "scripts": 2}."""

    title: str
    blocks: tuple[Block, ...]
    metadata: Mapping[str, Any] = {}
    removed: Mapping[str, int] = {}


class Recognised(msgspec.Struct, frozen=True):
    """A line of text in a picture and where it stands: left, top, right, bottom in pixels."""

    text: str
    box: tuple[float, float, float, float]


class Recogniser(Protocol):
    """Reads the text in pictures (OCR)."""

    max_side: int  # in pixels: of a larger picture nothing more is seen

    def read(self, pixels: Any) -> Sequence[Recognised] | None:
        """Of an array of rows of pixels of red, green and blue bytes, in no particular order. None: this document's share of
        pages or time is used up."""
        ...


class Parser(Protocol):
    def parse(self, data: bytes, name: str) -> ParsedDocument:
        """Raises IngestError with a reason that says what to do (encrypted, empty, damaged, not this format)."""
        ...
