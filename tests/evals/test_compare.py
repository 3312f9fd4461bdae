"""Two runs compared: the figures against values worked out by hand, and error rates where the truth is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from bascule.core.evaluations import EvalCase, EvalRun, case_key
from bascule.evals.compare import SURE, MetricDifference, compare, interval, randomisation, verdict


def run(name: str, scores: dict[str, float | None]) -> EvalRun:
    cases = tuple(
        EvalCase(key=case_key(q), question=q, figures={"score": s, "answer_s": 1.0}) for q, s in scores.items()
    )
    return EvalRun(
        id=name, tenant="t", subject="", key_id="", created_at="", kind="golden", name=name, figures={}, cases=cases
    )


def test_questions_are_paired_and_each_change_is_told() -> None:
    a = run("a", {"one": 1, "two": -1, "three": 0, "only a": 1, "unmeasured": None})
    b = run("b", {"ONE ": 1, "two": 1, "three": 0, "only b": 0, "unmeasured": 1})
    found = compare(a, b)
    assert (found.questions, found.only_a, found.only_b) == (4, 1, 1)
    score = next(each for each in found.metrics if each.metric == "score")
    assert (score.questions, score.a, score.b, score.better, score.worse) == (3, 0, pytest.approx(2 / 3), 1, 0)
    assert score.low <= score.difference <= score.high
    assert {each.question: each.changes for each in found.changed} == {
        "two": {"score": (-1, 1)},
        "unmeasured": {"score": (None, 1)},
    }


@pytest.mark.parametrize(
    ("apart", "p"),
    [
        ([0, 0, 0], 1.0),
        ([1, 1, 1, 1, 1], 2 / 32),  # of 32 signs two are as far from 0
        ([1, -1], 1.0),
        ([3, 1], 0.5),  # 4 and -4 of 4, 2, -2, -4
    ],
)
def test_few_differences_are_tested_exactly(apart: Sequence[float], p: float) -> None:
    assert randomisation(np.array(apart, dtype=float)) == pytest.approx(p)


@pytest.mark.parametrize(
    ("metric", "difference", "p", "said"),
    [
        ("score", 0.1, SURE / 2, "better"),
        ("score", -0.1, SURE / 2, "worse"),
        ("answer_s", 0.1, SURE / 2, "worse"),
        ("answer_s", -0.1, SURE / 2, "better"),
        ("score", 0.1, SURE, ""),
        ("answer_s", 0.0, 0.0, ""),
    ],
)
def test_a_verdict_is_given_only_where_chance_alone_would_rarely_do_it(metric, difference, p, said) -> None:
    row = MetricDifference(
        metric=metric, questions=9, a=0, b=difference, difference=difference, low=0, high=0, p=p, better=0, worse=0
    )
    assert verdict(row) == said


def test_alike_runs_are_called_different_as_rarely_as_promised_and_unlike_ones_often() -> None:
    rng = np.random.default_rng(5)
    alike = [randomisation(rng.normal(0, 1, 40), rounds=400) for _ in range(300)]
    assert 0.01 < np.mean(np.array(alike) < 0.05) < 0.1
    assert np.mean([randomisation(rng.normal(0.8, 1, 40), rounds=400) < 0.05 for _ in range(50)]) > 0.9


def test_the_interval_holds_the_true_mean_nearly_as_often_as_it_says() -> None:
    rng = np.random.default_rng(6)
    held = [low <= 1 <= high for low, high in (interval(rng.normal(1, 1, 50), rounds=300) for _ in range(200))]
    assert 0.88 < np.mean(held) < 0.99
