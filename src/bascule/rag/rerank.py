"""An honest feature reranker: what a careful reader would look for, and nothing learned.

Five features of a question and a passage, each 0..1: coverage of the question's telling words, the question's phrases word
for word, the same in title and headings, identifiers, and how close together the words stand. Their mean is mixed into the
fused score with `rerank_weight`; docs/decisions/fusion.md says what it is worth.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import msgspec

from bascule.core.documents import Hit, VisibleChunk
from bascule.core.lexical import STOPWORDS
from bascule.rag import words

_WEIGHTS = {"coverage": 0.4, "phrase": 0.2, "title": 0.2, "identifier": 0.05, "proximity": 0.15}


class Reading(msgspec.Struct, frozen=True):
    """A question, read once: its content roots, their weights, and its word pairs that hold a content word."""

    content: tuple[str, ...]
    weights: Mapping[str, float]
    pairs: frozenset[tuple[str, str]]
    identifiers: frozenset[str]


def read(question: str, chunks: Sequence[VisibleChunk]) -> Reading:
    """Weights come from the visible chunks given, so they are the asker's own."""
    wanted = words.content(question)
    weights = words.weigh(wanted, [frozenset(words.roots(c.title + "\n" + c.indexed_text)) for c in chunks])
    plain = words.plain(question)
    pairs = frozenset(p for p in itertools.pairwise(plain) if not (_is_filler(p[0]) and _is_filler(p[1])))
    identifiers = frozenset(
        t for t in question.lower().split() if any(c in t for c in "._()/") and len(t.strip("?.,!")) > 3
    )
    return Reading(wanted, weights, pairs, frozenset(i.strip("?.,!()") for i in identifiers))


def rerank(question: str, hits: Sequence[Hit], *, weight: float, depth: int) -> list[Hit]:
    """The first `depth` hits reordered, the rest after them as they were. Scores stay 0..1 and never rise along the list."""
    if not hits or weight <= 0:
        return list(hits)
    reading = read(question, [h.chunk for h in hits])
    head = [_mixed(h, feature_score(reading, h.chunk), weight) for h in hits[:depth]]
    head.sort(key=lambda h: (-h.score, h.chunk.id))
    floor = head[-1].score
    tail = [msgspec.structs.replace(h, score=min(h.score * (1 - weight), floor)) for h in hits[depth:]]
    return head + tail


def _mixed(hit: Hit, feature: float, weight: float) -> Hit:
    parts = {**hit.parts, "features": round(feature, 6)}
    return msgspec.structs.replace(hit, score=(1 - weight) * hit.score + weight * feature, parts=parts)


def feature_score(reading: Reading, chunk: VisibleChunk) -> float:
    """0..1."""
    found = features(reading, chunk)
    return sum(_WEIGHTS[name] * value for name, value in found.items())


def features(reading: Reading, chunk: VisibleChunk) -> dict[str, float]:
    heading = chunk.title + " " + " ".join(chunk.heading_path)
    body = words.roots(chunk.text)
    return {
        "coverage": words.cover(reading.weights, [*body, *words.roots(heading)]),
        "phrase": _phrases(reading.pairs, words.plain(chunk.text)),
        "title": _titled(reading, heading),
        "identifier": _identified(reading.identifiers, chunk.indexed_text.lower()),
        "proximity": _proximity(reading.weights, body),
    }


def _is_filler(word: str) -> bool:
    return word in STOPWORDS


def _phrases(pairs: frozenset[tuple[str, str]], text: Sequence[str]) -> float:
    if not pairs:
        return 0.0
    there = set(itertools.pairwise(text))
    return len(pairs & there) / len(pairs)


def _titled(reading: Reading, heading: str) -> float:
    """How much of the title is in the question, and how much of the question in the title; a phrase of it counts full."""
    named = set(words.roots(heading))
    if not named:
        return 0.0
    covered = words.cover(reading.weights, named)
    if _phrases(reading.pairs, words.plain(heading)) > 0:
        return min(1.0, 0.5 + covered)
    return covered


def _identified(identifiers: frozenset[str], text: str) -> float:
    if not identifiers:
        return 0.0
    return sum(i in text for i in identifiers) / len(identifiers)


def _proximity(weights: Mapping[str, float], body: Sequence[str]) -> float:
    """The best weighted coverage within any 12 neighbouring content words."""
    places = [(i, t) for i, t in enumerate(body) if t in weights]
    best = 0.0
    start = 0
    for end in range(len(places)):
        while places[end][0] - places[start][0] >= 12:
            start += 1
        best = max(best, words.cover(weights, (t for _, t in places[start : end + 1])))
    return best
