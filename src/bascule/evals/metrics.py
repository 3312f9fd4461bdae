"""Figures of merit for rankings and answers, on plain data."""

from __future__ import annotations

import math
from collections.abc import Sequence

_LOWER = ("cost_usd", "tokens", "risk", "risk_coverage_area", "leaked")


def ndcg(ranked: Sequence[str], relevant: frozenset[str], k: int) -> float:
    """Normalised discounted cumulative gain at `k` with binary relevance (Järvelin and Kekäläinen 2002), 0..1.

    A document counts at its first place only, so that several passages of one document earn nothing twice.
    """
    gain = sum(1 / math.log2(at + 2) for at, name in enumerate(first_places(ranked)[:k]) if name in relevant)
    ideal = sum(1 / math.log2(at + 2) for at in range(min(k, len(relevant))))
    return gain / ideal if ideal else 0.0


def recall(ranked: Sequence[str], relevant: frozenset[str], k: int) -> float:
    """Share of the relevant documents among the first `k`."""
    return len(relevant & set(first_places(ranked)[:k])) / len(relevant) if relevant else 0.0


def reciprocal_rank(ranked: Sequence[str], relevant: frozenset[str]) -> float:
    """1 / the place of the first relevant document; 0 when there is none."""
    return next((1 / (at + 1) for at, name in enumerate(first_places(ranked)) if name in relevant), 0.0)


def first_places(ranked: Sequence[str]) -> list[str]:
    """Each name once, in the order of its first appearance."""
    return list(dict.fromkeys(ranked))


def mean(values: Sequence[float]) -> float | None:
    """None for no values: a metric nothing was measured for is not 0."""
    return sum(values) / len(values) if values else None


def percentile(values: Sequence[float], share: float) -> float | None:
    """The nearest-rank percentile; None for no values."""
    if not values:
        return None
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def wilson(values: Sequence[float]) -> tuple[float | None, float | None]:
    """The 95 % interval of a share (Wilson 1927), from its zeros and ones; None for no values."""
    if not values:
        return None, None
    n, p, z = len(values), sum(values) / len(values), 1.959964
    middle, spread = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    whole = 1 + z * z / n
    return max(0.0, (middle - spread) / whole), min(1.0, (middle + spread) / whole)


def is_time(name: str) -> bool:
    """Whether a figure is a time, which is never the same twice; higher is worse."""
    return name.split("_p")[0].endswith("_s")


def lower_is_better(name: str) -> bool:
    return is_time(name) or name.startswith("attack") or name in _LOWER
