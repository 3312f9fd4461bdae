"""Answers put together from a generation and from what has changed since, scored from the index alone.

The engine proposes slots; the view, which is this instant's truth, says which of them are still what they were and may be seen.
Chunks written, moved or replaced since are few and scanned. Cosines come from the index's own vectors, BM25 from today's
statistics: so every score is what the `sqlite` store would give.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from bascule.core.vectors import Candidate, Scope
from bascule.plugins.vector_stores.qdrant_edge.layout import Doubles, Proposer, Slots, Within
from bascule.plugins.vector_stores.sqlite import searching as scan
from bascule.plugins.vector_stores.sqlite.schema import BLOCK_BITS
from bascule.plugins.vector_stores.sqlite.searching import K1, B
from bascule.plugins.vector_stores.sqlite.vector_files import VectorFolder, unit
from bascule.plugins.vector_stores.sqlite.view import Statistics, View

MORE: Final = 32  # asked of the engine beyond the limit: some are no longer what they were, some score alike
MUCH_MORE: Final = 8  # times as many, where those were not enough
DOUBT: Final = 1 + 1e-5  # the engine adds in float32

Lengths = np.ndarray[Any, np.dtype[np.int32]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]


class Changed(NamedTuple):
    """Slots whose chunk is not what the generation knows, ascending, and the same as a mask."""

    slots: Slots
    mask: Mask


class Changes:
    """What has changed since a generation was built, read further with each transaction of the index."""

    def __init__(self, seq: int) -> None:
        self._built = seq
        self._lock = threading.Lock()
        self._seq = seq
        self._changed = Changed(np.zeros(0, np.int64), np.zeros(0, np.bool_))

    def at(self, connection: sqlite3.Connection, view: View) -> Changed:
        """As of the view's transaction, in which `connection` is."""
        with self._lock:
            if view.head.seq == self._seq and self._changed.mask.size == view.size:
                return self._changed
            if view.head.seq < self._seq:
                return _later(connection, self._built, view, np.zeros(0, np.bool_))
            self._changed = _later(connection, self._seq, view, self._changed.mask)
            self._seq = view.head.seq
            return self._changed


def _later(connection: sqlite3.Connection, seq: int, view: View, before: Mask) -> Changed:
    mask = np.zeros(view.size, np.bool_)
    mask[: before.size] = before
    mask[[row[0] for row in connection.execute("SELECT slot FROM slot WHERE seq > ?", (seq,))]] = True
    return Changed(np.flatnonzero(mask), mask)


class Seen(NamedTuple):
    """Who asks, in the index's numbers."""

    places: list[int]
    allowed: frozenset[int]

    @classmethod
    def of(cls, view: View, scope: Scope) -> Seen:
        wanted = (view.places.get((scope.tenant, name), 0) for name in scope.collection_ids)
        return cls(sorted(place for place in wanted if place), scope.allowed)

    @property
    def nothing(self) -> bool:
        return not self.places or not self.allowed

    @property
    def within(self) -> Within:
        return Within(self.places, self.allowed)

    def which(self, view: View, slots: Slots) -> Mask:
        """Which of them may be seen now."""
        places, allowed = view.columns.place[slots].tolist(), view.columns.acl_id[slots].tolist()
        seen = [place in self.places and acl in self.allowed for place, acl in zip(places, allowed, strict=True)]
        return np.array(seen, np.bool_)

    def among(self, view: View, slots: Slots) -> Slots:
        return slots[self.which(view, slots)]


def dense(
    connection: sqlite3.Connection,
    view: View,
    folder: VectorFolder,
    held: tuple[Proposer, Changes],
    question: tuple[bytes, Scope, int],
    ef: int,
) -> list[Candidate] | None:
    """None when the generation cannot tell: its proposals are no longer enough."""
    (generation, changes), (vector, scope, limit) = held, question
    query, seen, changed = unit(vector), Seen.of(view, scope), changes.at(connection, view)
    if seen.nothing:
        return []
    for wanted in (limit + MORE, MUCH_MORE * (limit + MORE)):
        proposed = generation.dense(query, seen.within, wanted, max(ef, wanted))
        found = seen.among(view, proposed[~changed.mask[proposed]])
        if found.size >= limit or proposed.size < wanted:
            break
    else:
        return None
    late = seen.among(view, changed.slots[view.columns.dimension[changed.slots] == query.size])
    if late.size:
        late = scan.nearest(view, folder, query, late, limit)
    slots = np.concatenate((found, late))
    if not slots.size:
        return []
    return scan.best(connection, slots, scan.cosines(folder, query, slots), limit)


