"""Cuts a cleaned document into chunks: along its structure first, into a budget of tokens second.

The document's text is its blocks joined by a blank line. A chunk's [start, end) are offsets into that text, and its own
text is exactly that slice. Tables are the one exception: every chunk after a table's first repeats the header row above
its own rows, and start and end then span the rows alone. Chunks do not overlap. A heading becomes part of the path of
all below it; one with nothing below it is kept as a chunk of its own.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final

import msgspec

from bascule.core.documents import ChunkDraft
from bascule.core.parsing import Block
from bascule.rag.clean import row_text
from bascule.rag.tokens import Count

SEPARATOR: Final = "\n\n"
_MAX_HEADING_CHARS: Final = 120
_ABBREVIATION: Final = re.compile(
    r"(?:\b(?:[A-Z]|e\.g|i\.e|etc|cf|vs|Dr|Mr|Mrs|Ms|Prof|St|No|Nr|Fig|Sec|approx|z\.B|bzw|ca)\.)$"
)
_SENTENCE_END: Final = re.compile(r"[.!?…][\"')\]»”’]*\s+|[。！？][」』”’]*\s*|\n+")
_SPACE: Final = re.compile(r"\s+")
_WINDOW_CHARS: Final = 2_000
_CHARS_PER_TOKEN: Final = 20  # no text that fits the budget is longer than this many times it


class _Piece(msgspec.Struct, frozen=True):
    """Characters [start, end) of the document that belong together, and their length in tokens."""

    start: int
    end: int
    tokens: int
    kind: str
    page: int | None


def joined(blocks: Sequence[Block]) -> str:
    """The document's text: what the offsets of chunks refer to."""
    return SEPARATOR.join(block.text for block in blocks)


def chunk(blocks: Sequence[Block], *, budget: int, count: Count) -> tuple[ChunkDraft, ...]:
    """Chunks of at most `budget` tokens (a table's repeated header comes on top), in reading order."""
    maker = _Maker(joined(blocks), budget, count)
    offset = 0
    for index, block in enumerate(blocks):
        if block.kind == "heading":
            maker.heading(block, offset, _has_body(blocks, index))
        elif block.rows:
            maker.table(block, offset)
        else:
            maker.text(block, offset)
        offset += len(block.text) + len(SEPARATOR)
    maker.flush()
    return tuple(maker.drafts)


def _has_body(blocks: Sequence[Block], index: int) -> bool:
    following = blocks[index + 1] if index + 1 < len(blocks) else None
    return following is not None and (following.kind != "heading" or following.level > blocks[index].level)


class _Maker:
    def __init__(self, document: str, budget: int, count: Count) -> None:
        self.document = document
        self.budget = budget
        self.exact = lru_cache(maxsize=16)(count)  # a chunk of one piece is counted as a piece and as a chunk
        self.count = _bounded(self.exact, budget)
        self.drafts: list[ChunkDraft] = []
        self.path: list[tuple[int, str]] = []
        self.pending: list[_Piece] = []
        self.pending_tokens = 0
        self.seen: Counter[str] = Counter()

    def heading(self, block: Block, offset: int, has_body: bool) -> None:
        self.flush()
        while self.path and self.path[-1][0] >= block.level:
            self.path.pop()
        if has_body:
            self.path.append((block.level, _shortened(block.text)))
        if not has_body or len(block.text) > _MAX_HEADING_CHARS:
            self.text(block, offset)
            self.flush()

    def text(self, block: Block, offset: int) -> None:
        kind = "code" if block.kind == "code" else "text"
        tokens = self.count(block.text)
        if tokens <= self.budget:
            self._add(_Piece(offset, offset + len(block.text), tokens, kind, block.page))
            return
        self.flush()
        for start, end in _split(block.text, kind, self.budget, self.count):
            piece = block.text[start:end]
            self._add(_Piece(offset + start, offset + end, self.count(piece), kind, block.page))
        self.flush()

    def table(self, block: Block, offset: int) -> None:
        """Rows as many as fit, with the header above them; a row too long for a chunk is cut like text."""
        self.flush()
        header, body = self._header(block)
        header_tokens = self.count(header)
        at = offset + (len(header) + 1 if header else 0)
        rows: list[tuple[int, int]] = []
        used = 0
        for row in body:
            text = row_text(row)
            tokens = self.count(text)
            if rows and used + tokens + header_tokens > self.budget:
                self._table_chunk(header, rows, offset, block.page)
                rows, used = [], 0
            if tokens > self.budget:
                self._long_row(header, text, at, block.page)
            else:
                rows.append((at, at + len(text)))
                used += tokens
            at += len(text) + 1
        if rows or not body:
            self._table_chunk(header, rows or [(offset, offset + len(header))], offset, block.page)

    def _header(self, block: Block) -> tuple[str, Sequence[Sequence[str]]]:
        """The header to repeat and the rows below it; one as long as half a chunk is a row like any other."""
        if not any(block.rows[0]):
            return "", block.rows[1:]
        header = row_text(block.rows[0])
        return (header, block.rows[1:]) if self.count(header) * 2 <= self.budget else ("", block.rows)

    def _table_chunk(self, header: str, rows: Sequence[tuple[int, int]], offset: int, page: int | None) -> None:
        start, end = rows[0][0], rows[-1][1]
        if header and start == offset + len(header) + 1:
            start = offset  # the header stands right above these rows: no repetition needed
        text = self.document[start:end]
        self._draft(text if start == offset or not header else f"{header}\n{text}", start, end, "table", page)

    def _long_row(self, header: str, row: str, at: int, page: int | None) -> None:
        for start, end in _split(row, "text", self.budget, self.count):
            piece = row[start:end]
            self._draft(f"{header}\n{piece}" if header else piece, at + start, at + end, "table", page)

    def _add(self, piece: _Piece) -> None:
        if self.pending and self.pending_tokens + piece.tokens > self.budget:
            self.flush()
        self.pending.append(piece)
        self.pending_tokens += piece.tokens

    def flush(self) -> None:
        if not self.pending:
            return
        pieces, self.pending, self.pending_tokens = self.pending, [], 0
        start, end = pieces[0].start, pieces[-1].end
        text = self.document[start:end]
        if len(pieces) > 1 and self.count(text) > self.budget:  # a tokenizer for which parts are shorter than the whole
            half = len(pieces) // 2
            for part in (pieces[:half], pieces[half:]):
                self.pending = part
                self.flush()
            return
        kind = "code" if all(piece.kind == "code" for piece in pieces) else "text"
        self._draft(text, start, end, kind, pieces[0].page)

    def _draft(self, text: str, start: int, end: int, kind: str, page: int | None) -> None:
        path = tuple(title for _, title in self.path)
        digest = hashlib.sha256("\x1f".join(path).encode() + b"\x1e" + text.encode()).hexdigest()
        draft = ChunkDraft(
            text=text,
            heading_path=path,
            start=start,
            end=end,
            page=page,
            tokens=self.exact(text),
            content_hash=digest,
            occurrence=self.seen[digest],
            kind=kind,
        )
        self.drafts.append(draft)
        self.seen[digest] += 1


