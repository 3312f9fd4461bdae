"""Builds a generation from the index, in a process of its own: `python -m ...qdrant_edge.building INDEX TARGET THREADS`.

The engine holds the interpreter lock while it optimises. The tables are read block by block, each in a transaction of its own, so
that no long one keeps removed words in the log; a slot that changes meanwhile has a number above this generation's, and its
searches pass over what is written here for it. The process ends when its parent does.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import qdrant_edge as engine

from bascule.core.errors import StorageError
from bascule.plugins.vector_stores.qdrant_edge import layout
from bascule.plugins.vector_stores.qdrant_edge.generation import ACL, PLACE, SPARSE, vector_name
from bascule.plugins.vector_stores.sqlite.schema import BLOCK_BITS, FILE, Head, open_index, reading
from bascule.plugins.vector_stores.sqlite.searching import K1, OFFSET_MASK, B
from bascule.plugins.vector_stores.sqlite.vector_files import VectorFolder

POINTS: Final = 1000  # in one update
HNSW_LINKS: Final = 16
HNSW_BREADTH: Final = 128
FULL_SCAN_KB: Final = 4096
NICE: Final = 10

SLOTS: Final = (
    "SELECT slot, slot.place, place.tenant, acl_id, dimension, length FROM slot JOIN place ON place.id = slot.place"
    " WHERE slot BETWEEN ? AND ? AND chunk_id IS NOT NULL AND seq <= ? ORDER BY slot"
)
POSTINGS: Final = "SELECT term, data FROM posting WHERE tenant = ? AND block = ?"
STATISTICS: Final = (
    "SELECT place.tenant, avg(length) FROM slot JOIN place ON place.id = slot.place"
    " WHERE chunk_id IS NOT NULL GROUP BY place.tenant"
)


class Block(NamedTuple):
    """`terms`: rows of (slot, word number, frequency), by slot."""

    slots: list[tuple[int, int, int, int, int, int]]
    terms: np.ndarray[Any, np.dtype[np.int64]]


def build(index: Path, target: Path, threads: int) -> None:
    """Raises StorageError when the index is replaced meanwhile."""
    target.mkdir(mode=0o700)
    tables = open_index(index / FILE)
    with reading(tables) as head:
        dimensions = tuple(row[0] for row in tables.execute("SELECT DISTINCT dimension FROM slot WHERE dimension > 0"))
        averages: dict[int, float] = dict(tables.execute(STATISTICS).fetchall())
        top = tables.execute("SELECT coalesce(max(slot), -1) FROM slot").fetchone()[0]
    shard = _shard(target / layout.SHARD, dimensions, threads)
    vectors, words, counts = VectorFolder(index, head.generation), dict[tuple[int, bytes], int](), Counter[Any]()
    with (target / layout.TERMS).open("wb") as terms, (target / layout.ROWS).open("wb") as rows:
        done = 0
        for number in range((top >> BLOCK_BITS) + 1):
            block = _read(tables, head, number, words)
            starts = _starts(block, number) + done
            rows.write(starts[:-1].astype("<u8").tobytes())
            terms.write(block.terms[:, 1:].astype("<u4").tobytes())
            done = int(starts[-1])
            counts.update((place, acl_id) for _, place, _, acl_id, _, _ in block.slots)
            for points in _points(block, averages, vectors):
                shard.update(engine.UpdateOperation.upsert_points(points))
        rows.write(np.array([done], "<u8").tobytes())
    tables.close()
    _keep_words(target / layout.WORDS, words)
    shard.optimize()
    shard.flush()
    shard.close()
    facts = layout.Facts(
        index=head.generation,
        seq=head.seq,
        built_at=time.time(),
        dimensions=dimensions,
        averages=averages,
        counts=tuple((place, acl_id, chunks) for (place, acl_id), chunks in counts.items()),
    )
    (target / layout.FACTS).write_bytes(msgspec.json.encode(facts))
    os.sync()  # it is named only when it is whole, also after a power cut


def _shard(path: Path, dimensions: tuple[int, ...], threads: int) -> engine.EdgeShard:
    graph = engine.HnswIndexConfig(
        m=HNSW_LINKS, ef_construct=HNSW_BREADTH, full_scan_threshold=FULL_SCAN_KB, max_indexing_threads=threads
    )
    config = engine.EdgeConfig(
        vectors={
            vector_name(dimension): engine.EdgeVectorParams(dimension, engine.Distance.Dot) for dimension in dimensions
        },
        sparse_vectors={SPARSE: engine.EdgeSparseVectorParams()},
        hnsw_config=graph,
        optimizers=engine.EdgeOptimizersConfig(
            indexing_threshold=FULL_SCAN_KB, default_segment_number=1, max_segment_size=1 << 30
        ),
        wal_enabled=True,
    )
    path.mkdir()
    shard = engine.EdgeShard.create(str(path), config)
    for field in (ACL, PLACE):
        shard.update(engine.UpdateOperation.create_field_index(field, engine.PayloadSchemaType.Integer))
    return shard


def _read(tables: sqlite3.Connection, head: Head, number: int, words: dict[tuple[int, bytes], int]) -> Block:
    first = number << BLOCK_BITS
    parts = []
    with reading(tables) as now:
        if now.generation != head.generation:
            raise StorageError("The index was emptied while a generation was built.")
        slots = tables.execute(SLOTS, (first, first + OFFSET_MASK, head.seq)).fetchall()
        for tenant in sorted({tenant for _, _, tenant, *_ in slots}):
            for term, data in tables.execute(POSTINGS, (tenant, number)):
                packed = np.frombuffer(data, "<u4").astype(np.int64)
                word = np.full(packed.size, words.setdefault((tenant, term), len(words)))
                parts.append(np.stack((first + (packed & OFFSET_MASK), word, packed >> BLOCK_BITS), axis=1))
    found = np.concatenate(parts) if parts else np.zeros((0, 3), np.int64)
    found = found[np.isin(found[:, 0], [row[0] for row in slots])]
    return Block(slots, found[np.argsort(found[:, 0], kind="stable")])


def _starts(block: Block, number: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Where each slot's terms begin among the block's, with one more for where they end."""
    first = number << BLOCK_BITS
    return np.searchsorted(block.terms[:, 0], np.arange(first, first + OFFSET_MASK + 2))


