"""Tables of a page by where its words stand: within ruled cells, or in columns with nothing but space between them.

A table is taken only when it holds exactly the letters of the lines it replaces: no word is lost and none is told twice.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any, Final

import msgspec

from bascule.core.parsing import Block
from bascule.plugins.parsers._tables import table
from bascule.plugins.parsers.pdf.hidden import Box, Placed
from bascule.plugins.parsers.pdf.lines import Line
from bascule.plugins.parsers.pdf.rules import Grid, grids
from bascule.plugins.parsers.pdf.words import Word, has_columns, runs, words

_MAX_CELL_CHARS: Final = 2_000  # more is a page laid out in frames
_MIN_FILLED: Final = 0.4
_MIN_ROWS: Final = 3  # of a table without rules
_MAX_LEADING: Final = 2.5  # between its rows, in heights of letters
_PROSE_CHARS: Final = 28  # two columns of cells as long as this are a page set in columns
_MARK: Final = re.compile(r"(?:\W{1,2}|\(?\w{1,4}[.)]|\[\w{1,6}\])")

Rows = list[list[str]]


class Found(msgspec.Struct, frozen=True):
    box: Box
    rows: Rows


def with_tables(lines: Sequence[Line], textpage: Any, objects: Sequence[Placed], page: int) -> list[Line | Block]:
    """The page's lines, those of tables replaced by the tables."""
    ruled = grids(objects)
    if not lines or not (ruled or has_columns(textpage)):
        return list(lines)
    placed = words(textpage)
    found = list(_ruled(ruled, placed))
    rest = [word for word in placed if not any(_inside(word.middle, one.box) for one in found)]
    found.extend(_aligned(rest))
    result: list[Line | Block] = list(lines)
    for one in found:
        result = _replaced(result, one, page)
    return result


def _replaced(lines: list[Line | Block], found: Found, page: int) -> list[Line | Block]:
    taken = [line for line in lines if isinstance(line, Line) and _inside(line.middle, found.box)]
    if not taken or _letters(line.text for line in taken) != _letters(cell for row in found.rows for cell in row):
        return lines
    first = lines.index(taken[0])
    gone = {id(line) for line in taken}
    kept = [line for line in lines[:first] if id(line) not in gone]
    return [*kept, table(found.rows, page=page), *(line for line in lines[first:] if id(line) not in gone)]


def _letters(texts: Iterator[str]) -> Counter[str]:
    return Counter(char for text in texts for char in text if char.isalnum())


def _inside(point: tuple[float, float], box: Box) -> bool:
    return box[0] <= point[0] <= box[2] and box[1] <= point[1] <= box[3]


def _ruled(ruled: Sequence[Grid], placed: Sequence[Word]) -> Iterator[Found]:
    for grid in ruled:
        cells: dict[tuple[int, int], list[Word]] = {}
        for word in placed:
            if _inside(word.middle, grid.box):
                cells.setdefault(grid.cell(*word.middle), []).append(word)
        rows = [
            [_text(cells.get((row, column), ())) for column in range(len(grid.xs) - 1)]
            for row in range(len(grid.ys) - 1)
        ]
        if _is_table(rows):
            yield Found(grid.box, [row for row in rows if any(row)])


def _text(placed: Sequence[Word]) -> str:
    return " ".join(cell.text for line in runs(placed) for cell in line)


def _is_table(rows: Rows) -> bool:
    filled = [cell for row in rows for cell in row if cell]
    used = [sum(1 for cell in row if cell) for row in rows]
    return (
        sum(count >= 2 for count in used) >= 2
        and len(filled) >= _MIN_FILLED * sum(len(row) for row in rows if any(row))
        and max(map(len, filled)) <= _MAX_CELL_CHARS
    )


def _aligned(placed: Sequence[Word]) -> Iterator[Found]:
    group: list[list[Word]] = []
    for line in runs(placed):
        if group and not _follows(group[-1], line):
            yield from _columns(group)
            group = []
        if len(line) > 1 or (group and _continues(group, line[0])):
            group.append(line)
        elif group:
            yield from _columns(group)
            group = []
    yield from _columns(group)


def _follows(before: Sequence[Word], line: Sequence[Word]) -> bool:
    gap = min(word.box[1] for word in before) - max(word.box[3] for word in line)
    return gap <= (_MAX_LEADING - 1) * max(word.height for word in line)


def _continues(group: Sequence[Sequence[Word]], word: Word) -> bool:
    """The rest of a cell: below one that is not its row's first, set close, and no wider than its column."""
    above = [cell for cell in group[-1] if cell.box[0] - 1 <= word.box[0] and word.box[0] < cell.box[2]]
    first_edge = min(line[0].box[2] for line in group if len(line) > 1)
    return bool(above) and word.box[0] > first_edge and above[0].box[1] - word.box[3] < 0.5 * word.height


def _columns(group: list[list[Word]]) -> Iterator[Found]:
    if sum(len(line) > 1 for line in group) < _MIN_ROWS:
        return
    spans = _spans([word for line in group for word in line])
    if len(spans) < 2:
        return
    rows: Rows = []
    for line in group:
        cells = [_text([w for w in line if left <= w.middle[0] <= right]) for left, right in spans]
        if rows and not cells[0] and len(line) < len(spans) and len(line) == 1:
            rows[-1] = [f"{a} {b}".strip() for a, b in zip(rows[-1], cells, strict=True)]
        else:
            rows.append(cells)
    if _is_table(rows) and not _is_prose(rows):
        box = (spans[0][0], min(w.box[1] for w in group[-1]), spans[-1][1], max(w.box[3] for w in group[0]))
        yield Found(box, rows)


def _spans(placed: Sequence[Word]) -> list[tuple[float, float]]:
    spans: list[tuple[float, float]] = []
    for left, right in sorted((word.box[0], word.box[2]) for word in placed):
        if spans and left <= spans[-1][1] + 1:
            spans[-1] = (spans[-1][0], max(right, spans[-1][1]))
        else:
            spans.append((left, right))
    return spans


def _is_prose(rows: Rows) -> bool:
    """A page set in columns, a list with its marks, or a form of labels."""
    first = [row[0] for row in rows if row[0]]
    if len(rows[0]) == 2 and all(_MARK.fullmatch(cell) or cell.endswith(":") for cell in first):
        return True
    lengths = [median(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return sum(length >= _PROSE_CHARS for length in lengths) > 1
