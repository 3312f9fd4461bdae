"""Answering from one snapshot: an int8 scan rescored in float32, and BM25 over packed postings, both filtered first."""

from __future__ import annotations

import math
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numkong
import numpy as np

from bascule.core.vectors import Candidate, Scope
from bascule.plugins.vector_stores.sqlite.schema import BLOCK_BITS
from bascule.plugins.vector_stores.sqlite.vector_files import VectorFolder, quantise, unit
from bascule.plugins.vector_stores.sqlite.view import Mask, Slots, Statistics, View

K1: Final = 1.2
B: Final = 0.75
OFFSET_MASK: Final = (1 << BLOCK_BITS) - 1
VARIABLES: Final = 500

SCAN_ROWS: Final = 16384  # rows in one call of the kernel, about a millisecond
GATHER_SHARE: Final = 0.12  # below this share of the rows, copying the visible ones together beats scanning everything
ERRORS: Final = 6.0  # how many standard deviations of the quantisation error are allowed for
RESCORED_MAX: Final = 4096

Doubles = np.ndarray[Any, np.dtype[np.float64]]
Floats = np.ndarray[Any, np.dtype[np.float32]]


def dense(
    connection: sqlite3.Connection, view: View, folder: VectorFolder, vector: bytes, scope: Scope, limit: int
) -> list[Candidate]:
    """The nearest by cosine.

    Every visible vector is scored in int8. All that lie within six standard deviations of the quantisation error of the
    `limit`-th are scored again in float32, so the answer is that of a float32 scan, unless more than 4,096 lie that close.
    """
    query = unit(vector)
    slots = _slots(connection, view, scope, query.size)
    if not slots.size or limit <= 0:
        return []
    near = nearest(view, folder, query, slots, limit)
    return best(connection, near, cosines(folder, query, near), limit)


def nearest(view: View, folder: VectorFolder, query: Floats, slots: Slots, limit: int) -> Slots:
    """Those of `slots` (ascending) that may be among the `limit` nearest."""
    code, scale = quantise(query)
    scales = view.columns.scale[slots]
    rough = _scan(folder.of(query.size).codes.rows(int(slots[-1]) + 1), code, slots) * (scales * np.float32(scale))
    margin = 2 * ERRORS * math.sqrt((float(scales.max()) ** 2 + scale**2) / 12)
    return slots[_close(rough, limit, margin)]


def cosines(folder: VectorFolder, query: Floats, slots: Slots) -> Doubles:
    """In float32, from the vectors themselves."""
    scores: Doubles = np.einsum("ij,j->i", folder.of(query.size).floats.pick(slots), query).astype(np.float64)
    return scores


def _slots(connection: sqlite3.Connection, view: View, scope: Scope, dimension: int) -> Slots:
    if scope.documents is None:
        return view.slots(scope, dimension)
    return np.flatnonzero(_visible(connection, view, scope) & (view.columns.dimension == dimension))


def _visible(connection: sqlite3.Connection, view: View, scope: Scope) -> Mask:
    """Kept by the view for a scope without documents; a filter's documents are looked up each time."""
    if scope.documents is None:
        return view.mask(scope)
    chosen = np.zeros(view.size, np.bool_)
    names = sorted(scope.documents)
    for start in range(0, len(names), VARIABLES):
        part = names[start : start + VARIABLES]
        marks = ",".join("?" * len(part))
        found = connection.execute(f"SELECT slot FROM slot WHERE document_id IN ({marks})", part).fetchall()
        chosen[[slot for (slot,) in found]] = True
    visible: Mask = chosen & view.mask(msgspec.structs.replace(scope, documents=None))
    return visible


def _scan(rows: np.ndarray[Any, np.dtype[np.int8]], code: np.ndarray[Any, np.dtype[np.int8]], slots: Slots) -> Floats:
    """Integer dot products of the query with the rows in `slots`."""
    query = code.reshape(1, -1)
    first, end = int(slots[0]), int(slots[-1]) + 1
    if slots.size < GATHER_SHARE * (end - first):
        parts = [
            _dots(rows.take(slots[start : start + SCAN_ROWS], axis=0), query)
            for start in range(0, slots.size, SCAN_ROWS)
        ]
        return np.concatenate(parts)
    parts = [_dots(rows[start : min(start + SCAN_ROWS, end)], query) for start in range(first, end, SCAN_ROWS)]
    return np.concatenate(parts).take(slots - first)


