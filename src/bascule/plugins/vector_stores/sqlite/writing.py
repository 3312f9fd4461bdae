"""Changing the index: each function is one write transaction, and running it again changes nothing.

A vector's bytes are durable before the row that names their slot commits, so a killed writer leaves free slots with unread bytes
and nothing else. A freed slot rests before it is used again: a query that started before the removal may still look at it.
"""

from __future__ import annotations

import hashlib
import sqlite3
import struct
import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import msgspec
import numpy as np

from bascule.core.vectors import Point
from bascule.plugins.vector_stores.sqlite.schema import BLOCK_BITS, TF_MAX, Head, writing
from bascule.plugins.vector_stores.sqlite.vector_files import VectorFolder, quantise, unit

POINTS_PER_TRANSACTION: Final = 1024  # about a tenth of a second alone with the lock
VARIABLES: Final = 500  # values bound in one statement
REST_S: Final = 120.0  # longer than any request's deadline
OFFSET_MASK: Final = (1 << BLOCK_BITS) - 1

_encoder = msgspec.msgpack.Encoder()
_terms_decoder = msgspec.msgpack.Decoder(list[bytes])


class Writer:
    """Writes through one connection; one thread at a time."""

    def __init__(
        self, connection: sqlite3.Connection, folder_of: Callable[[Head], VectorFolder], rest_s: float = REST_S
    ) -> None:
        self._db = connection
        self._folder_of = folder_of
        self._rest_s = rest_s

    def upsert(self, points: Sequence[Point]) -> None:
        latest = list({point.chunk_id: point for point in points}.values())
        with writing(self._db) as head:
            known = self._known(latest)
            fresh = []
            for point in latest:
                slot, acl_id, digest = known.get(point.chunk_id, (None, None, None))
                if digest is None or digest != _digest(point):
                    fresh.append(point)
                elif acl_id != point.acl_id:
                    self._db.execute(
                        "UPDATE slot SET acl_id = ?, seq = ? WHERE slot = ?", (point.acl_id, head.seq, slot)
                    )
            slots = self._allocate(len(fresh))
            self._drop([known[point.chunk_id][0] for point in fresh if point.chunk_id in known], head)
            self._add(fresh, slots, head)

    def move(self, document_id: str, acl_id: int) -> None:
        with writing(self._db) as head:
            self._db.execute(
                "UPDATE slot SET acl_id = ?, seq = ? WHERE document_id = ? AND acl_id <> ?",
                (acl_id, head.seq, document_id, acl_id),
            )

    def remove(self, chunk_ids: Sequence[str]) -> int:
        """How many there were."""
        with writing(self._db) as head:
            rows = self._select("SELECT slot FROM slot WHERE chunk_id IN ({})", list(dict.fromkeys(chunk_ids)))
            slots = [row[0] for row in rows]
            self._drop(slots, head)
        return len(slots)

    def remove_documents(self, keep: Mapping[str, frozenset[str]]) -> int:
        """How many chunks of these documents there were, those to keep not counted."""
        with writing(self._db) as head:
            rows = self._select("SELECT slot, document_id, chunk_id FROM slot WHERE document_id IN ({})", list(keep))
            slots = [slot for slot, document_id, chunk_id in rows if chunk_id not in keep[document_id]]
            self._drop(slots, head)
        return len(slots)

    def scrub(self) -> None:
        """Overwrite the vectors of freed slots: a vector says as much as its text."""
        if self._db.execute("SELECT 1 FROM slot WHERE dirty = 1 LIMIT 1").fetchone() is None:
            return
        with writing(self._db) as head:
            slots: dict[int, list[int]] = defaultdict(list)
            for slot, dimension in self._db.execute("SELECT slot, dimension FROM slot WHERE dirty = 1"):
                slots[dimension].append(slot)
            for dimension, freed in slots.items():
                self._folder_of(head).of(dimension).zero(freed)
            self._db.execute("UPDATE slot SET dirty = 0, dimension = 0 WHERE dirty = 1")

    def _known(self, points: Sequence[Point]) -> dict[str, tuple[int, int, bytes]]:
        rows = self._select(
            "SELECT chunk_id, slot, acl_id, digest FROM slot JOIN source USING (slot) WHERE chunk_id IN ({})",
            [point.chunk_id for point in points],
        )
        return {chunk_id: (slot, acl_id, digest) for chunk_id, slot, acl_id, digest in rows}

    def _select(self, statement: str, values: Sequence[object]) -> Iterable[tuple[Any, ...]]:
        for start in range(0, len(values), VARIABLES):
            part = values[start : start + VARIABLES]
            yield from self._db.execute(statement.format(",".join("?" * len(part))), part).fetchall()

    def _allocate(self, count: int) -> list[int]:
        """Rested slots first, then new ones. Called before anything is freed: nothing live may be overwritten before commit."""
        now_s = time.time()
        rested = self._db.execute(
            "SELECT slot FROM slot WHERE chunk_id IS NULL AND dirty = 0 AND abs(? - freed_at) >= ? LIMIT ?",
            (now_s, self._rest_s, count),
        )
        slots = sorted(row[0] for row in rested)
        top = self._db.execute("SELECT max(slot) FROM slot").fetchone()[0]
        first = 0 if top is None else top + 1
        return slots + list(range(first, first + count - len(slots)))

    def _place(self, tenant: str, collection_id: str, cache: dict[tuple[str, str], tuple[int, int]]) -> tuple[int, int]:
        """(tenant, place) as numbers, made on first use."""
        key = (tenant, collection_id)
        if key not in cache:
            self._db.execute("INSERT OR IGNORE INTO tenant (name) VALUES (?)", (tenant,))
            tenant_id = self._db.execute("SELECT id FROM tenant WHERE name = ?", (tenant,)).fetchone()[0]
            self._db.execute(
                "INSERT OR IGNORE INTO place (tenant, collection_id) VALUES (?, ?)", (tenant_id, collection_id)
            )
            place = self._db.execute(
                "SELECT id FROM place WHERE tenant = ? AND collection_id = ?", (tenant_id, collection_id)
            ).fetchone()[0]
            cache[key] = (tenant_id, place)
        return cache[key]

    def _add(self, points: Sequence[Point], slots: Sequence[int], head: Head) -> None:
        cache: dict[tuple[str, str], tuple[int, int]] = {}
        postings: dict[tuple[int, int], dict[bytes, list[int]]] = defaultdict(lambda: defaultdict(list))
        scales = self._write_vectors(points, slots, self._folder_of(head))
        rows, sources = [], []
        for point, slot in zip(points, slots, strict=True):
            tenant_id, place = self._place(point.tenant, point.collection_id, cache)
            counts = Counter(point.terms)
            words = _as_words(counts)
            block, offset = postings[tenant_id, slot >> BLOCK_BITS], slot & OFFSET_MASK
            for word, tf in zip(words, counts.values(), strict=True):
                block[word].append(min(tf, TF_MAX) << BLOCK_BITS | offset)
            size, scale, crc = scales.get(slot, (0, 0.0, None))
            document = (point.chunk_id, point.document_id, place, point.acl_id)
            rows.append((slot, *document, size, scale, len(point.terms), head.seq))
            sources.append((slot, _digest(point), crc, _encoder.encode(words)))
        self._db.executemany(
            "INSERT OR REPLACE INTO slot (slot, chunk_id, document_id, place, acl_id, dimension, scale, length, seq)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            rows,
        )
        self._db.executemany("INSERT INTO source VALUES (?, ?, ?, ?)", sources)
        self._db.executemany(
            "INSERT INTO posting VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE"
            " SET data = CAST(data || excluded.data AS BLOB)",
            (
                (*key, word, struct.pack(f"<{len(values)}I", *values))
                for key, block in sorted(postings.items())
                for word, values in sorted(block.items())
            ),
        )

    def _write_vectors(
        self, points: Sequence[Point], slots: Sequence[int], folder: VectorFolder
    ) -> dict[int, tuple[int, float, int]]:
        """slot -> (dimension, scale, checksum) of every point that has a vector, written and flushed."""
        facts: dict[int, tuple[int, float, int]] = {}
        groups: dict[int, list[tuple[int, bytes]]] = defaultdict(list)
        for point, slot in zip(points, slots, strict=True):
            if point.vector is not None:
                groups[len(point.vector) // 4].append((slot, point.vector))
        for dimension, rows in groups.items():
            vectors = [unit(vector) for _, vector in rows]
            quantised = [quantise(vector) for vector in vectors]
            used = [slot for slot, _ in rows]
            codes = [each.codes for each in quantised]
            folder.of(dimension).write(used, vectors, codes, partial(self._rows_held, dimension))
            for slot, vector, each in zip(used, vectors, quantised, strict=True):
                facts[slot] = (dimension, each.scale, zlib.crc32(vector.tobytes()))
        return facts

    def _rows_held(self, dimension: int) -> int:
        """How many rows the files of this dimension must have for what is committed."""
        top = self._db.execute("SELECT max(slot) FROM slot WHERE dimension = ?", (dimension,)).fetchone()[0]
        return 0 if top is None else int(top) + 1

    def _drop(self, slots: Sequence[int], head: Head) -> None:
        gone: dict[tuple[int, int, bytes], list[int]] = defaultdict(list)
        rows = self._select(
            "SELECT slot, place.tenant, terms FROM slot JOIN source USING (slot) JOIN place ON place.id = slot.place"
            " WHERE slot IN ({})",
            slots,
        )
        for slot, tenant_id, terms in rows:
            for word in _terms_decoder.decode(terms):
                gone[tenant_id, slot >> BLOCK_BITS, word].append(slot & OFFSET_MASK)
        for key, offsets in sorted(gone.items()):
            self._drop_postings(key, offsets)
        self._db.executemany("DELETE FROM source WHERE slot = ?", ((slot,) for slot in slots))
        self._db.executemany(
            "UPDATE slot SET chunk_id = NULL, document_id = NULL, place = 0, acl_id = 0, scale = 0, length = 0,"
            " dirty = dimension > 0, freed_at = ?, seq = ? WHERE slot = ?",
            ((time.time(), head.seq, slot) for slot in slots),
        )

    def _drop_postings(self, key: tuple[int, int, bytes], offsets: Sequence[int]) -> None:
        where = "WHERE tenant = ? AND block = ? AND term = ?"
        row = self._db.execute(f"SELECT data FROM posting {where}", key).fetchone()
        if row is None:
            return
        data = np.frombuffer(row[0], "<u4")
        kept = data[~np.isin(data & OFFSET_MASK, np.array(offsets, np.uint32))]
        if kept.size:
            self._db.execute(f"UPDATE posting SET data = ? {where}", (kept.tobytes(), *key))
        else:
            self._db.execute(f"DELETE FROM posting {where}", key)


def count_words(terms: bytes) -> int:
    return len(_terms_decoder.decode(terms))


def _as_words(terms: Collection[str]) -> list[bytes]:
    """Terms are keys as they are: no tokenizer of SQLite's ever sees them, so none is folded, split or refused."""
    joined = _joined(terms)
    if joined is None:
        return [_as_bytes(term) for term in terms]
    return joined.split(b"\0") if terms else []


def _joined(terms: Collection[str]) -> bytes | None:
    """One conversion serves them all; None when one of them holds a zero itself."""
    joined = "\0".join(terms)
    return None if joined.count("\0") >= max(1, len(terms)) else _as_bytes(joined)


def _as_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _digest(point: Point) -> bytes:
    """Of everything but the acl_id, which changes without touching the rest."""
    joined = _joined(point.terms)
    terms = [_as_bytes(term) for term in point.terms] if joined is None else joined
    parts = (point.document_id, point.tenant, point.collection_id, point.vector, len(point.terms), terms)
    return hashlib.blake2b(_encoder.encode(parts), digest_size=16).digest()
