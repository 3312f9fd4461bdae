"""Usage drawn as columns: one for each day, stacked by model. An SVG that fetches nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any, Final

import msgspec
from markupsafe import Markup

_WIDE, _HIGH, _LEFT, _FOOT, _TOP = 720, 200, 56, 24, 10
_LINES: Final = 6  # as many inks as the stylesheet has; what is more is drawn in the last
_HEAD: Final = Markup('<svg class="trend" viewBox="0 0 {} {}" role="img" aria-label="{} by day">')
_PART: Final = Markup(
    '<rect class="ink-{ink}" x="{x}" y="{y}" width="{wide}" height="{high}"><title>{title}</title></rect>'
)
_RULE: Final = Markup(
    '<line x1="{left}" x2="{right}" y1="{y}" y2="{y}"/><text x="{at}" y="{below}" text-anchor="end">{value}</text>'
)
_DAY: Final = Markup('<text x="{x}" y="{y}" text-anchor="{anchor}">{day}</text>')


class Stack(msgspec.Struct, frozen=True):
    """`parts`: (ink, model, value), the same order every day."""

    day: str
    parts: list[tuple[int, str, float]]


def inks(usage: Sequence[Mapping[str, Any]], figure: str) -> dict[str, int]:
    """Each model's ink, the largest first."""
    sums: dict[str, float] = {}
    for row in usage:
        sums[row["model"]] = sums.get(row["model"], 0.0) + row[figure]
    ordered = sorted((name for name, value in sums.items() if value), key=lambda name: (-sums[name], name))
    return {name: min(at, _LINES - 1) for at, name in enumerate(ordered)}


def stacks(usage: Sequence[Mapping[str, Any]], figure: str, today: date, days: int) -> list[Stack]:
    """The oldest day first; a day without calls has no parts."""
    known = inks(usage, figure)
    found = {(today - timedelta(days=back)).isoformat(): dict[str, float]() for back in reversed(range(days))}
    for row in usage:
        if row["day"] in found and row["model"] in known:
            into = found[row["day"]]
            into[row["model"]] = into.get(row["model"], 0.0) + row[figure]
    return [
        Stack(day, [(ink, name, into[name]) for name, ink in known.items() if name in into])
        for day, into in found.items()
    ]


def drawing(found: Sequence[Stack], title: str) -> Markup:
    """Nothing for nothing."""
    high = max((sum(value for _, _, value in stack.parts) for stack in found), default=0.0)
    if not high:
        return Markup("")
    parts = [_HEAD.format(_WIDE, _HIGH, title)]
    for tick in range(5):
        y = _y(high * tick / 4, high)
        value = f"{high * tick / 4:.3g}"
        parts.append(
            _RULE.format(left=_LEFT, right=_WIDE, y=f"{y:.1f}", at=_LEFT - 6, below=f"{y + 4:.1f}", value=value)
        )
    step = (_WIDE - _LEFT) / len(found)
    for at, stack in enumerate(found):
        parts += _column(stack, _LEFT + at * step, step, high)
    parts.append(_DAY.format(x=_LEFT, y=_HIGH - 6, anchor="start", day=found[0].day))
    parts.append(_DAY.format(x=_WIDE, y=_HIGH - 6, anchor="end", day=found[-1].day))
    return Markup("").join([*parts, Markup("</svg>")])


def _column(stack: Stack, x: float, step: float, high: float) -> list[Markup]:
    made, below = [], 0.0
    for ink, name, value in stack.parts:
        top, foot = _y(below + value, high), _y(below, high)
        title = f"{stack.day}, {name}: {value:,.6g}"
        spot = {
            "x": f"{x + 0.12 * step:.1f}",
            "y": f"{top:.1f}",
            "wide": f"{0.76 * step:.1f}",
            "high": f"{foot - top:.1f}",
        }
        made.append(_PART.format(ink=ink, title=title, **spot))
        below += value
    return made


def _y(value: float, high: float) -> float:
    return _TOP + (_HIGH - _TOP - _FOOT) * (1 - value / high)
