"""How much is answered at which risk, and the page that shows it."""

from __future__ import annotations

import pytest

from bascule.evals import curve
from bascule.evals.outcomes import Outcome


def outcome(score: int | None, confidence: float | None, status: str = "answered") -> Outcome:
    return Outcome(
        question="q",
        status=status,
        answerable=True,
        score=score,
        ndcg=None,
        recall=None,
        reciprocal_rank=None,
        citation_precision=None,
        citation_recall=None,
        tokens=0,
        answer_s=0.1,
        search_s=0.1,
        confidence=confidence,
    )


def test_risk_by_coverage() -> None:
    outcomes = [
        outcome(1, 0.9),
        outcome(-1, 0.5),
        outcome(1, 0.7),
        outcome(1, 0.7),
        outcome(0, None, "refused"),
        outcome(None, 1.0),
    ]
    found = curve.points(outcomes)
    assert [(p.confidence, p.coverage, p.risk) for p in found] == [(0.9, 0.2, 0.0), (0.7, 0.6, 0.0), (0.5, 0.8, 0.25)]
    assert curve.area(found) == pytest.approx(0.25 * 0.2 / 0.8)
    assert curve.area([]) is None


def test_a_page_shows_text_as_text_and_gets_nothing_from_elsewhere() -> None:
    page = curve.page("<script>x</script>", [("a<b", "1")], [("<i>", [curve.Point(0.5, 1.0, 0.2)])])
    assert "<script" not in page
    assert "<i>" not in page
    assert "&lt;i&gt;" in page
    assert page.count("http") == 1, "the name of SVG alone"
