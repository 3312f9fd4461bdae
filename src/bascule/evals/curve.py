"""How much is answered at which risk (El-Yaniv and Wiener 2010): answers in the order of their own confidence, and the share of
wrong ones among those that would be given if only the surest were."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

import msgspec

from bascule.evals.outcomes import Outcome

_WIDE, _HIGH, _EDGE = 520, 300, 44
_INK: Final = ("#0b6e99", "#b3541e")


class Point(msgspec.Struct, frozen=True):
    """`coverage`: share of all judged questions that are answered when nothing below `confidence` is. `risk`: of those, wrong."""

    confidence: float
    coverage: float
    risk: float


def points(outcomes: Sequence[Outcome]) -> list[Point]:
    """One for each confidence that occurs, the surest first. Unanswerable questions that were answered count as wrong."""
    return points_of([(o.confidence, o.score, o.status) for o in outcomes])


def points_of(told: Sequence[tuple[float | None, float | None, str]]) -> list[Point]:
    """The same from (confidence, score, status) of each question, as kept runs have them."""
    judged = [(sure, score, status) for sure, score, status in told if score is not None]
    given = sorted(
        ((sure, score) for sure, score, status in judged if sure is not None and status != "refused"),
        key=lambda pair: -pair[0],
    )
    found: list[Point] = []
    wrong = 0
    for number, (confidence, score) in enumerate(given, start=1):
        wrong += score < 1
        if number == len(given) or given[number][0] < confidence:
            found.append(Point(confidence, number / len(judged), wrong / number))
    return found


def area(found: Sequence[Point]) -> float | None:
    """The mean risk over the coverage reached (AURC); None without answers."""
    if not found:
        return None
    total, last = 0.0, 0.0
    for point in found:
        total += (point.coverage - last) * point.risk
        last = point.coverage
    return total / last


def page(title: str, figures: Sequence[tuple[str, str]], curves: Sequence[tuple[str, Sequence[Point]]]) -> str:
    """An HTML page of its own: the figures as a table, the curves as one drawing. Nothing in it is fetched."""
    rows = "".join(f"<tr><th scope=row>{escape(n)}</th><td>{escape(v)}</td></tr>" for n, v in figures)
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        f"<title>{escape(title)}</title><style>body{{font:16px/1.5 system-ui;margin:2rem auto;max-width:44rem;padding:0 1rem}}"
        "th{text-align:left;font-weight:400;padding-right:2rem}td{text-align:right;font-variant-numeric:tabular-nums}"
        "svg{width:100%;height:auto}</style>"
        f"<h1>{escape(title)}</h1><table>{rows}</table><h2>Risk by coverage</h2>{drawing(curves)}</html>\n"
    )


def drawing(curves: Sequence[tuple[str, Sequence[Point]]]) -> str:
    """An SVG. Across: coverage 0..1; up: risk, from 0 to the next tenth over the highest."""
    top = max([0.1, *(point.risk for _, found in curves for point in found)])
    top = min(1.0, -(-top * 10 // 1) / 10)
    parts = [
        f'<svg viewBox="0 0 {_WIDE} {_HIGH}" role="img" aria-label="Risk by coverage" xmlns="http://www.w3.org/2000/svg">',
        f'<g font-size="12" fill="currentColor" stroke="currentColor" stroke-opacity=".25" stroke-width="1">{_grid(top)}</g>',
    ]
    for number, (name, found) in enumerate(curves):
        ink = _INK[number % len(_INK)]
        line = " ".join(f"{_x(p.coverage):.1f},{_y(p.risk, top):.1f}" for p in found)
        parts.append(f'<polyline fill="none" stroke="{ink}" stroke-width="2" points="{line}"/>')
        parts.append(f'<text x="{_EDGE + 8}" y="{24 + 16 * number}" font-size="13" fill="{ink}">{escape(name)}</text>')
    return "".join([*parts, "</svg>"])


def _grid(top: float) -> str:
    lines = []
    for tick in range(5):
        share = tick / 4
        x, y = _x(share), _y(share * top, top)
        lines.append(f'<line x1="{_EDGE}" x2="{_WIDE - 10}" y1="{y:.1f}" y2="{y:.1f}"/>')
        lines.append(f'<text stroke="none" x="{_EDGE - 6}" y="{y + 4:.1f}" text-anchor="end">{share * top:.0%}</text>')
        lines.append(
            f'<text stroke="none" x="{x:.1f}" y="{_HIGH - 14}" text-anchor="{"end" if tick == 4 else "middle"}">{share:.0%}</text>'
        )
    return "".join(lines)


def _x(coverage: float) -> float:
    return _EDGE + coverage * (_WIDE - _EDGE - 10)


def _y(risk: float, top: float) -> float:
    return 10 + (1 - risk / top) * (_HIGH - 50)