def _dots(rows: np.ndarray[Any, np.dtype[np.int8]], query: np.ndarray[Any, np.dtype[np.int8]]) -> Floats:
    """`dots_packed`, made for many queries at once, takes twice the time for one."""
    return np.asarray(numkong.cdist(rows, query, "dot", out_dtype="float32")).reshape(-1)


def _close(rough: Floats, limit: int, margin: float) -> Slots:
    """Positions of the `limit` best and of all within `margin` of the last of them, at most RESCORED_MAX."""
    if rough.size <= limit:
        return np.arange(rough.size)
    last = np.partition(rough, rough.size - limit)[rough.size - limit]
    near = np.flatnonzero(rough >= last - margin)
    most = max(RESCORED_MAX, 2 * limit)
    if near.size > most:
        near = near[np.argpartition(rough[near], near.size - most)[near.size - most :]]
    return near


def lexical(
    connection: sqlite3.Connection, view: View, terms: Sequence[str], scope: Scope, limit: int
) -> list[Candidate]:
    """BM25 over every posting of every term, nothing pruned; a term asked twice counts twice."""
    statistics = view.statistics(scope.tenant)
    if statistics is None or limit <= 0 or not scope.allowed or not scope.collection_ids:
        return []
    times = Counter(term.encode("utf-8", "surrogatepass") for term in terms)
    visible = _visible(connection, view, scope)
    scores = np.zeros(view.size, np.float64)
    lengths = view.columns.length
    per_term = K1 * B / statistics.average_length
    found_in = postings(connection, statistics, list(times), statistics.blocks)
    for word, count in times.items():
        if word not in found_in:
            continue
        slots, tf = found_in[word]
        df = slots.size
        weight = count * idf(statistics.chunks, df)
        seen = visible[slots]
        slots, tf = slots[seen], tf[seen]
        scores[slots] += weight * tf * (K1 + 1) / (tf + (K1 * (1 - B) + per_term * lengths[slots]))
    found = np.flatnonzero(scores)
    return best(connection, found, scores[found], limit)


def idf(chunks: int, df: int) -> float:
    return math.log(1 + (chunks - df + 0.5) / (df + 0.5))


def postings(
    connection: sqlite3.Connection, statistics: Statistics, words: Sequence[bytes], blocks: Sequence[int]
) -> dict[bytes, tuple[Slots, Doubles]]:
    """word -> (slots, term frequencies) over the tenant's chunks in these blocks of slots."""
    parts: dict[bytes, tuple[list[int], list[bytes]]] = defaultdict(lambda: ([], []))
    for start in range(0, len(words), VARIABLES):
        some = words[start : start + VARIABLES]
        marks = ",".join("?" * len(some))
        for block in blocks:
            rows = connection.execute(
                f"SELECT term, data FROM posting WHERE tenant = ? AND block = ? AND term IN ({marks})",
                (statistics.tenant_id, block, *some),
            ).fetchall()
            for word, data in rows:
                where, blobs = parts[word]
                where.append(block)
                blobs.append(data)
    return {word: _unpack(*part) for word, part in parts.items()}


def _unpack(blocks: Sequence[int], blobs: Sequence[bytes]) -> tuple[Slots, Doubles]:
    packed = np.frombuffer(b"".join(blobs), "<u4")
    first = np.repeat(np.array(blocks, np.int64) << BLOCK_BITS, [len(blob) // 4 for blob in blobs])
    return first + (packed & OFFSET_MASK), (packed >> BLOCK_BITS).astype(np.float64)


def best(connection: sqlite3.Connection, slots: Slots, scores: Doubles, limit: int) -> list[Candidate]:
    """The `limit` best with their chunk ids; all that tie with the last are looked up, so that the id decides."""
    if slots.size > limit:
        last = np.partition(scores, scores.size - limit)[scores.size - limit]
        keep = scores >= last
        slots, scores = slots[keep], scores[keep]
    names = chunk_names(connection, slots.tolist())
    found = [Candidate(names[slot], score) for slot, score in zip(slots.tolist(), scores.tolist(), strict=True)]
    return sorted(found, key=lambda c: (-c.score, c.chunk_id))[:limit]


def chunk_names(connection: sqlite3.Connection, slots: Sequence[int]) -> dict[int, str]:
    names: dict[int, str] = {}
    for start in range(0, len(slots), VARIABLES):
        part = slots[start : start + VARIABLES]
        marks = ",".join("?" * len(part))
        names.update(connection.execute(f"SELECT slot, chunk_id FROM slot WHERE slot IN ({marks})", part).fetchall())
    return names