def _points(block: Block, averages: dict[int, float], vectors: VectorFolder) -> Iterator[list[engine.Point]]:
    for start in range(0, len(block.slots), POINTS):
        part = block.slots[start : start + POINTS]
        floats = _floats(part, vectors)
        yield [
            engine.Point(slot, named, {ACL: acl_id, PLACE: place})
            for slot, place, tenant, acl_id, _, length in part
            if (named := floats.get(slot, {}) | _weights(block, slot, length, averages.get(tenant, 1.0)))
        ]


def _floats(part: list[Any], vectors: VectorFolder) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for dimension in {row[4] for row in part} - {0}:
        slots = [row[0] for row in part if row[4] == dimension]
        picked = vectors.of(dimension).floats.pick(np.array(slots))
        found.update((slot, {vector_name(dimension): row.tolist()}) for slot, row in zip(slots, picked, strict=True))
    return found


def _weights(block: Block, slot: int, length: int, average: float) -> dict[str, Any]:
    """What each word adds to BM25 before its rarity, which only the question's moment knows."""
    start, end = np.searchsorted(block.terms[:, 0], (slot, slot + 1))
    if start == end:
        return {}
    tf = block.terms[start:end, 2].astype(np.float64)
    weights = tf * (K1 + 1) / (tf + K1 * (1 - B) + K1 * B * length / average)
    return {SPARSE: engine.SparseVector(block.terms[start:end, 1].tolist(), weights.tolist())}


def _keep_words(path: Path, words: dict[tuple[int, bytes], int]) -> None:
    kept = sqlite3.connect(path, isolation_level=None)
    kept.execute("PRAGMA journal_mode = OFF")
    kept.execute(
        "CREATE TABLE word (tenant INTEGER NOT NULL, word BLOB NOT NULL, number INTEGER NOT NULL,"
        " PRIMARY KEY (tenant, word)) WITHOUT ROWID"
    )
    kept.execute("BEGIN")
    kept.executemany("INSERT INTO word VALUES (?, ?, ?)", ((*key, number) for key, number in sorted(words.items())))
    kept.execute("COMMIT")
    kept.close()


def _end_with_parent() -> None:
    """Its standard input ends when the parent does, also by kill -9."""
    while os.read(0, 4096):
        pass
    os._exit(1)


def main() -> None:
    os.umask(0o077)
    os.nice(NICE)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    build(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))


if __name__ == "__main__":
    main()
