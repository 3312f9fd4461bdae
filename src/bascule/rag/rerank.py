"""An honest feature reranker: what a careful reader would look for, and nothing learned.

Five features of a question and a passage, each 0..1: coverage of the question's telling words, the question's phrases word
for word, the same in title and headings, identifiers, and how close together the words stand. Their weighted mean is mixed
into the fused score with `rerank_weight`; docs/decisions/fusion.md says what it is worth.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import msgspec

from bascule.core.documents import Hit, VisibleChunk
from bascule.core.lexical import STOPWORDS
from bascule.rag import words

_WEIGHTS = {"coverage": 0.4, "phrase": 0.2, "title": 0.2, "identifier": 0.05, "proximity": 0.15}


class Body(msgspec.Struct, frozen=True):
    """A passage, read once: roots of its text and of its title and headings."""

    roots: tuple[str, ...]
    heading: tuple[str, ...]

    @property
    def all(self) -> frozenset[str]:
        return frozenset(self.roots).union(self.heading)


class Reading(msgspec.Struct, frozen=True):
    """A question, read once: its content roots and their weights, and its pairs of neighbouring roots that hold a content word.

    `mentions`: a stop word is what it asks about, so texts are read with the slower reader that keeps those.
    """

    content: tuple[str, ...]
    weights: Mapping[str, float]
    pairs: frozenset[tuple[str, str]]
    identifiers: frozenset[str]
    bodies: Mapping[str, Body]
    mentions: bool

    def roots(self, text: str) -> list[str]:
        return words.mentioned_roots(text) if self.mentions else words.roots(text)


def read(question: str, chunks: Sequence[VisibleChunk]) -> Reading:
    """Weights come from the visible chunks given, so they are the asker's own."""
    wanted = words.content(question)
    mentions = any(w in STOPWORDS for w in wanted)
    reader = words.mentioned_roots if mentions else words.roots
    bodies = {c.id: Body(tuple(reader(c.text)), tuple(reader(heading(c)))) for c in chunks}
    weights = words.weigh(wanted, [b.all for b in bodies.values()])
    spoken = itertools.pairwise(words.plain(question))
    pairs = frozenset((words.root(a), words.root(b)) for a, b in spoken if not STOPWORDS.issuperset((a, b)))
    stripped = (t.strip("?.,!()\"'`") for t in question.lower().split())
    identifiers = frozenset(t for t in stripped if len(t) > 3 and any(c in t for c in "._(/"))
    return Reading(wanted, weights, pairs, identifiers, bodies, mentions)


def heading(chunk: VisibleChunk) -> str:
    return " \n ".join((chunk.title, *chunk.heading_path))


def rerank(reading: Reading, hits: Sequence[Hit], *, weight: float, depth: int) -> list[Hit]:
    """The first `depth` hits (those the reading was made with) reordered, the rest after them as they were. Scores stay 0..1 and
    never rise along the list."""
    if not hits or weight <= 0:
        return list(hits)
    head = [_mixed(h, feature_score(reading, h.chunk), weight) for h in hits[:depth]]
    head.sort(key=lambda h: (-h.score, h.chunk.id))
    floor = head[-1].score
    tail = [msgspec.structs.replace(h, score=min(h.score * (1 - weight), floor)) for h in hits[depth:]]
    return head + tail


def _mixed(hit: Hit, feature: float, weight: float) -> Hit:
    parts = {**hit.parts, "features": round(feature, 6)}
    return msgspec.structs.replace(hit, score=(1 - weight) * hit.score + weight * feature, parts=parts)


def feature_score(reading: Reading, chunk: VisibleChunk) -> float:
    """0..1. The chunk must be one of those the reading was made with."""
    return sum(_WEIGHTS[name] * value for name, value in features(reading, chunk).items())


def features(reading: Reading, chunk: VisibleChunk) -> dict[str, float]:
    body = reading.bodies[chunk.id]
    return {
        "coverage": words.cover(reading.weights, body.all),
        "phrase": phrases(reading, chunk.text),
        "title": _titled(reading, chunk, body),
        "identifier": _identified(reading.identifiers, chunk),
        "proximity": _proximity(reading.weights, body.roots),
    }


def phrases(reading: Reading, text: str) -> float:
    """Share of the question's word pairs that stand in the text side by side."""
    if not reading.pairs:
        return 0.0
    return len(reading.pairs.intersection(itertools.pairwise(map(words.root, words.plain(text))))) / len(reading.pairs)


def _titled(reading: Reading, chunk: VisibleChunk, body: Body) -> float:
    """How much of the question is in the title and headings; a phrase of it there counts half on its own."""
    covered = words.cover(reading.weights, body.heading)
    if covered and phrases(reading, heading(chunk)) > 0:
        return min(1.0, 0.5 + covered)
    return covered


def _identified(identifiers: frozenset[str], chunk: VisibleChunk) -> float:
    if not identifiers:
        return 0.0
    text = chunk.indexed_text.lower()
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