def _bounded(count: Count, budget: int) -> Count:
    """Never tokenises a text that cannot fit: a tokenizer needs a hundred times the memory of what it reads."""
    return lambda text: budget + 1 if len(text) > _CHARS_PER_TOKEN * budget else count(text)


def _shortened(heading: str) -> str:
    line = " ".join(heading.split())
    return line if len(line) <= _MAX_HEADING_CHARS else line[: _MAX_HEADING_CHARS - 1] + "…"


def _split(text: str, kind: str, budget: int, count: Count) -> Iterator[tuple[int, int]]:
    """Ranges of `text` within the budget: whole sentences (lines, in code) as many as fit, and words where one is too long."""
    start = end = used = 0
    for left, right in _parts(text, kind):
        tokens = count(text[left:right])
        if used and used + tokens > budget:
            yield from _trimmed(text, start, end)
            used = 0
        if tokens > budget:
            for inner in _cut(text, left, right, budget, count):
                yield from _trimmed(text, *inner)
            continue
        if not used:
            start = left
        end, used = right, used + tokens
    if used:
        yield from _trimmed(text, start, end)


def _parts(text: str, kind: str) -> Iterator[tuple[int, int]]:
    ends = re.finditer(r"\n+", text) if kind == "code" else _SENTENCE_END.finditer(text)
    start = 0
    for match in ends:
        if (
            kind != "code"
            and match.group()[0] == "."
            and _ABBREVIATION.search(text, max(start, match.start() - 12), match.start() + 1)
        ):
            continue
        yield start, match.end()
        start = match.end()
    if start < len(text):
        yield start, len(text)


def _cut(text: str, left: int, right: int, budget: int, count: Count) -> Iterator[tuple[int, int]]:
    """One sentence longer than the budget, cut at spaces where there are some, between whole characters where not."""
    while left < right:
        end = min(right, left + min(_WINDOW_CHARS, budget * 8))
        while (end < right and end - left > 1) or count(text[left:end]) > budget:
            end = _boundary(text, left, end)
            if end - left <= 1 or count(text[left:end]) <= budget:
                break
            end = left + max(1, (end - left) * 3 // 4)
        yield left, end
        left = end


def _boundary(text: str, left: int, end: int) -> int:
    """The last place before `end` where a cut splits no word and no composed character; at least one past `left`."""
    spaces = list(_SPACE.finditer(text, left + (end - left) // 2, end))
    if spaces:
        return spaces[-1].end()
    for at in range(end, max(left + 1, end - 64), -1):
        if not _composed(text, at):
            return at
    return end


def _composed(text: str, at: int) -> bool:
    """Would a cut here split what is shown as one character (a combining mark, a joined or toned emoji)?"""
    if at >= len(text):
        return False
    char, before = text[at], text[at - 1]
    joins = before == "\u200d" or char in "\u200d\ufe0f" or "\U0001f3fb" <= char <= "\U0001f3ff"
    return joins or unicodedata.category(char) in ("Mn", "Mc", "Me")


def _trimmed(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    while end > start and text[end - 1].isspace():
        end -= 1
    while start < end and text[start] == "\n":
        start += 1
    if end > start:
        yield start, end
