"""Two runs question by question: how far they are apart, and whether chance alone could have done it.

The test is the paired randomisation test (Smucker, Allan and Carterette 2007): were the two runs alike, each question's difference
might as well have had the other sign. The interval is the percentile bootstrap's (Efron 1979) over questions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from bascule.core.evaluations import EvalCase, EvalRun, Figure
from bascule.evals import metrics

ROUNDS: Final = 10_000
SURE: Final = 0.05  # p under it is taken for more than chance
_EXACT: Final = 12  # up to so many questions that differ, every one of the 2^n signs is tried
_BATCH: Final = 1_000
Verdict = Literal["better", "worse", ""]


class MetricDifference(msgspec.Struct, frozen=True, kw_only=True):
    """Of the questions that both runs measured: means, their difference (B - A), its 95 % interval and the test's p-value.
    `better`, `worse`: questions on which B is above, below A."""

    metric: str
    questions: int
    a: float
    b: float
    difference: float
    low: float
    high: float
    p: float
    better: int
    worse: int


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    """One question that came out differently: metric -> (A, B)."""

    key: str
    question: str
    changes: Mapping[str, tuple[Figure, Figure]]


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """`only_a`, `only_b`: questions that the other run did not ask."""

    a: str
    b: str
    questions: int
    only_a: int
    only_b: int
    metrics: tuple[MetricDifference, ...]
    changed: tuple[Changed, ...]


def compare(a: EvalRun, b: EvalRun, *, seed: int = 0, rounds: int = ROUNDS) -> Comparison:
    """`rounds`: of the randomisation and of the bootstrap. Times of questions are compared too, but do not count as changes."""
    ones, others = ({case.key: case for case in run.cases} for run in (a, b))
    pairs = [(ones[key], others[key]) for key in ones if key in others]
    names = list(dict.fromkeys(name for pair in pairs for case in pair for name in case.figures))
    found = [_metric(name, pairs, seed, rounds) for name in names]
    return Comparison(
        a=a.id,
        b=b.id,
        questions=len(pairs),
        only_a=len(ones) - len(pairs),
        only_b=len(others) - len(pairs),
        metrics=tuple(each for each in found if each is not None),
        changed=tuple(_changed(pairs)),
    )


def verdict(row: MetricDifference) -> Verdict:
    """Of B; "" where chance alone may have done it."""
    if row.p >= SURE or not row.difference:
        return ""
    return "worse" if (row.difference > 0) == metrics.lower_is_better(row.metric) else "better"


def _metric(name: str, pairs: Iterable[tuple[EvalCase, EvalCase]], seed: int, rounds: int) -> MetricDifference | None:
    both = [
        (x, y) for one, other in pairs if (x := one.figures.get(name)) is not None is not (y := other.figures.get(name))
    ]
    values = [(float(x), float(y)) for x, y in both if x is not None and y is not None]
    if not values:
        return None
    a, b = np.array(values).T
    apart = b - a
    low, high = interval(apart, seed, rounds)
    return MetricDifference(
        metric=name,
        questions=len(values),
        a=float(a.mean()),
        b=float(b.mean()),
        difference=float(apart.mean()),
        low=low,
        high=high,
        p=randomisation(apart, seed, rounds),
        better=int((apart > 0).sum()),
        worse=int((apart < 0).sum()),
    )


def _changed(pairs: Sequence[tuple[EvalCase, EvalCase]]) -> Iterable[Changed]:
    for one, other in pairs:
        changes: dict[str, tuple[Figure, Figure]] = {
            name: (one.figures.get(name), other.figures.get(name))
            for name in dict.fromkeys((*one.figures, *other.figures))
            if not metrics.is_time(name) and one.figures.get(name) != other.figures.get(name)
        }
        if changes:
            yield Changed(key=one.key, question=other.question or one.question, changes=changes)


def randomisation(apart: NDArray[Any], seed: int = 0, rounds: int = ROUNDS) -> float:
    """Two-sided p-value that paired differences have the mean 0."""
    moved = apart[apart != 0]
    if not len(moved):
        return 1.0
    least = abs(moved.sum()) * (1 - 1e-12)
    if len(moved) <= _EXACT:
        every = (np.arange(2 ** len(moved))[:, None] >> np.arange(len(moved))) & 1
        return float((np.abs((every * 2 - 1) @ moved) >= least).mean())
    rng, hits = np.random.default_rng(seed), 0
    for at in range(0, rounds, _BATCH):
        signs = rng.integers(0, 2, (min(_BATCH, rounds - at), len(moved)), dtype=np.int8) * 2 - 1
        hits += int((np.abs(signs @ moved) >= least).sum())
    return (hits + 1) / (rounds + 1)


def interval(values: NDArray[Any], seed: int = 0, rounds: int = ROUNDS) -> tuple[float, float]:
    """95 % bootstrap interval of the mean."""
    rng, means = np.random.default_rng(seed), []
    for at in range(0, rounds, _BATCH):
        drawn = rng.integers(0, len(values), (min(_BATCH, rounds - at), len(values)))
        means.append(values[drawn].mean(axis=1))
    low, high = np.percentile(np.concatenate(means), (2.5, 97.5))
    return float(low), float(high)
