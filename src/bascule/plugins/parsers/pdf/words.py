"""The words of a page with their places, and runs of words that stand in one cell: nothing wider than a space between them."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
import pypdfium2.raw as raw

from bascule.plugins.parsers.pdf.hidden import Box

_MAX_CHARS: Final = 60_000  # of one page
_GAP: Final = 0.35  # of a letter's height: wider, and it is another word
_CELL_GAP: Final = 0.9  # and another cell
_PROSE_WIDTH: Final = 14  # in heights of letters


class Word(msgspec.Struct, frozen=True):
    text: str
    box: Box

    @property
    def height(self) -> float:
        return self.box[3] - self.box[1]

    @property
    def middle(self) -> tuple[float, float]:
        return ((self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2)


def has_columns(textpage: Any) -> bool:
    """Whether three lines or more have a gap as wide as between cells: cheap, and wrong only towards yes."""
    count = min(raw.FPDFText_CountRects(textpage, 0, -1), _MAX_CHARS)
    if count < 6:
        return False
    return sum(_is_row(run) for run in runs(_rect(textpage, index) for index in range(count))) >= 3


def _is_row(cells: Sequence[Word]) -> bool:
    """Several runs, of which one at most is as wide as a column of prose."""
    return len(cells) > 1 and sum(cell.box[2] - cell.box[0] > _PROSE_WIDTH * cell.height for cell in cells) < 2


def _rect(textpage: Any, index: int) -> Word:
    left, top, right, bottom = (ctypes.c_double() for _ in range(4))
    raw.FPDFText_GetRect(textpage, index, left, top, right, bottom)
    return Word("", (left.value, bottom.value, right.value, top.value))


def words(textpage: Any) -> list[Word]:
    """In the order of the page's content; none for a page of more letters than a reader would read."""
    count = textpage.count_chars()
    if count > _MAX_CHARS:
        return []
    found: list[Word] = []
    letters: list[str] = []
    box: Box | None = None
    place = raw.FS_RECTF()
    for index in range(count):
        char = _char(raw.FPDFText_GetUnicode(textpage, index))
        if not char.strip() or not raw.FPDFText_GetLooseCharBox(textpage, index, place):
            _end(found, letters, box)
            box = None
            continue
        now = (place.left, place.bottom, place.right, place.top)
        if box is not None and not _joins(box, now):
            _end(found, letters, box)
            box = None
        letters.append(char)
        box = now if box is None else _around((box, now))
    _end(found, letters, box)
    return found


def _char(code: int) -> str:
    return "" if code in (0, 0xFFFE, 0xFFFF) or code > 0x10FFFF else chr(code)


def _end(found: list[Word], letters: list[str], box: Box | None) -> None:
    if box is not None:
        found.append(Word("".join(letters), box))
        letters.clear()


def _joins(box: Box, now: Box) -> bool:
    return now[0] >= box[2] - 0.5 * (box[3] - box[1]) - 1 and _same_line(box, now) and _gap(box, now) <= _GAP


def _gap(left: Box, right: Box) -> float:
    """Between two boxes, in heights of letters."""
    return (right[0] - left[2]) / max(1.0, min(left[3] - left[1], right[3] - right[1]))


def _same_line(one: Box, two: Box) -> bool:
    shared = min(one[3], two[3]) - max(one[1], two[1])
    return shared > 0.5 * min(one[3] - one[1], two[3] - two[1])


def _around(boxes: Sequence[Box]) -> Box:
    return (
        min(box[0] for box in boxes),
        min(box[1] for box in boxes),
        max(box[2] for box in boxes),
        max(box[3] for box in boxes),
    )


def runs(found: Iterable[Word]) -> list[list[Word]]:
    """Lines from top to bottom, each cut into runs of words as cells would hold them, from left to right."""
    lines: list[list[Word]] = []
    for word in sorted(found, key=lambda word: -word.middle[1]):
        if lines and _same_line(lines[-1][0].box, word.box):
            lines[-1].append(word)
        else:
            lines.append([word])
    return [_cells(sorted(line, key=lambda word: word.box[0])) for line in lines]


def _cells(line: Sequence[Word]) -> list[Word]:
    groups = [[line[0]]]
    for before, word in itertools.pairwise(line):
        if _gap(before.box, word.box) > _CELL_GAP:
            groups.append([word])
        else:
            groups[-1].append(word)
    return [Word(" ".join(word.text for word in group), _around([word.box for word in group])) for group in groups]
