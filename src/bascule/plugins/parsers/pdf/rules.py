"""The ruled lines of a page, and the grids they make: columns and rows of cells, some of them joined."""

from __future__ import annotations

import ctypes
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal

import msgspec
import pypdfium2.raw as raw

from bascule.plugins.parsers.pdf.hidden import Box, Matrix, Placed, matrix_of, multiply

_THIN_PT: Final = 2.5
_NEAR_PT: Final = 3.0
_SHORTEST_PT: Final = 6.0
_MAX_SEGMENTS: Final = 4_000  # of one path
_MAX_RULES: Final = 1_200  # of one page; what has more is a drawing


class Rule(msgspec.Struct, frozen=True):
    """A line along one axis: `at` on the other axis, from `start` to `end` on its own."""

    axis: Literal["x", "y"]
    at: float
    start: float
    end: float


class Grid(msgspec.Struct, frozen=True):
    """`xs` from left to right, `ys` from top to bottom; the rules tell which neighbouring cells are one."""

    xs: tuple[float, ...]
    ys: tuple[float, ...]
    rules: tuple[Rule, ...]

    @property
    def box(self) -> Box:
        return (self.xs[0], self.ys[-1], self.xs[-1], self.ys[0])

    def cell(self, x: float, y: float) -> tuple[int, int]:
        """(row, column) of the cell that holds the point; of cells that are one, the first."""
        column = sum(edge <= x for edge in self.xs[1:-1])
        row = sum(edge >= y for edge in self.ys[1:-1])
        while column and not self._parts("y", self.xs[column], y):
            column -= 1
        while row and not self._parts("x", self.ys[row], x):
            row -= 1
        return row, column

    def _parts(self, axis: str, at: float, through: float) -> bool:
        return any(
            rule.axis == axis
            and abs(rule.at - at) <= _NEAR_PT
            and rule.start - _NEAR_PT <= through <= rule.end + _NEAR_PT
            for rule in self.rules
        )


def grids(objects: Sequence[Placed]) -> list[Grid]:
    """Grids of two rows and two columns at least."""
    rules: list[Rule] = []
    for item in objects:
        if item.kind == raw.FPDF_PAGEOBJ_PATH:
            rules.extend(_rules(item))
            if len(rules) > _MAX_RULES:
                return []
    found = []
    for group in _touching(rules):
        xs = _apart(rule.at for rule in group if rule.axis == "y")
        ys = _apart(rule.at for rule in group if rule.axis == "x")
        if len(xs) > 2 and len(ys) > 2:
            found.append(Grid(tuple(xs), tuple(reversed(ys)), tuple(group)))
    return found


def _rules(item: Placed) -> Iterator[Rule]:
    left, bottom, right, top = item.box
    wide, high = right - left, top - bottom
    if high <= _THIN_PT < wide:
        yield from _long("x", (top + bottom) / 2, left, right)
    elif wide <= _THIN_PT < high:
        yield from _long("y", (left + right) / 2, bottom, top)
    elif wide > _THIN_PT and 0 < raw.FPDFPath_CountSegments(item.handle) <= _MAX_SEGMENTS:
        yield from _edges(item)


def _long(axis: Literal["x", "y"], at: float, start: float, end: float) -> Iterator[Rule]:
    if end - start >= _SHORTEST_PT:
        yield Rule(axis, at, start, end)


def _edges(item: Placed) -> Iterator[Rule]:
    """The straight edges of a path of several lines or rectangles."""
    matrix = multiply(matrix_of(item.handle), item.matrix)
    first = before = (0.0, 0.0)
    for index in range(raw.FPDFPath_CountSegments(item.handle)):
        segment = raw.FPDFPath_GetPathSegment(item.handle, index)
        now = _point(segment, matrix)
        kind = raw.FPDFPathSegment_GetType(segment)
        if kind == raw.FPDF_SEGMENT_MOVETO:
            first = now
        elif kind == raw.FPDF_SEGMENT_LINETO:
            yield from _edge(before, now)
        if raw.FPDFPathSegment_GetClose(segment):
            yield from _edge(now, first)
        before = now


def _point(segment: Any, matrix: Matrix) -> tuple[float, float]:
    x, y = ctypes.c_float(), ctypes.c_float()
    raw.FPDFPathSegment_GetPoint(segment, x, y)
    a, b, c, d, e, f = matrix
    return (a * x.value + c * y.value + e, b * x.value + d * y.value + f)


def _edge(one: tuple[float, float], two: tuple[float, float]) -> Iterator[Rule]:
    (left, right), (bottom, top) = sorted((one[0], two[0])), sorted((one[1], two[1]))
    if top - bottom <= 0.5:
        yield from _long("x", one[1], left, right)
    elif right - left <= 0.5:
        yield from _long("y", one[0], bottom, top)


def _touching(rules: Sequence[Rule]) -> list[list[Rule]]:
    """Groups of rules that cross or meet each other."""
    parents = list(range(len(rules)))

    def root(index: int) -> int:
        while parents[index] != index:
            parents[index] = parents[parents[index]]
            index = parents[index]
        return index

    level = [index for index, rule in enumerate(rules) if rule.axis == "x"]
    upright = [index for index, rule in enumerate(rules) if rule.axis == "y"]
    for one in level:
        for two in upright:
            if _meet(rules[one], rules[two]):
                parents[root(one)] = root(two)
    groups: dict[int, list[Rule]] = defaultdict(list)
    for index, rule in enumerate(rules):
        groups[root(index)].append(rule)
    return [group for group in groups.values() if len(group) >= 4]


def _meet(level: Rule, upright: Rule) -> bool:
    return (
        level.start - _NEAR_PT <= upright.at <= level.end + _NEAR_PT
        and upright.start - _NEAR_PT <= level.at <= upright.end + _NEAR_PT
    )


def _apart(values: Iterator[float]) -> list[float]:
    found: list[float] = []
    for value in sorted(values):
        if not found or value - found[-1] > _NEAR_PT:
            found.append(value)
    return found
