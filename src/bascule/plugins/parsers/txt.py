"""Plain text: paragraphs at blank lines, underlined headings (reStructuredText's convention), lists, indented code."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from typing import Final

from bascule.core.errors import IngestError
from bascule.core.parsing import Block, BlockKind, ParsedDocument, Parser

_PARAGRAPH_GAP: Final = re.compile(r"\n(?:[ \t]*\n)+")
_UNDERLINE: Final = re.compile(r"([=\-*~^#\"'+.])\1{2,}")
_BULLET: Final = re.compile(r"\s*(?:[-*+•]|\d{1,3}[.)]|\(?[a-z][.)])\s+\S")
_MAX_HEADING_CHARS: Final = 200
_CODE_INDENT: Final = "   "


class TextParser:
    def parse(self, data: bytes, name: str) -> ParsedDocument:
        text = (
            data.decode("utf-8-sig", errors="replace").replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n\n")
        )
        blocks = tuple(_blocks(text))
        if not blocks:
            raise IngestError("The file has no text in it. Check the export that made it.", reason="empty")
        title = next((b.text for b in blocks[:3] if b.kind == "heading"), "")
        return ParsedDocument(title=title, blocks=blocks)


def _blocks(text: str) -> Iterator[Block]:
    marks: list[str] = []  # underline characters in order of appearance: the first is the outermost level
    before = ""
    for paragraph in _PARAGRAPH_GAP.split(text):
        lines = [line.rstrip() for line in paragraph.split("\n")]
        lines = [line for line in lines if line]
        while (heading := _heading(lines)) is not None:
            title, mark, used = heading
            if mark not in marks:
                marks.append(mark)
            yield Block(kind="heading", text=title, level=min(marks.index(mark) + 1, 6))
            lines, before = lines[used:], ""
        if lines:
            block = _body(lines, before)
            before = block.text
            yield block


def _heading(lines: list[str]) -> tuple[str, str, int] | None:
    """(title, its mark, lines used) of `Title` over `=====`, or between two such lines."""
    for at in (0, 1):
        if len(lines) < at + 2 or (at == 1 and not _UNDERLINE.fullmatch(lines[0])):
            continue
        title, under = lines[at].strip(), lines[at + 1]
        if _UNDERLINE.fullmatch(under) and len(under) >= len(title) * 0.8 and _is_title(title):
            return title, under[0] * (at + 1), at + 2
    return None


def _is_title(line: str) -> bool:
    return 0 < len(line) <= _MAX_HEADING_CHARS and not _UNDERLINE.fullmatch(line)


def _body(lines: list[str], before: str) -> Block:
    text = textwrap.dedent("\n".join(lines))
    kind: BlockKind = "paragraph"
    if sum(1 for line in lines if _BULLET.match(line)) * 2 >= len(lines) and _BULLET.match(lines[0]):
        kind = "list"
    elif before.endswith(":") and all(line.startswith((_CODE_INDENT, "\t")) for line in lines):
        kind = "code"
    return Block(kind=kind, text=text)


parser: Parser = TextParser()
