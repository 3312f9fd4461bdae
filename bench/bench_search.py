"""Permission-filtered hybrid search in the embedded stores, beside the floors they stand on.

    python bench/bench_search.py [--sizes 10000,100000] [--stores sqlite,qdrant_edge] [--queries 200] [--json FILE]

One row for each size, share of visible chunks and method: p50 and p99 in milliseconds, CPU per query, and recall against a
scan in float64 and the naive BM25 formula (ten queries each). Words follow the interpreter's own documentation (pydoc topics)
with a Zipfian tail; vectors are random, unit length, in clusters. `hybrid` is what a question costs: dense and lexical, 60
candidates each; `new scope` when every question comes from somebody else. On a busy machine believe the CPU column.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np
from usearch.index import search as usearch_search

from bascule.core.lexical import terms
from bascule.core.vectors import Candidate, Point, Scope
from bascule.plugins.vector_stores.qdrant_edge import EdgeVectorStore
from bascule.plugins.vector_stores.sqlite import SqliteVectorStore

DIMENSION = 384
TERMS_PER_CHUNK = 100
TERMS_PER_QUERY = 7
TAIL_WORDS = 200_000
TAIL_SHARE = 0.25
CHUNKS_PER_DOCUMENT = 20
CANDIDATES = 60
BATCH = 512
COLLECTION = "c"
TENANT = "t"
# acl 1 is on 1 % of the chunks, acl 2 on 9 %, acl 3 on the rest: so {1}, {1, 2}, {1, 2, 3} see 1, 10 and 100 %.
VISIBLE: dict[int, frozenset[int]] = {1: frozenset({1}), 10: frozenset({1, 2}), 100: frozenset({1, 2, 3})}

Row = dict[str, Any]


class Corpus:
    """Chunks as arrays: words by number, unit vectors, acl by document."""

    def __init__(self, size: int, seed: int = 7) -> None:
        rng = np.random.default_rng(seed)
        counted = Counter(word for text in topics.values() for word in terms(text))
        self.words = np.array([*counted, *(f"tail{n}" for n in range(TAIL_WORDS))])
        head = np.array(list(counted.values()), float)
        tail = 1 / np.arange(10, TAIL_WORDS + 10)
        weights = np.concatenate((head / head.sum() * (1 - TAIL_SHARE), tail / tail.sum() * TAIL_SHARE))
        self.numbers = rng.choice(self.words.size, (size, TERMS_PER_CHUNK), p=weights)
        centres = rng.standard_normal((200, DIMENSION)).astype(np.float32)
        own = rng.standard_normal((size, DIMENSION)).astype(np.float32)
        self.vectors = _unit(centres[rng.integers(0, 200, size)] + own)
        documents = rng.choice([1, 2, 3], size // CHUNKS_PER_DOCUMENT + 1, p=[0.01, 0.09, 0.9])
        self.acl = np.repeat(documents, CHUNKS_PER_DOCUMENT)[:size]
        self.size = size

    def points(self) -> Iterator[list[Point]]:
        for start in range(0, self.size, BATCH):
            yield [self._point(n) for n in range(start, min(start + BATCH, self.size))]

    def _point(self, number: int) -> Point:
        return Point(
            chunk_id=f"{number:032x}",
            document_id=f"d{number // CHUNKS_PER_DOCUMENT}",
            tenant=TENANT,
            collection_id=COLLECTION,
            acl_id=int(self.acl[number]),
            vector=self.vectors[number].tobytes(),
            terms=tuple(self.words[self.numbers[number]].tolist()),
        )

    def queries(self, count: int) -> list[tuple[np.ndarray[Any, Any], list[str]]]:
        """A vector near a chunk's, and seven of its words."""
        rng = np.random.default_rng(11)
        found = []
        for number in rng.integers(0, self.size, count):
            vector = _unit(self.vectors[number] + 0.03 * rng.standard_normal(DIMENSION).astype(np.float32))
            words = self.words[rng.choice(self.numbers[number], TERMS_PER_QUERY, replace=False)]
            found.append((vector, words.tolist()))
        return found


