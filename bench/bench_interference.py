"""Model calls while documents are being ingested: the same load on the same server, first alone, then beside an ingest.

    make bench-interference ARGS="--json FILE"

Four connections send distinct calls one after the other for `--seconds`; each row has their p50 and p99. The ingest embeds with the
built-in model where it is there (BASCULE_MODELS_DIR). About 40 s.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import pydoc_data.topics
import tempfile
from pathlib import Path
from typing import Any

import load
from bench_gateway import QUESTION, Server


def documents(folder: Path) -> Path:
    folder.mkdir()
    for name, text in pydoc_data.topics.topics.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    return folder


class Working(Server):
    """A server with RAG that knows the embedding model."""

    def __init__(self, folder: Path, upstream: int) -> None:
        super().__init__(folder, upstream, rag=True, http_client="aiohttp")
        if models := os.environ.get("BASCULE_MODELS_DIR"):
            self._environment["BASCULE_MODELS_DIR"] = models

    def ingest(self, folder: Path) -> None:
        self._run("ingest", str(folder), "--collection", "bench", "--allow", "public", "--json")

    def queued(self) -> int:
        """Documents that are not indexed yet."""
        jobs: list[dict[str, Any]] = self._run("jobs", "list", "--json")["data"]
        return sum(count for job in jobs for state, count in job["counts"].items() if state in ("queued", "running"))


async def calls(server: Server, name: str, seconds: float) -> dict[str, object]:
    make = server.make(QUESTION.replace(b"%d:", name.encode() + b" %d:"))
    result = await load.drive(server.port, make, connections=4, calls=10_000_000, limit_s=seconds, pids=server.pids)
    return result.row(name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json")
    parser.add_argument("--seconds", type=float, default=6.0)
    given = parser.parse_args()
    upstream, port = load.start_upstream()
    try:
        with tempfile.TemporaryDirectory() as folder, Working(Path(folder) / "server", port) as server:
            asyncio.run(calls(server, "warm", 1.0))
            rows: list[dict[str, Any]] = [asyncio.run(calls(server, "model calls alone", given.seconds))]
            server.ingest(documents(Path(folder) / "documents"))
            rows.append(asyncio.run(calls(server, "model calls while documents are ingested", given.seconds)))
            rows[-1]["documents_still_queued"] = server.queued()
    finally:
        load.end(upstream)
    load.show(rows, given.json)


if __name__ == "__main__":
    main()
