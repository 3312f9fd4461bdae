"""Different passages rather than more of the same: both off as delivered, since questions with one right passage lose by them.

Most of one document: further ones come after all others, so that there are never fewer. Maximal marginal relevance (Carbonell
and Goldstein 1998): of the best passages, next the one that is good and unlike those before it. Likeness is that of the content
words; the asker may read all of them, so nothing hidden has a say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from bascule.core.documents import Hit
from bascule.rag import words


def diversify(hits: Sequence[Hit], *, mmr: float, depth: int, per_document: int) -> list[Hit]:
    """The same hits in another order; scores are lowered where they would rise along the list."""
    ordered = list(hits)
    if mmr > 0:
        ordered = _marginal(ordered[:depth], mmr) + ordered[depth:]
    if per_document > 0:
        ordered = _capped(ordered, per_document)
    return falling(ordered) if ordered != list(hits) else ordered


def _marginal(hits: Sequence[Hit], share: float) -> list[Hit]:
    """`share`: how much likeness to those before weighs against the score."""
    left = list(range(len(hits)))
    bags = [frozenset(words.roots(hit.chunk.text)) for hit in hits]
    likeness = [0.0] * len(hits)  # to the most alike of those taken
    taken: list[Hit] = []
    while left:
        best = max(left, key=lambda at: ((1 - share) * hits[at].score - share * likeness[at], -at))
        left.remove(best)
        taken.append(hits[best])
        for at in left:
            likeness[at] = max(likeness[at], _alike(bags[at], bags[best]))
    return taken


def _alike(one: frozenset[str], other: frozenset[str]) -> float:
    either = len(one | other)
    return len(one & other) / either if either else 0.0


def _capped(hits: Sequence[Hit], most: int) -> list[Hit]:
    seen: Counter[str] = Counter()
    first: list[Hit] = []
    later: list[Hit] = []
    for hit in hits:
        seen[hit.chunk.document_id] += 1
        (first if seen[hit.chunk.document_id] <= most else later).append(hit)
    return first + later


def falling(hits: Sequence[Hit]) -> list[Hit]:
    """With scores that never rise along the list."""
    floor, found = 1.0, []
    for hit in hits:
        floor = min(floor, hit.score)
        found.append(msgspec.structs.replace(hit, score=floor))
    return found
