"""Several evaluation runs drawn together: one figure over the runs, a line for each set. An SVG that fetches nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from markupsafe import Markup

_WIDE, _HIGH, _LEFT, _FOOT, _TOP, _RIGHT = 720, 240, 52, 28, 14, 14
LINES: Final = 6  # as many inks as the stylesheet has
_DOT: Final = Markup(
    '<a href="/console/evaluations/{id}"><circle class="ink-{ink}" cx="{x}" cy="{y}" r="4"><title>{title}</title></circle></a>'
)
_LINE: Final = Markup('<polyline class="line-{ink}" points="{points}"/>')
_RULE: Final = Markup(
    '<line x1="{left}" x2="{right}" y1="{y}" y2="{y}"/><text x="{at}" y="{below}" text-anchor="end">{value}</text>'
)
_HEAD: Final = Markup('<svg class="trend" viewBox="0 0 {} {}" role="img" aria-label="{} over the runs">')
_DAY: Final = Markup('<text x="{x}" y="{y}" text-anchor="{anchor}">{day}</text>')


class Line(msgspec.Struct, frozen=True):
    """`dots`: (run, its value), the oldest first."""

    name: str
    dots: list[tuple[Mapping[str, Any], float]]


def lines(runs: Sequence[Mapping[str, Any]], metric: str) -> list[Line]:
    """The sets that were measured last, at most as many as there are inks."""
    found: dict[str, Line] = {}
    for run in runs:  # the newest first
        value = run["figures"].get(metric)
        if value is None:
            continue
        line = found.setdefault(run["name"], Line(run["name"], []))
        line.dots.insert(0, (run, float(value)))
    return list(found.values())[:LINES]


def drawing(found: Sequence[Line], metric: str) -> Markup:
    """Across: the runs in their order; up: the figure. Nothing for nothing."""
    values = [value for line in found for _, value in line.dots]
    if not values:
        return Markup("")
    low, high = min(0.0, *values), max(values)
    high = high if high > low else low + 1.0
    days = {run["id"]: run["created_at"] for line in found for run, _ in line.dots}
    order = sorted(days.items(), key=lambda pair: (pair[1], pair[0]))
    across = {id: _x(at, len(order)) for at, (id, _) in enumerate(order)}
    parts = [_HEAD.format(_WIDE, _HIGH, metric)]
    parts += [*_grid(low, high), *_days([day[:10] for _, day in order])]
    for ink, line in enumerate(found):
        spots = [(run, across[run["id"]], _y(value, low, high), value) for run, value in line.dots]
        parts.append(_LINE.format(ink=ink, points=" ".join(f"{x:.1f},{y:.1f}" for _, x, y, _ in spots)))
        for run, x, y, value in spots:
            title = f"{line.name}, {run['created_at'][:16].replace('T', ' ')}: {value:.4g}"
            parts.append(_DOT.format(id=run["id"], ink=ink, x=f"{x:.1f}", y=f"{y:.1f}", title=title))
    return Markup("").join([*parts, Markup("</svg>")])


def _grid(low: float, high: float) -> list[Markup]:
    rows = []
    for tick in range(5):
        value = low + (high - low) * tick / 4
        y = _y(value, low, high)
        rows.append(
            _RULE.format(
                left=_LEFT, right=_WIDE - _RIGHT, y=f"{y:.1f}", at=_LEFT - 6, below=f"{y + 4:.1f}", value=f"{value:.3g}"
            )
        )
    return rows


def _days(days: Sequence[str]) -> list[Markup]:
    """The first and the last run's day."""
    ends = [(0, "start")] if len(days) == 1 else [(0, "start"), (len(days) - 1, "end")]
    return [_DAY.format(x=f"{_x(at, len(days)):.1f}", y=_HIGH - 6, anchor=anchor, day=days[at]) for at, anchor in ends]


def _x(at: int, of: int) -> float:
    return _LEFT + (_WIDE - _LEFT - _RIGHT) * (at / (of - 1) if of > 1 else 0.5)


def _y(value: float, low: float, high: float) -> float:
    return _TOP + (_HIGH - _TOP - _FOOT) * (1 - (value - low) / (high - low))
