"""Ingest rate beside the embedder's own rate, in one run: documents in through the whole path, then the same texts embedded alone.

    make bench-ingest ARGS="--documents 200 --json out/ingest.json"
    make bench-ingest ARGS="--documents 1500 --bytes 1000 --models none"     (words only)
    make bench-ingest ARGS="--documents 100000 --bytes 300 --memory"         (words only: resident size every 5,000 documents)

Rows: {"name", "documents", "chunks", "wall_s", "cpu_s", "chunks_per_s", "ratio"}; `ratio` is the whole path's rate over the
embedder's own, measured on the very chunks that the path produced; `cpu_ratio` is the same by
processor time, to be read where other work shares the machine. `cpu_s` is this process and the parsing children together,
`children_cpu_s` the children's part; the rates per CPU second are over both. The floor is SQLite alone taking the same
chunks into a table and a word index in one transaction.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import pydoc_data.topics
import random
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import Any

from bascule.bootstrap import App, open_app
from bascule.core.calls import Call
from bascule.core.connectors import SourceItem
from bascule.core.deadlines import Deadline
from bascule.core.principals import system_principal
from bascule.core.rights import Rights
from bascule.settings import Exact

WHO = system_principal("default")
TOGETHER = 1000  # documents handed over at once where memory is measured,
EVERY = 5000  # and between two rows


def items(count: int, size: int = 0) -> list[SourceItem]:
    """Each its own document: a topic taken again has its own name and its own first line. `size`: instead of a topic each, as many
    bytes of them from a place of its own."""
    if size:
        return small(count, size)
    topics = sorted(pydoc_data.topics.topics.items())
    numbered = [
        (f"{name}-{copy}", f"Copy {copy}.\n\n{text}")
        for copy in range(count // len(topics) + 1)
        for name, text in topics
    ]
    return [SourceItem(external_id=n, name=f"{n}.txt", data=t.encode(), title=n) for n, t in numbered[:count]]


def small(count: int, size: int, first: int = 0) -> list[SourceItem]:
    words = " ".join(text for _, text in sorted(pydoc_data.topics.topics.items())).split()
    chance = random.Random(5 + first)
    made = []
    for number in range(first, first + count):
        parts = [f"Note {number}."]
        while sum(map(len, parts)) < size:
            at = chance.randrange(len(words) - 60)
            parts.append(" ".join(words[at : at + chance.randrange(25, 60)]))
        made.append(("\n\n".join(parts)[:size], f"note {number}"))
    return [SourceItem(external_id=n, name=f"{n}.txt", data=t.encode(), title=n) for t, n in made]


def cpu_s() -> float:
    times = os.times()
    return times.user + times.system


def children_cpu_s() -> float:
    """Only of children that have ended: read it when the application is closed."""
    times = os.times()
    return times.children_user + times.children_system


async def settle(app: App, given: list[SourceItem]) -> Any:
    assert app.ingest is not None
    job, _ = await app.ingest.take(WHO, "bench", given, Rights.of(allow=["public"]))
    while True:
        (state,) = await app.catalogue.job_progress(
            WHO, 1, job.id
        )  # counts alone: a list of all its items costs as much as they
        if state.state in ("done", "failed"):
            return state
        await asyncio.sleep(0.25)


async def ingest(app: App, given: list[SourceItem]) -> dict[str, Any]:
    await settle(
        app,
        [SourceItem(external_id="warm", name="warm.txt", data=b"The first document loads the modules.", title="warm")],
    )
    before = len(await app.catalogue.live_chunk_ids("default"))
    wall, cpu = time.perf_counter(), cpu_s()
    state = await settle(app, given)
    wall, cpu = time.perf_counter() - wall, cpu_s() - cpu
    chunks = len(await app.catalogue.live_chunk_ids("default")) - before
    return {"documents": state.counts.get("indexed", 0), "chunks": chunks, "wall_s": wall, "cpu_s": cpu}


async def chunk_texts(app: App) -> list[str]:
    texts: list[str] = []
    for tenant, document_id in await app.catalogue.live_documents():
        texts += [p.indexed_text for p in await app.catalogue.points(tenant, document_id)]
    return texts


def rows_alone(texts: list[str], file: Path) -> dict[str, Any]:
    cpu = cpu_s()
    database = sqlite3.connect(file)
    database.execute("CREATE TABLE chunk (id INTEGER PRIMARY KEY, text TEXT)")
    database.execute("CREATE VIRTUAL TABLE words USING fts5(text, content='')")
    for table in ("chunk", "words"):
        database.executemany(
            f"INSERT INTO {table} ({'id' if table == 'chunk' else 'rowid'}, text) VALUES (?, ?)", enumerate(texts, 1)
        )
    database.commit()
    database.close()
    cpu = cpu_s() - cpu
    return {
        "name": "floor: SQLite alone",
        "chunks": len(texts),
        "cpu_s": cpu,
        "ms_per_chunk": 1000 * cpu / max(len(texts), 1),
    }


def per_cpu(row: dict[str, Any], children: float, given: list[SourceItem], alone: dict[str, Any] | None) -> None:
    row["children_cpu_s"] = children
    row["cpu_s"] += children
    size = sum(len(item.data) for item in given)
    row["documents_per_cpu_s"] = row["documents"] / row["cpu_s"]
    row["mb_per_cpu_s"] = size / 1e6 / row["cpu_s"]
    if alone is not None:
        row["cpu_ratio"] = (alone["cpu_s"] / alone["chunks"]) / (row["cpu_s"] / row["chunks"])


async def embed_alone(app: App, embedding_model: str) -> dict[str, Any]:
    texts = await chunk_texts(app)
    embedder = await app.gateway.embedder(embedding_model)
    texts.sort(key=len)
    wall, cpu = time.perf_counter(), cpu_s()
    for at in range(0, len(texts), 64):
        # A changed last character keeps the length and misses the cache.
        part = [text[:-1] + "~" for text in texts[at : at + 64]]
        await embedder.embed(part, "document", Call(WHO, Deadline.after(300)))
    wall, cpu = time.perf_counter() - wall, cpu_s() - cpu
    number = len(texts)
    return {"name": "embedder alone", "chunks": number, "wall_s": wall, "cpu_s": cpu, "chunks_per_s": number / wall}


async def measure(given: list[SourceItem], models: Path) -> list[dict[str, Any]]:
    rows = []
    for model in ("minilm", None):
        if model and not (models / model).is_dir():
            print("no embedding model: run `bascule models pull`; only the path without embedding is measured")
            continue
        with tempfile.TemporaryDirectory() as folder:
            children = children_cpu_s()
            alone: dict[str, Any] | None = None
            settings = Exact(data=Path(folder) / "data", models_dir=models, rag={"embedding_model": model})
            async with open_app(settings, work=True) as app:
                row = await ingest(app, given)
                row["name"] = "ingest, embedding" if model else "ingest, lexical only"
                row["chunks_per_s"] = row["chunks"] / row["wall_s"]
                row["documents_per_s"] = row["documents"] / row["wall_s"]
                if model:
                    alone = await embed_alone(app, model)
                    rows.append(alone)
                    row["ratio"] = row["chunks_per_s"] / alone["chunks_per_s"]
                else:
                    rows.append(rows_alone(await chunk_texts(app), Path(folder) / "floor.sqlite"))
                rows.append(row)
            per_cpu(row, children_cpu_s() - children, given, alone)
    return rows


def resident_mb(process: int | str = "self") -> float:
    with open(f"/proc/{process}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def children_mb() -> float:
    """Of the parsing processes, which are all that this process starts."""
    found = 0.0
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            found += sum(map(resident_mb, (task / "children").read_text().split()))
    return found


async def memory(count: int, size: int, file: Path | None) -> None:
    """As a connector would hand them over: a thousand at a time, none kept."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Exact(data=Path(folder) / "data", models_dir=Path(folder), rag={"embedding_model": None})
        async with open_app(settings, work=True) as app:
            for done in range(0, count, TOGETHER):
                part = small(min(TOGETHER, count - done), size, done)
                await settle(app, part)
                if done % EVERY == 0 or done + TOGETHER >= count:
                    row = {"name": "memory", "documents": done + len(part), "resident_mb": resident_mb()}
                    row |= {"children_mb": children_mb(), "cpu_s": cpu_s(), "wall_s": time.perf_counter()}
                    shown([row], file, more=True)


def shown(rows: list[dict[str, Any]], file: Path | None, *, more: bool = False) -> None:
    for row in rows:
        print("  ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in row.items()), flush=True)
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a" if more else "w") as out:
            out.write("".join(json.dumps(row) + "\n" for row in rows))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--documents", type=int, default=81)
    arguments.add_argument(
        "--bytes", type=int, default=0, help="of each document; 0: a topic of the language reference each"
    )
    arguments.add_argument("--models", type=Path, default=Path(os.environ.get("BASCULE_MODELS_DIR", ".models")))
    arguments.add_argument("--memory", action="store_true", help="resident size as documents come, and nothing else")
    arguments.add_argument("--json", type=Path)
    given = arguments.parse_args()
    if given.memory:
        return asyncio.run(memory(given.documents, given.bytes or 300, given.json))
    rows = asyncio.run(measure(items(given.documents, given.bytes), given.models))
    shown(rows, given.json)


if __name__ == "__main__":
    main()
