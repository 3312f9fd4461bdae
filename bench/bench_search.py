"""Permission-filtered hybrid search in the embedded stores, beside the floors they stand on.

    python bench/bench_search.py [--sizes 10000,100000] [--stores sqlite,qdrant_edge] [--queries 200] [--folder KEPT] [--json FILE]

One row for each size, share of visible chunks and method: p50 and p99 in milliseconds, CPU per query, and recall against a
scan in float64 and the naive BM25 formula (ten queries each) over made-up chunks (`search_corpus.py`). `hybrid` is what a question
costs: dense and lexical, 60 candidates each; `new scope` when every question comes from somebody else. On a busy machine believe
the CPU column; it holds the engine's process too.
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
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from usearch.index import search as usearch_search

import search_bulk
from bascule.core.vectors import Scope
from bascule.plugins.vector_stores.qdrant_edge import EdgeVectorStore
from bascule.plugins.vector_stores.sqlite import SqliteVectorStore
from search_corpus import COLLECTION, TENANT, VISIBLE, Corpus, recall

CANDIDATES = 60
ONE_BY_ONE = 100_000  # larger indexes are filled by `search_bulk.py`

Row = dict[str, Any]


class Clock:
    """Wall and CPU time of repeated work; CPU that of this process and of those it has started."""

    def __init__(self) -> None:
        self.wall_ms: list[float] = []
        self.cpu_s = 0.0
        self._started = [child.pid for child in psutil.Process().children()]

    async def time(self, work: Callable[[], Awaitable[Any]]) -> Any:
        cpu_s, wall_s = self._cpu_s(), time.perf_counter()
        result = await work()
        self.wall_ms.append((time.perf_counter() - wall_s) * 1e3)
        self.cpu_s += self._cpu_s() - cpu_s
        return result

    def _cpu_s(self) -> float:
        tasks = [path for pid in self._started for path in Path(f"/proc/{pid}/task").glob("*/schedstat")]
        return time.process_time() + sum(int(path.read_text().split()[0]) for path in tasks) / 1e9

    def row(self, **facts: Any) -> Row:
        p50, p99 = np.percentile(self.wall_ms, [50, 99])
        cpu_ms = self.cpu_s * 1e3 / len(self.wall_ms)
        return {**facts, "p50_ms": round(p50, 2), "p99_ms": round(p99, 2), "cpu_ms": round(cpu_ms, 2)}


async def measure(store: SqliteVectorStore, corpus: Corpus, percent: int, count: int) -> list[Row]:
    scope = Scope(tenant=TENANT, collection_ids=frozenset({COLLECTION}), allowed=VISIBLE[percent])
    hidden = corpus.hidden(percent)
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
        if number < (10 if corpus.size <= ONE_BY_ONE else 3):
            exact = np.where(hidden, -np.inf, corpus.cosines(vector))
            dense_recall.append(recall(near, exact, CANDIDATES))
            lexical_recall.append(recall(best, np.where(hidden, -np.inf, corpus.bm25(words)), CANDIDATES))
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
    opening_s = time.process_time()
    if isinstance(store, EdgeVectorStore):
        await store.hold()
    opening_s = time.process_time() - opening_s
    started_s = time.perf_counter()
    await store.lexical(["nothing"], scope, 1)
    opened_ms = (time.perf_counter() - started_s) * 1e3
    for data, words in questions:
        await asyncio.gather(store.dense(data, scope, CANDIDATES), store.lexical(words, scope, CANDIDATES))
    grown_mb = _rss_mb() - before
    engine_mb = sum(child.memory_info().rss for child in psutil.Process().children()) // 1_000_000
    await store.close()
    facts = {"first_answer_ms": round(opened_ms, 1), "rss_growth_mb": grown_mb}
    if engine_mb:
        facts |= {"engine_rss_mb": engine_mb, "own_cpu_while_it_opened_ms": round(opening_s * 1e3, 1)}
    print(json.dumps(facts))


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
        ((n, " ".join(_ascii(corpus.words_of(n).tolist()))) for n in range(corpus.size)),
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
    if corpus.size <= ONE_BY_ONE:
        for points in corpus.points():
            await store.upsert(points)
    else:
        await asyncio.to_thread(search_bulk.fill, folder, corpus)
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
        "resting_max_ms": round(max(resting_ms), 2),
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


async def bench(sizes: list[int], stores: list[str], count: int, with_floors: bool, made: Path) -> list[Row]:
    rows: list[Row] = []

    def note(row: Row) -> None:
        rows.append(row)
        show(row)

    for size in sizes:
        corpus, folder = Corpus(size, made), made / f"store-{size}"
        if not folder.exists():
            unfinished = Path(tempfile.mkdtemp(dir=made))
            store = SqliteVectorStore(unfinished)
            note(await build(store, corpus, unfinished))
            await store.close()
            unfinished.rename(folder)
        if "sqlite" in stores:
            note(await memory_of(folder, corpus, count))
            store = SqliteVectorStore(folder)
            rows += await questions(store, corpus, count)
            await store.close()
        if "qdrant_edge" in stores:
            edge = EdgeVectorStore(folder)
            if not (await edge.hold() and await edge.mend()):  # a kept folder has one
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
    parser.add_argument(
        "--folder", type=Path, help="keep the chunks and indexes here, and use what is here; 10 KB a chunk"
    )
    parser.add_argument("--json", type=Path, help="write one JSON object per row to this file")
    parser.add_argument("--memory", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.memory:
        return asyncio.run(memory(given.memory, given.stores))
    sizes = [int(size) for size in given.sizes.split(",")]
    with tempfile.TemporaryDirectory(prefix="bascule-bench-") as made:
        folder = given.folder or Path(made)
        rows = asyncio.run(bench(sizes, given.stores.split(","), given.queries, not given.no_floors, folder))
    if given.json:
        given.json.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