def _unit(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    unit: np.ndarray[Any, Any] = values / np.linalg.norm(values, axis=-1, keepdims=True)
    return unit.astype(np.float32)


class Clock:
    """Wall and CPU time of repeated work."""

    def __init__(self) -> None:
        self.wall_ms: list[float] = []
        self.cpu_s = 0.0

    async def time(self, work: Callable[[], Awaitable[Any]]) -> Any:
        wall, cpu = time.perf_counter(), time.process_time()
        result = await work()
        self.wall_ms.append((time.perf_counter() - wall) * 1e3)
        self.cpu_s += time.process_time() - cpu
        return result

    def row(self, **facts: Any) -> Row:
        p50, p99 = np.percentile(self.wall_ms, [50, 99])
        cpu_ms = self.cpu_s * 1e3 / len(self.wall_ms)
        return {**facts, "p50_ms": round(p50, 2), "p99_ms": round(p99, 2), "cpu_ms": round(cpu_ms, 2)}


def recall(found: list[Candidate], scores: np.ndarray[Any, Any], limit: int) -> float:
    """Share of the `limit` best scores that was found (a tie with the last counts as found)."""
    positive = np.sort(scores[np.isfinite(scores)])[::-1][:limit]
    if not positive.size:
        return 1.0
    good = sum(1 for c in found if scores[int(c.chunk_id, 16)] >= positive[-1] - 1e-6)
    return good / positive.size


def bm25(corpus: Corpus, words: list[str]) -> np.ndarray[Any, Any]:
    """The formula over the whole matrix; every chunk has the same length, so the length factor is one."""
    scores = np.zeros(corpus.size)
    number_of = {word: n for n, word in enumerate(corpus.words.tolist())}
    for word in words:
        tf = (corpus.numbers == number_of[word]).sum(axis=1)
        df = np.count_nonzero(tf)
        scores += np.log(1 + (corpus.size - df + 0.5) / (df + 0.5)) * tf * 2.2 / (tf + 1.2)
    return np.where(scores > 0, scores, -np.inf)


async def measure(store: SqliteVectorStore, corpus: Corpus, percent: int, count: int) -> list[Row]:
    scope = Scope(tenant=TENANT, collection_ids=frozenset({COLLECTION}), allowed=VISIBLE[percent])
    hidden = ~np.isin(corpus.acl, list(VISIBLE[percent]))
    queries = corpus.queries(count)
    names = ("dense", "lexical", "hybrid")
    clocks = {name: Clock() for name in names}
    dense_recall, lexical_recall = [], []
    for number, (vector, words) in enumerate(queries):
        data = vector.tobytes()
        near = await clocks["dense"].time(lambda data=data: store.dense(data, scope, CANDIDATES))
        best = await clocks["lexical"].time(lambda words=words: store.lexical(words, scope, CANDIDATES))
        await clocks["hybrid"].time(
            lambda data=data, words=words: asyncio.gather(
                store.dense(data, scope, CANDIDATES), store.lexical(words, scope, CANDIDATES)
            )
        )
        if number < 10:
            exact = np.where(hidden, -np.inf, corpus.vectors.astype(float) @ vector)
            dense_recall.append(recall(near, exact, CANDIDATES))
            lexical_recall.append(recall(best, np.where(hidden, -np.inf, bm25(corpus, words)), CANDIDATES))
    recalls = {"dense": np.mean(dense_recall), "lexical": np.mean(lexical_recall)}
    recalls["hybrid"] = min(recalls.values())
    return [
        clocks[name].row(
            store=_name(store),
            chunks=corpus.size,
            visible_percent=percent,
            what=name,
            limit=CANDIDATES,
            recall=round(float(recalls[name]), 4),
        )
        for name in names
    ]


async def hybrid(store: SqliteVectorStore, corpus: Corpus, percent: int, count: int, what: str, limit: int) -> Row:
    """`new scope`: every question comes from somebody else, so nothing worked out for the last one helps."""
    clock = Clock()
    for number, (vector, words) in enumerate(corpus.queries(count)):
        own = {1000 + number} if "new scope" in what else set()
        scope = Scope(tenant=TENANT, collection_ids=frozenset({COLLECTION}), allowed=VISIBLE[percent] | own)
        await clock.time(
            lambda data=vector.tobytes(), words=words, scope=scope: asyncio.gather(
                store.dense(data, scope, limit), store.lexical(words, scope, limit)
            )
        )
    return clock.row(store=_name(store), chunks=corpus.size, visible_percent=percent, what=what, limit=limit)


def _name(store: SqliteVectorStore) -> str:
    return "qdrant_edge" if isinstance(store, EdgeVectorStore) else "sqlite"


async def memory(folder: Path, name: str) -> None:
    """What a process of its own grows by: run as a child, with the questions on standard input."""
    questions = [(bytes.fromhex(vector), words) for vector, words in json.load(sys.stdin)]
    scope = Scope(tenant=TENANT, collection_ids=frozenset({COLLECTION}), allowed=VISIBLE[100])
    store = EdgeVectorStore(folder) if name == "qdrant_edge" else SqliteVectorStore(folder)
    before = _rss_mb()
    if isinstance(store, EdgeVectorStore):
        await store.hold()
    started_s = time.perf_counter()
    await store.lexical(["nothing"], scope, 1)
    opened_ms = (time.perf_counter() - started_s) * 1e3
    for data, words in questions:
        await asyncio.gather(store.dense(data, scope, CANDIDATES), store.lexical(words, scope, CANDIDATES))
    await store.close()
    print(json.dumps({"first_answer_ms": round(opened_ms, 1), "rss_growth_mb": _rss_mb() - before}))


async def memory_of(folder: Path, corpus: Corpus, count: int, store: str = "sqlite") -> Row:
    questions = json.dumps([(vector.tobytes().hex(), words) for vector, words in corpus.queries(count)])
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, __file__, "--stores", store, "--memory", str(folder)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await child.communicate(questions.encode())
    return {"chunks": corpus.size, "what": "a process of its own", **json.loads(output)}


async def floors(corpus: Corpus, count: int) -> list[Row]:
    """The same work by an engine alone: no filter, no processes, no event loop."""
    codes = np.rint(corpus.vectors * (127 / np.abs(corpus.vectors).max(axis=1, keepdims=True))).astype(np.int8)
    kernel, fts = Clock(), Clock()
    table = sqlite3.connect(":memory:")
    table.execute("CREATE VIRTUAL TABLE f USING fts5(words, content='', tokenize='unicode61')")
    table.executemany(
        "INSERT INTO f (rowid, words) VALUES (?, ?)",
        ((n, " ".join(_ascii(corpus.words[numbers].tolist()))) for n, numbers in enumerate(corpus.numbers)),
    )

    async def scan(vector: np.ndarray[Any, Any]) -> None:
        query = np.rint(vector * (127 / np.abs(vector).max())).astype(np.int8)
        usearch_search(codes, query, CANDIDATES, "cos", exact=True, threads=1)

    async def match(words: list[str]) -> None:
        wanted = " OR ".join(f'"{word}"' for word in _ascii(words))
        table.execute(f"SELECT rowid FROM f WHERE f MATCH ? ORDER BY bm25(f) LIMIT {CANDIDATES}", (wanted,)).fetchall()

    for vector, words in corpus.queries(count):
        await kernel.time(lambda vector=vector: scan(vector))
        await fts.time(lambda words=words: match(words))
    facts = {"chunks": corpus.size, "visible_percent": 100, "limit": CANDIDATES}
    return [kernel.row(what="floor: usearch int8 scan", **facts), fts.row(what="floor: FTS5 OR", **facts)]


def _ascii(words: list[str]) -> list[str]:
    return ["x" + word.encode().hex() for word in words]


async def build(store: SqliteVectorStore, corpus: Corpus, folder: Path) -> Row:
    started_s, cpu_s = time.perf_counter(), time.process_time()
    for points in corpus.points():
        await store.upsert(points)
    wall_s = time.perf_counter() - started_s
    on_disk = await asyncio.to_thread(_size_of, folder)
    return {
        "chunks": corpus.size,
        "what": "build",
        "build_s": round(wall_s, 1),
        "cpu_s": round(time.process_time() - cpu_s, 1),
        "chunks_per_s": round(corpus.size / wall_s),
        "disk_mb": round(on_disk / 1e6),
    }


def _size_of(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*"))


async def generation(store: EdgeVectorStore, corpus: Corpus, folder: Path) -> Row:
    """What it costs to build one, and what the event loop notices: its delay beside that of as long a rest."""
    started_s, children_s = time.perf_counter(), _children_s()
    building = asyncio.create_task(store.build())
    delays_ms = []
    while not building.done():
        delays_ms.append(await _delay_ms())
    if not building.result():
        raise SystemExit("The generation was not built.")
    wall_s, cpu_s = time.perf_counter() - started_s, _children_s() - children_s
    resting_ms = [await _delay_ms() for _ in delays_ms[:2000]]
    return {
        "store": "qdrant_edge",
        "chunks": corpus.size,
        "what": "generation built in a child",
        "build_s": round(wall_s, 1),
        "cpu_s": round(cpu_s, 1),
        "loop_delay_p99_ms": round(float(np.percentile(delays_ms, 99)), 2),
        "loop_delay_max_ms": round(max(delays_ms), 2),
        "resting_p99_ms": round(float(np.percentile(resting_ms, 99)), 2),
        "disk_mb": round(await asyncio.to_thread(_size_of, folder / "edge") / 1e6),
    }


async def _delay_ms() -> float:
    started_s = time.perf_counter()
    await asyncio.sleep(0.002)
    return (time.perf_counter() - started_s) * 1e3 - 2


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


async def questions(store: SqliteVectorStore, corpus: Corpus, count: int) -> list[Row]:
    rows = []
    for percent in VISIBLE:
        found = await measure(store, corpus, percent, count)
        found.append(await hybrid(store, corpus, percent, count, "hybrid, new scope", CANDIDATES))
        found.append(await hybrid(store, corpus, percent, count, "hybrid", 10))
        rows += found
        for row in found:
            show(row)
    return rows


async def bench(sizes: list[int], stores: list[str], count: int, with_floors: bool) -> list[Row]:
    rows: list[Row] = []

    def note(row: Row) -> None:
        rows.append(row)
        show(row)

    for size in sizes:
        corpus = Corpus(size)
        with tempfile.TemporaryDirectory(prefix="bascule-bench-") as name:
            folder = Path(name)
            store = SqliteVectorStore(folder)
            note(await build(store, corpus, folder))
            await store.close()
            if "sqlite" in stores:
                note(await memory_of(folder, corpus, count))
                store = SqliteVectorStore(folder)
                rows += await questions(store, corpus, count)
                await store.close()
            if "qdrant_edge" in stores:
                edge = EdgeVectorStore(folder)
                note(await generation(edge, corpus, folder))
                rows += await questions(edge, corpus, count)
                await edge.close()
                note({"store": "qdrant_edge", **await memory_of(folder, corpus, count, "qdrant_edge")})
        if with_floors:
            for row in await floors(corpus, count):
                note(row)
    return rows


def _rss_mb() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except FileNotFoundError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return pages * resource.getpagesize() // 1_000_000


def show(row: Row) -> None:
    print("  ".join(f"{key}={value}" for key, value in row.items()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="10000,100000", help="numbers of chunks, comma-separated")
    parser.add_argument("--stores", default="sqlite,qdrant_edge", help="which stores, comma-separated")
    parser.add_argument("--queries", type=int, default=200, help="queries for each row")
    parser.add_argument("--no-floors", action="store_true", help="leave out the engines alone")
    parser.add_argument("--json", type=Path, help="write one JSON object per row to this file")
    parser.add_argument("--memory", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.memory:
        return asyncio.run(memory(given.memory, given.stores))
    sizes = [int(size) for size in given.sizes.split(",")]
    rows = asyncio.run(bench(sizes, given.stores.split(","), given.queries, not given.no_floors))
    if given.json:
        given.json.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
