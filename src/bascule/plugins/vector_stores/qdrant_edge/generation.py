"""One generation: a shard of the engine, built once by a child process and only read since. Blocking: called from threads.

Points are the index's slots. What has changed since it was built is the caller's to know (`changes`): a generation is as old as
its number, and nothing it says is believed without a look at the tables.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import qdrant_edge as engine

from bascule.core.errors import StorageError

SHARD: Final = "shard"
WORDS: Final = "words.sqlite"
ROWS: Final = "rows.u64"  # for each slot, where its words begin in the next file
TERMS: Final = "terms.u32"  # pairs: number of a word, how often the chunk has it
FACTS: Final = "facts.json"
SPARSE: Final = "bm25"
ACL: Final = "acl"
PLACE: Final = "place"

Slots = np.ndarray[Any, np.dtype[np.int64]]
Doubles = np.ndarray[Any, np.dtype[np.float64]]
Floats = np.ndarray[Any, np.dtype[np.float32]]


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """index     the index's own generation, whose slots these are
    seq       the last transaction it has seen
    averages  tenant -> average length the stored weights were made with
    counts    (place, acl_id, chunks)
    """

    index: str
    seq: int
    built_at: float
    dimensions: tuple[int, ...]
    averages: dict[int, float]
    counts: tuple[tuple[int, int, int], ...]


class Proposed(NamedTuple):
    """`last`: the lowest score proposed, 0 when nothing else could have been."""

    slots: Slots
    last: float


def vector_name(dimension: int) -> str:
    return f"d{dimension}"


class EngineRefused(StorageError):
    """The engine failed. The answer can be had without it."""


@contextlib.contextmanager
def told() -> Generator[None]:
    """The engine knows one error, `Exception`, whatever happened."""
    try:
        yield
    except Exception as error:  # the engine's own choice of class
        raise EngineRefused("The search engine refused.") from error


class Generation:
    def __init__(self, folder: Path) -> None:
        """Raises StorageError or OSError when it is not whole."""
        self.folder = folder
        self.facts = msgspec.json.decode((folder / FACTS).read_bytes(), type=Facts)
        self._rows = np.memmap(folder / ROWS, "<u8", "r")
        pairs = folder / TERMS
        self._terms: Any = np.memmap(pairs, "<u4", "r") if pairs.stat().st_size else np.zeros(0, "<u4")
        self._lock = threading.Lock()
        with told():
            self._shard = engine.EdgeShard.load(str(folder / SHARD))
        self._words = sqlite3.connect(
            f"file:{folder / WORDS}?mode=ro&immutable=1", uri=True, check_same_thread=False, isolation_level=None
        )
        self._counts: dict[int, dict[int, int]] = defaultdict(dict)
        for place, acl_id, chunks in self.facts.counts:
            self._counts[place][acl_id] = chunks

    def visible(self, places: Iterable[int], allowed: frozenset[int]) -> int:
        """How many of its chunks were in these places with these acl_ids."""
        total = 0
        for place in places:
            held = self._counts.get(place, {})
            few, many = (held, allowed) if len(held) < len(allowed) else (allowed, held)
            total += sum(held[acl_id] for acl_id in few if acl_id in many)
        return total

    def dense(self, query: Floats, places: Sequence[int], allowed: frozenset[int], limit: int, ef: int) -> Slots:
        """About the `limit` nearest it knows."""
        if query.size not in self.facts.dimensions:
            return np.zeros(0, np.int64)
        request = engine.QueryRequest(
            limit=limit,
            query=engine.Query.Nearest(query.tolist(), using=vector_name(query.size)),
            filter=_within(places, allowed),
            params=engine.SearchParams(hnsw_ef=ef),
        )
        with told():
            found = self._shard.query(request)
        return np.array([point.id for point in found], np.int64)

    def lexical(
        self, weights: Mapping[int, float], places: Sequence[int], allowed: frozenset[int], limit: int
    ) -> Proposed:
        """The `limit` best by the sum of the words' weights times the weights stored with each chunk."""
        vector = engine.SparseVector(list(weights), list(weights.values()))
        request = engine.QueryRequest(
            limit=limit, query=engine.Query.Nearest(vector, using=SPARSE), filter=_within(places, allowed)
        )
        with told():
            found = self._shard.query(request)
        slots = np.array([point.id for point in found], np.int64)
        return Proposed(slots, found[-1].score if len(found) >= limit else 0.0)

    def numbers(self, tenant_id: int, words: Sequence[bytes]) -> dict[bytes, int]:
        """The numbers of those words that it knows."""
        marks = ",".join("?" * len(words))
        with self._lock:
            rows = self._words.execute(
                f"SELECT word, number FROM word WHERE tenant = ? AND word IN ({marks})", (tenant_id, *words)
            ).fetchall()
        return dict(rows)

    def frequencies(self, slots: Slots, numbers: Sequence[int]) -> Doubles:
        """How often each chunk has each word: a row for each slot, a column for each number."""
        starts, ends = self._rows[slots].astype(np.int64), self._rows[slots + 1].astype(np.int64)
        lengths = ends - starts
        row = np.repeat(np.arange(slots.size), lengths)
        within = np.arange(row.size) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        pairs = self._terms.reshape(-1, 2)[starts[row] + within]
        found = np.zeros((slots.size, len(numbers)))
        for column, number in enumerate(numbers):
            here = np.flatnonzero(pairs[:, 0] == number)
            found[row[here], column] = pairs[here, 1]
        return found

    def close(self) -> None:
        with self._lock:
            self._words.close()
        with told():
            self._shard.close()


def _within(places: Sequence[int], allowed: frozenset[int]) -> engine.Filter:
    return engine.Filter(
        must=[
            engine.FieldCondition(PLACE, match=engine.MatchAny(list(places))),
            engine.FieldCondition(ACL, match=engine.MatchAny(list(allowed))),
        ]
    )
