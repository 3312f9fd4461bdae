"""Lines of text found in a picture, in reading order: columns of prose one after the other, all else from top to bottom."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Final

from bascule.core.parsing import Recognised
from bascule.plugins.parsers.pdf.lines import Line

_MAX_DEPTH: Final = 12
_GUTTER: Final = 1.0  # in heights of lines: narrower, and it is a space
_BAND: Final = 0.5
_COLUMN_LINES: Final = 3
_PROSE_WIDTH: Final = 8.0
_STEP: Final = 1.4  # between heights that are told apart: the boxes around letters are no finer measure


def in_order(lines: Sequence[Recognised]) -> list[Recognised]:
    return _ordered(list(lines), _usual_height(lines), 0)


def lines_of(found: Sequence[Recognised], page: int, points: float = 1.0) -> list[Line]:
    """As lines of a page whose up is up; `points` is the size of a pixel."""
    usual = _usual_height(found)
    return [
        Line(
            page=page,
            text=one.text,
            height=round(_stepped_height(one, usual) * points, 1),
            bold=False,
            top=-one.box[1] * points,
            bottom=-one.box[3] * points,
            left=one.box[0] * points,
            right=one.box[2] * points,
        )
        for one in found
    ]


def _usual_height(lines: Sequence[Recognised]) -> float:
    return statistics.median(line.box[3] - line.box[1] for line in lines) if lines else 0.0


def _stepped_height(line: Recognised, usual: float) -> float:
    """Its height in steps from the usual one, so that lines of one size have one height."""
    height = line.box[3] - line.box[1]
    return usual * _STEP ** round(math.log(height / usual, _STEP)) if height > 0 < usual else height


def _ordered(lines: list[Recognised], height: float, depth: int) -> list[Recognised]:
    if depth < _MAX_DEPTH and len(lines) >= 2 * _COLUMN_LINES:
        for first, second in (_columns(lines, height), _bands(lines, height)):
            if first and second:
                return _ordered(first, height, depth + 1) + _ordered(second, height, depth + 1)
    return _rows(lines)


def _columns(lines: list[Recognised], height: float) -> tuple[list[Recognised], list[Recognised]]:
    """Left and right of the widest gap that no line crosses, where both sides look like prose, not like cells."""
    left, right = _cut(lines, 0, _GUTTER * height)
    return (left, right) if _is_prose(left, height) and _is_prose(right, height) else ([], [])


def _bands(lines: list[Recognised], height: float) -> tuple[list[Recognised], list[Recognised]]:
    return _cut(lines, 1, _BAND * height)


def _cut(lines: list[Recognised], axis: int, least: float) -> tuple[list[Recognised], list[Recognised]]:
    """Before and after the widest gap on an axis (0: from left to right), which is at least `least`; or nothing."""
    by_start = sorted(lines, key=lambda line: line.box[axis])
    best, at, end = least, 0, by_start[0].box[axis + 2]
    for index, line in enumerate(by_start):
        if line.box[axis] - end >= best:
            best, at = line.box[axis] - end, index
        end = max(end, line.box[axis + 2])
    return (by_start[:at], by_start[at:]) if at else ([], [])


def _is_prose(lines: Sequence[Recognised], height: float) -> bool:
    widths = [line.box[2] - line.box[0] for line in lines]
    return len(lines) >= _COLUMN_LINES and statistics.median(widths) >= _PROSE_WIDTH * height


def _rows(lines: Sequence[Recognised]) -> list[Recognised]:
    """From top to bottom; what stands on one line, from left to right."""
    rows: list[list[Recognised]] = []
    for line in sorted(lines, key=lambda line: line.box[1] + line.box[3]):
        if rows and _same_row(rows[-1][0], line):
            rows[-1].append(line)
        else:
            rows.append([line])
    return [line for row in rows for line in sorted(row, key=lambda line: line.box[0])]


def _same_row(one: Recognised, two: Recognised) -> bool:
    shared = min(one.box[3], two.box[3]) - max(one.box[1], two.box[1])
    return shared > 0.5 * min(one.box[3] - one.box[1], two.box[3] - two.box[1])
