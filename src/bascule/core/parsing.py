"""From bytes to blocks: the parser's port and what it returns. Parsers run in a child process only (law 9)."""

from __future__ import annotations

from collections.abc import Mapping
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


class Parser(Protocol):
    def parse(self, data: bytes, name: str) -> ParsedDocument:
        """Raises IngestError with a reason that says what to do (encrypted, empty, damaged, not this format)."""
        ...
