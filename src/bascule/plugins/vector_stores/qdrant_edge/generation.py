"""One generation, open: a shard of the engine, built once and only read since. Blocking, called from threads of its own process.

Points are the index's slots. What has changed since it was built is the asker's to know: nothing that it says is believed
without a look at the tables.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import qdrant_edge as engine

from bascule.plugins.vector_stores.qdrant_edge.layout import (
    ROWS,
    SHARD,
    TERMS,
    WORDS,
    EngineRefused,
    Floats,
    Proposed,
    Slots,
    Times,
    Within,
    read_facts,
)

SPARSE: Final = "bm25"
ACL: Final = "acl"
PLACE: Final = "place"

FILTERS_KEPT: Final = 64


def vector_name(dimension: int) -> str:
    return f"d{dimension}"


@contextlib.contextmanager
def told() -> Generator[None]:
    """The engine knows one error, `Exception`, whatever happened."""
    try:
        yield
    except Exception as error:  # the engine's own choice of class
        raise EngineRefused("The search engine refused.") from error


class Generation:
    """A Proposer in this process."""

    def __init__(self, folder: Path) -> None:
        """Raises StorageError, OSError or ValueError when it is not whole."""
        self.folder = folder
        self.facts = read_facts(folder)
        self.alive = True
        self._rows = _mapped(folder / ROWS, "<u8")
        self._pairs = _mapped(folder / TERMS, "<u8")  # both numbers of a pair at once
        self._lock = threading.Lock()
        self._filters: OrderedDict[tuple[tuple[int, ...], frozenset[int]], engine.Filter] = OrderedDict()
        with told():
            self._shard = engine.EdgeShard.load(str(folder / SHARD))
        self._words = sqlite3.connect(
            f"file:{folder / WORDS}?mode=ro&immutable=1", uri=True, check_same_thread=False, isolation_level=None
        )

    def dense(self, query: Floats, within: Within, limit: int, ef: int) -> Slots:
        if query.size not in self.facts.dimensions:
            return np.zeros(0, np.int64)
        request = engine.QueryRequest(
            limit=limit,
            query=engine.Query.Nearest(query.tolist(), using=vector_name(query.size)),
            filter=self._filter(within),
            params=engine.SearchParams(hnsw_ef=ef),
        )
        with told():
            found = self._shard.query(request)
        return np.array([point.id for point in found], np.int64)

    def lexical(self, tenant_id: int, weights: Mapping[bytes, float], within: Within, limit: int) -> Proposed:
        numbers = self._numbers(tenant_id, list(weights))
        known = {numbers[word]: weight for word, weight in weights.items() if word in numbers}
        vector = engine.SparseVector(list(known), list(known.values()))
        request = engine.QueryRequest(
            limit=limit, query=engine.Query.Nearest(vector, using=SPARSE), filter=self._filter(within)
        )
        with told():
            found = self._shard.query(request)
        slots = np.array([point.id for point in found], np.int64)
        times = self._times(slots, [numbers.get(word, -1) for word in weights])
        return Proposed(slots, found[-1].score if len(found) >= limit else 0.0, times)

    def close(self) -> None:
        self.alive = False
        with self._lock:
            self._words.close()
        with told():
            self._shard.close()

    def _filter(self, within: Within) -> engine.Filter:
        key = tuple(within.places), within.allowed
        with self._lock:
            found = self._filters[key] = self._filters.pop(key) if key in self._filters else _filter(*key)
            if len(self._filters) > FILTERS_KEPT:
                self._filters.popitem(last=False)
        return found

    def _numbers(self, tenant_id: int, words: Sequence[bytes]) -> dict[bytes, int]:
        """The numbers of those words that it knows."""
        marks = ",".join("?" * len(words))
        with self._lock:
            rows = self._words.execute(
                f"SELECT word, number FROM word WHERE tenant = ? AND word IN ({marks})", (tenant_id, *words)
            ).fetchall()
        return dict(rows)

    def _times(self, slots: Slots, numbers: Sequence[int]) -> Times:
        """How often each chunk has each word: a row for each slot, a column for each number; none has -1."""
        starts, ends = self._rows[slots].astype(np.int64), self._rows[slots + 1].astype(np.int64)
        lengths = ends - starts
        pairs = self._pairs[np.repeat(starts - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())]
        words, row = pairs.astype(np.uint32), np.repeat(np.arange(slots.size), lengths)
        found = np.zeros((slots.size, len(numbers)), np.uint32)
        for column, number in enumerate(numbers):
            if number >= 0:
                here = np.flatnonzero(words == number)
                found[row[here], column] = pairs[here] >> 32
        return found


def _mapped(path: Path, dtype: str) -> np.ndarray[Any, Any]:
    """A plain array over the file: numpy's own class of mapped arrays makes each access slower."""
    return np.asarray(np.memmap(path, dtype, "r")) if path.stat().st_size else np.zeros(0, dtype)


def _filter(places: Sequence[int], allowed: frozenset[int]) -> engine.Filter:
    return engine.Filter(
        must=[
            engine.FieldCondition(PLACE, match=engine.MatchAny(list(places))),
            engine.FieldCondition(ACL, match=engine.MatchAny(list(allowed))),
        ]
    )