def lexical(
    connection: sqlite3.Connection,
    view: View,
    held: tuple[Proposer, Changes],
    question: tuple[Sequence[str], Scope, int],
) -> list[Candidate] | None:
    """None when it cannot be proved that nothing else scores as high: the statistics have moved too far."""
    (generation, changes), (terms, scope, limit) = held, question
    statistics = view.statistics(scope.tenant)
    if statistics is None:
        return []
    seen, changed = Seen.of(view, scope), changes.at(connection, view)
    if seen.nothing:
        return []
    weights = _weights(connection, statistics, terms)
    drift = statistics.average_length / (generation.facts.averages.get(statistics.tenant_id) or 1.0)
    for wanted in (limit + MORE, MUCH_MORE * (limit + MORE)):
        proposed = generation.lexical(statistics.tenant_id, weights, seen.within, wanted)
        keep = seen.which(view, proposed.slots) & ~changed.mask[proposed.slots]
        slots, tf = proposed.slots[keep], proposed.times[keep].astype(np.float64)
        scores = _scores(tf, np.array(list(weights.values())), view.columns.length[slots], statistics.average_length)
        if _whole(scores, limit, proposed.last * max(1.0, drift) * DOUBT):
            break
    else:
        return None
    late, late_scores = _late(connection, view, statistics, weights, seen.among(view, changed.slots))
    return scan.best(connection, np.concatenate((slots, late)), np.concatenate((scores, late_scores)), limit)


def _whole(scores: Doubles, limit: int, ceiling: float) -> bool:
    """Can nothing that was not proposed, none of which scores above `ceiling`, be among the `limit` best?"""
    if not ceiling:
        return True
    return scores.size >= limit and float(np.partition(scores, scores.size - limit)[-limit]) > ceiling


def _weights(connection: sqlite3.Connection, statistics: Statistics, terms: Sequence[str]) -> dict[bytes, float]:
    """word -> its rarity in the tenant's chunks now, times how often it was asked; in the order asked, as scores are added."""
    times = Counter(term.encode("utf-8", "surrogatepass") for term in terms)
    marks, blocks = ",".join("?" * len(times)), ",".join(map(str, statistics.blocks))
    rows = connection.execute(
        f"SELECT term, length(data) / 4 FROM posting WHERE tenant = ? AND block IN ({blocks}) AND term IN ({marks})",
        (statistics.tenant_id, *times),
    )
    counts: Counter[bytes] = Counter()
    for word, count in rows:
        counts[word] += count
    return {word: n * scan.idf(statistics.chunks, counts[word]) for word, n in times.items() if word in counts}


def _scores(tf: Doubles, weights: Doubles, lengths: Lengths, average: float) -> Doubles:
    """In the order of the words, as the exact scan adds them."""
    norm = K1 * (1 - B) + (K1 * B / average) * lengths
    scores = np.zeros(tf.shape[0])
    for column, weight in enumerate(weights):
        scores += weight * tf[:, column] * (K1 + 1) / (tf[:, column] + norm)
    return scores


def _late(
    connection: sqlite3.Connection, view: View, statistics: Statistics, weights: dict[bytes, float], late: Slots
) -> tuple[Slots, Doubles]:
    """Chunks the generation does not know that have any of the words, with their scores."""
    if not late.size or not weights:
        return np.zeros(0, np.int64), np.zeros(0)
    blocks = np.unique(late >> BLOCK_BITS).tolist()
    tf = np.zeros((late.size, len(weights)))
    found = scan.postings(connection, statistics, list(weights), blocks)
    for column, word in enumerate(weights):
        slots, times = found.get(word, (late[:0], np.zeros(0)))
        where = np.searchsorted(late, slots)
        here = (where < late.size) & (late[np.minimum(where, late.size - 1)] == slots)
        tf[where[here], column] = times[here]
    scores = _scores(tf, np.array(list(weights.values())), view.columns.length[late], statistics.average_length)
    hit = np.flatnonzero(scores)
    return late[hit], scores[hit]
