"""What is known of a passage before any question: how old its document is and how far its source is trusted.

Each is a factor on the final score, bounded from below, so that a prior decides between passages that answer about equally well
and never hides one. Both are off until configured. They read what the catalogue let through and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from bascule.core.documents import Hit, VisibleChunk

OLD_SHARE: Final = 0.5  # of its score that the oldest document keeps
ANY: Final = "*"
_DATES: Final = ("published_at", "modified_at", "date")  # of the document's own metadata, the first that is one
_DAY_S: Final = 86_400.0


class Priors(msgspec.Struct, frozen=True):
    """`half_life_days`: by collection, or `*`; `trust`: 0..1 by source, or `*`."""

    half_life_days: Mapping[str, float] = {}
    trust: Mapping[str, float] = {}

    def __bool__(self) -> bool:
        return bool(self.half_life_days or self.trust)


def weigh(hits: Sequence[Hit], priors: Priors, now: datetime) -> list[Hit]:
    """Best first again, each score times its factors; those stand in `parts`."""
    if not priors:
        return list(hits)
    return sorted((_weighed(hit, priors, now) for hit in hits), key=lambda h: -h.score)


def _weighed(hit: Hit, priors: Priors, now: datetime) -> Hit:
    factors = {}
    chunk = hit.chunk
    half_life_days = priors.half_life_days.get(chunk.collection, priors.half_life_days.get(ANY))
    if half_life_days:
        factors["freshness"] = freshness(chunk, half_life_days, now)
    trust = priors.trust.get(chunk.source, priors.trust.get(ANY))
    if trust is not None:
        factors["trust"] = trust
    score = hit.score * math.prod(factors.values())
    return msgspec.structs.replace(hit, score=score, parts={**hit.parts, **factors})


def freshness(chunk: VisibleChunk, half_life_days: float, now: datetime) -> float:
    """From 1 for a document of today towards OLD_SHARE, halving what is above it each half-life. Without a date: 1."""
    dated = _dated(chunk)
    if dated is None:
        return 1.0
    age_days = max(0.0, (now - dated).total_seconds() / _DAY_S)
    return float(OLD_SHARE + (1 - OLD_SHARE) * 0.5 ** (age_days / half_life_days))


def _dated(chunk: VisibleChunk) -> datetime | None:
    """The document's own date, else when its content last changed here."""
    for text in (*(chunk.metadata.get(name) for name in _DATES), chunk.updated_at):
        found = _instant(text) if isinstance(text, str) else None
        if found is not None:
            return found
    return None


def _instant(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
