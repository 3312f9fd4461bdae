"""Lines of text to blocks: headings by the size and weight of their letters, lists by their marks, tables as they were found."""

from __future__ import annotations

import ctypes
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
import pypdfium2.raw as raw

from bascule.core.parsing import Block, BlockKind

_BULLET: Final = re.compile(r"(?:[-*•‣◦▪–·●○■]|\d{1,3}[.)]|[a-z][.)])\s+\S")
_HYPHENS: Final = ("\x02", "\xad")
_BOLD_WEIGHT: Final = 600


class Line(msgspec.Struct, frozen=True):
    """One line of text and how it is set; `height` and positions in points, 0 where pdfium gives none."""

    page: int
    text: str
    height: float
    bold: bool
    top: float
    bottom: float
    left: float = 0.0
    right: float = 0.0

    @property
    def middle(self) -> tuple[float, float]:
        """Of its first letter."""
        return ((self.left + self.right) / 2, (self.top + self.bottom) / 2)


def lines_of(textpage: Any, page: int) -> list[Line]:
    if textpage.count_chars() <= 0:
        return []
    text, found, offset = textpage.get_text_range(), [], 0
    for line in text.split("\r\n"):
        stripped = line.strip()  # pdfium marks the hyphen of a word broken at a line's end as U+FFFE
        if stripped:
            at = raw.FPDFText_GetCharIndexFromTextIndex(textpage, offset + line.index(stripped))
            found.append(_line(textpage, page, stripped.replace("\ufffe", ""), at))
        offset += len(line) + 2
    return found


def _line(textpage: Any, page: int, text: str, at: int) -> Line:
    box = raw.FS_RECTF()
    if at < 0 or not raw.FPDFText_GetLooseCharBox(textpage, at, box):
        return Line(page, text, 0.0, False, 0.0, 0.0)
    bold = raw.FPDFText_GetFontWeight(textpage, at) >= _BOLD_WEIGHT or b"bold" in _font_name(textpage, at)
    return Line(page, text, round(abs(box.top - box.bottom), 1), bold, box.top, box.bottom, box.left, box.right)


def _font_name(textpage: Any, at: int) -> bytes:
    """Lower case; fonts without a descriptor say their weight in their name alone."""
    name, flags = ctypes.create_string_buffer(64), ctypes.c_int()
    length = raw.FPDFText_GetFontInfo(textpage, at, name, len(name), flags)
    return name.value.lower() if 0 < length <= len(name) else b""


def blocks_of(items: Sequence[Line | Block]) -> Iterator[Block]:
    lines = [item for item in items if isinstance(item, Line)]
    body = _body_height(lines)
    mostly_bold = sum(len(line.text) for line in lines if line.bold) * 2 > sum(len(line.text) for line in lines)
    sizes = sorted({line.height for line in lines if _is_larger(line, body)}, reverse=True)
    group: list[Line] = []
    level = 0
    table: Block | None = None
    for item in items:
        now = _level(item, body, sizes, mostly_bold) if isinstance(item, Line) else 0
        if group and (isinstance(item, Block) or now != level or _starts_anew(group[-1], item)):
            yield _block(group, level)
            group = []
        if isinstance(item, Block):
            table = item if table is None else _continued(table, item)
            yield table
            continue
        level, table = now, None
        group.append(item)
    if group:
        yield _block(group, level)


def _continued(before: Block, table: Block) -> Block:
    """A table on the next page that has no header of its own has the header of the one it goes on with."""
    header, fits = before.rows[0], len(before.rows[0]) == len(table.rows[0])
    if not fits or any(table.rows[0]) or not any(header) or before.page == table.page:
        return table
    return Block(
        kind="table", text=" | ".join(header) + "\n" + table.text, rows=(header, *table.rows[1:]), page=table.page
    )


def _body_height(lines: Sequence[Line]) -> float:
    weights: Counter[float] = Counter()
    for line in lines:
        weights[line.height] += len(line.text)
    return weights.most_common(1)[0][0] if weights else 0.0


def _is_larger(line: Line, body: float) -> bool:
    return bool(body and line.height >= 1.15 * body and len(line.text) <= 150)


def _level(line: Line, body: float, sizes: Sequence[float], mostly_bold: bool) -> int:
    """1..6 for a heading, 0 for anything else."""
    if _is_larger(line, body):
        return min(sizes.index(line.height) + 1, 6)
    if line.bold and not mostly_bold and len(line.text) <= 80 and line.text[-1] not in ".,;":
        return min(len(sizes) + 1, 6)
    return 0


def _starts_anew(before: Line, line: Line) -> bool:
    if before.page != line.page or _BULLET.match(line.text):
        return before.page != line.page or not _BULLET.match(before.text)
    if not before.height or not line.height:
        return False
    return before.bottom - line.top > 0.5 * line.height or line.bottom > before.top


def _block(group: Sequence[Line], level: int) -> Block:
    kind: BlockKind = "heading" if level else "list" if _BULLET.match(group[0].text) else "paragraph"
    return Block(kind=kind, text=_joined(group), level=level, page=group[0].page)


def _joined(group: Sequence[Line]) -> str:
    text = ""
    for line in group:
        if text.endswith(_HYPHENS) or (text.endswith("-") and text[-2:-1].isalpha() and line.text[0].islower()):
            text = text[:-1] + line.text
        elif text:
            text += ("\n" if _BULLET.match(line.text) else " ") + line.text
        else:
            text = line.text
    for mark in _HYPHENS:
        text = text.removesuffix(mark)
    return text
