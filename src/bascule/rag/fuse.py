"""One ranking from two: after the catalogue's check, over the asker's own visible hits alone (law 1).

Weighted min-max score fusion (Bruch, Gai, Ingber 2023, "An analysis of fusion functions for hybrid retrieval") by default;
reciprocal rank fusion (Cormack, Clarke, Büttcher 2009) and distribution-based score fusion (Mazzeschi 2023) as options.
docs/decisions/fusion.md has the measurements.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal

import msgspec

from bascule.core.vectors import Candidate

RRF_K: Final = 60
SPREAD: Final = 3.0  # standard deviations on either side of the mean that make up the scale
Fusion = Literal["scores", "ranks", "distribution"]


class Fused(msgspec.Struct, frozen=True):
    """`score` is 0..1; `parts` holds each method's own share before weighting, 0..1, and `cosine` as measured."""

    chunk_id: str
    score: float
    parts: Mapping[str, float]


def clean(candidates: Sequence[Candidate], visible: Mapping[str, object]) -> dict[str, float]:
    """chunk_id -> score of what is visible, the first of a repeated id, without scores that are not numbers."""
    found: dict[str, float] = {}
    for candidate in candidates:
        if candidate.chunk_id in visible and math.isfinite(candidate.score):
            found.setdefault(candidate.chunk_id, candidate.score)
    return found


def fuse(
    dense: Mapping[str, float],
    lexical: Mapping[str, float],
    *,
    dense_weight: float = 0.3,
    method: Fusion = "scores",
) -> list[Fused]:
    """Best first, ties by chunk_id. With one method empty, the other decides alone."""
    shares = _SHARES[method]
    parts = {"dense": shares(dense), "lexical": shares(lexical)}
    weights = _weights(dense, lexical, dense_weight)
    fused = []
    for chunk_id in {**dense, **lexical}:
        own = {name: share[chunk_id] for name, share in parts.items() if chunk_id in share}
        score = sum(weights[name] * share for name, share in own.items())
        if chunk_id in dense:
            own["cosine"] = dense[chunk_id]
        fused.append(Fused(chunk_id, score, own))
    return sorted(fused, key=lambda f: (-f.score, f.chunk_id))


def _weights(dense: Mapping[str, float], lexical: Mapping[str, float], dense_weight: float) -> dict[str, float]:
    if not dense or not lexical:
        return {"dense": 1.0, "lexical": 1.0}
    return {"dense": dense_weight, "lexical": 1.0 - dense_weight}


def _by_score(scores: Mapping[str, float]) -> dict[str, float]:
    if not scores:
        return {}
    low, high = min(scores.values()), max(scores.values())
    if high <= low:
        return dict.fromkeys(scores, 1.0)
    return {chunk_id: (score - low) / (high - low) for chunk_id, score in scores.items()}


def _by_rank(scores: Mapping[str, float]) -> dict[str, float]:
    ordered = sorted(scores, key=lambda chunk_id: (-scores[chunk_id], chunk_id))
    return {chunk_id: (RRF_K + 1) / (RRF_K + rank) for rank, chunk_id in enumerate(ordered, start=1)}


def _by_distribution(scores: Mapping[str, float]) -> dict[str, float]:
    """From three standard deviations below the mean to three above it; one outlier does not push all others together."""
    if not scores:
        return {}
    mean, deviation = statistics.fmean(scores.values()), statistics.pstdev(scores.values())
    if deviation <= 0:
        return dict.fromkeys(scores, 1.0)
    low, width = mean - SPREAD * deviation, 2 * SPREAD * deviation
    return {chunk_id: min(1.0, max(0.0, (score - low) / width)) for chunk_id, score in scores.items()}


_SHARES: Final[Mapping[Fusion, Callable[[Mapping[str, float]], dict[str, float]]]] = {
    "scores": _by_score,
    "ranks": _by_rank,
    "distribution": _by_distribution,
}
