"""The naive reference: brute force in plain Python and numpy, kept in memory. Shares no query code with any other store.

Meant for tests, and for trying things out without a data folder: everything is lost when the process ends.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import numpy as np
from pydantic import BaseModel, ConfigDict

from bascule.core.errors import StorageError
from bascule.core.resources import Resources
from bascule.core.vectors import Candidate, Point, Scope

K1: Final = 1.2
B: Final = 0.75


class Settings(BaseModel):
    """There is nothing to set."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class MemoryVectorStore:
    """A dictionary of points; every search looks at every point."""

    def __init__(self) -> None:
        self._points: dict[str, Point] = {}

    async def upsert(self, points: Sequence[Point]) -> None:
        for point in points:
            if point.vector is not None:
                _unit(point.vector)
        self._points.update((point.chunk_id, point) for point in points)

    async def move(self, document_id: str, acl_id: int) -> None:
        for chunk_id, point in self._points.items():
            if point.document_id == document_id:
                self._points[chunk_id] = _moved(point, acl_id)

    async def remove(self, chunk_ids: Sequence[str]) -> None:
        for chunk_id in chunk_ids:
            self._points.pop(chunk_id, None)

    async def remove_document(self, document_id: str, keep: frozenset[str] = frozenset()) -> None:
        points = self._points.items()
        self._points = {key: point for key, point in points if point.document_id != document_id or key in keep}

    async def dense(self, vector: bytes, scope: Scope, limit: int) -> list[Candidate]:
        query = _unit(vector)
        found = (
            Candidate(point.chunk_id, _cosine(point.vector, query))
            for point in self._points.values()
            if point.vector is not None and len(point.vector) == len(vector) and _visible(point, scope)
        )
        return _best(found, limit)

    async def lexical(self, terms: Sequence[str], scope: Scope, limit: int) -> list[Candidate]:
        """BM25 by the book (Robertson and Zaragoza 2009), a term asked twice counting twice.

        idf = ln(1 + (N - df + 0.5) / (df + 0.5)); N, df and the average length are the tenant's.
        """
        corpus = [point for point in self._points.values() if point.tenant == scope.tenant]
        if not corpus:
            return []
        counts = {point.chunk_id: Counter(point.terms) for point in corpus}
        average = sum(len(point.terms) for point in corpus) / len(corpus)
        weight: dict[str, float] = {}
        for term in set(terms):
            df = sum(1 for count in counts.values() if term in count)
            weight[term] = math.log(1 + (len(corpus) - df + 0.5) / (df + 0.5))
        found = []
        for point in corpus:
            if not _visible(point, scope):
                continue
            score = 0.0
            for term, times in Counter(terms).items():
                tf = counts[point.chunk_id][term]
                if tf:
                    norm = K1 * (1 - B + B * len(point.terms) / average)
                    score += times * weight[term] * tf * (K1 + 1) / (tf + norm)
            if score > 0:
                found.append(Candidate(point.chunk_id, score))
        return _best(found, limit)

    async def count(self, tenant: str) -> int:
        return sum(1 for point in self._points.values() if point.tenant == tenant)

    async def chunk_ids(self, tenant: str) -> set[str]:
        return {point.chunk_id for point in self._points.values() if point.tenant == tenant}

    async def reset(self) -> None:
        self._points.clear()

    async def check(self) -> list[str]:
        return []


def _visible(point: Point, scope: Scope) -> bool:
    if scope.documents is not None and point.document_id not in scope.documents:
        return False
    return (
        point.tenant == scope.tenant and point.collection_id in scope.collection_ids and point.acl_id in scope.allowed
    )


def _moved(point: Point, acl_id: int) -> Point:
    return Point(
        chunk_id=point.chunk_id,
        document_id=point.document_id,
        tenant=point.tenant,
        collection_id=point.collection_id,
        acl_id=acl_id,
        vector=point.vector,
        terms=point.terms,
    )


def _unit(vector: bytes) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Raises StorageError for a vector that has no direction: not a number, infinite, or cut short."""
    if not vector or len(vector) % 4:
        raise StorageError("A vector is not a whole number of float32 values.")
    values = np.frombuffer(vector, dtype="<f4")
    norm = float(np.linalg.norm(values.astype(np.float64)))
    if not math.isfinite(norm):
        raise StorageError("A vector holds values that are not finite numbers.")
    return values if norm == 0 else (values / norm).astype(np.float32)


def _cosine(vector: bytes, query: np.ndarray[Any, np.dtype[np.float32]]) -> float:
    return float(np.multiply(_unit(vector), query).sum())


def _best(found: Iterable[Candidate], limit: int) -> list[Candidate]:
    return sorted(found, key=lambda c: (-c.score, c.chunk_id))[: max(0, limit)]


@asynccontextmanager
async def connect(settings: Settings, resources: Resources) -> AsyncGenerator[MemoryVectorStore]:
    yield MemoryVectorStore()
