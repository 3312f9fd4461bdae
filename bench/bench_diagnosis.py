"""Is the diagnosis of a refusal right? What `explain` says by itself, without being told what was expected.

    python bench/bench_diagnosis.py [--sets squad2] [--sample 300] [--data DIR] [--json FILE]

Answerable questions are asked with their article there and with it out of reach, unanswerable ones with the paragraph that does not
say it. A row is one of these three and what its refusals were diagnosed as. Right is, with the article there, where its paragraph
was (read: "in context but ignored"; left out: "ranked but truncated"; else "retrieved but not ranked"), and out of reach
"not indexed".
Refusals are few while the article is there: 1,000 questions give about 55.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, cast

from bascule.core.errors import ConfigError
from bascule.core.http import HttpClient
from bascule.core.resources import Resources
from bascule.core.traces import Trace
from bascule.plugins.providers import onnx
from bascule.plugins.vector_stores import sqlite
from bascule.rag.missed import facts_of
from bench_quality import ASKER, MODELS, ROOT, Bench, Embedder, Row, _load, _sampled

IGNORED, TRUNCATED, NOT_RANKED, NOT_INDEXED = (
    "in context but ignored", "ranked but truncated", "retrieved but not ranked", "not indexed",
)  # fmt: skip
NAMES = (IGNORED, TRUNCATED, NOT_RANKED, NOT_INDEXED)


def truth(kind: str, gold: str, trace: Trace) -> str:
    """Where the paragraph was."""
    if kind == "absent":
        return NOT_INDEXED
    if gold in trace.chunk_ids:
        return IGNORED
    return TRUNCATED if gold in facts_of(trace, "prompt").get("left_out_chunk_ids", ()) else NOT_RANKED


async def refusals(bench: Bench, asked: Sequence[Row], sample: int, search: str) -> list[Row]:
    articles = sorted({q["article"] for q in asked})
    questions = bench.questions(dense=search == "hybrid")
    found = []
    for kind, able, share in (("there", True, 1), ("absent", True, 4), ("unsaid", False, 4)):
        chosen = _sampled([q for q in asked if q["answerable"] is able], sample // share)
        told: list[tuple[str, str]] = []
        for q in chosen:
            others = [a for a in articles if a != q["article"]] if kind == "absent" else None
            answer = await questions.answer(ASKER, q["text"].strip(), collections=others)
            if answer.status == "refused":
                trace = bench.catalogue.saved[answer.id]
                told.append((trace.diagnosis, truth(kind, q["paragraph"], trace)))
        if chosen:
            found.append(row(search, kind, len(chosen), told))
    return found


def row(search: str, kind: str, asked: int, told: Sequence[tuple[str, str]]) -> Row:
    said = Counter(diagnosis for diagnosis, _ in told)
    return {
        "bench": "diagnosis",
        "search": search,
        "article": kind,
        "asked": asked,
        "refused": len(told),
        **{name: said[name] for name in NAMES},
        "right": sum(diagnosis == true for diagnosis, true in told) / max(1, len(told)),
    }


async def run(sets: Sequence[str], data: Path, sample: int) -> list[Row]:
    found: list[Row] = []
    async with AsyncExitStack() as stack:
        resources = Resources(
            http=cast(HttpClient, None), data=MODELS, models=MODELS, secret=lambda reference: reference
        )
        model = await stack.enter_async_context(onnx.connect(onnx.Settings(threads=2), resources))
        for name in sets:
            collection, asked = _load(data / name)
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            own = Resources(http=cast(HttpClient, None), data=folder, models=MODELS, secret=lambda reference: reference)
            store = await stack.enter_async_context(sqlite.connect(sqlite.Settings(), own))
            bench = Bench(store, Embedder(model))
            await bench.add(collection.passages, {p.id: p.id.rsplit("#", 1)[0] for p in collection.passages})
            for search in ("hybrid", "words only"):
                for one in await refusals(bench, asked, sample, search):
                    found.append({"set": name, **one})
                    print("  ".join(f"{k} {_shown(v)}" for k, v in found[-1].items() if k != "bench"), flush=True)
    return found


def _shown(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", default="squad2")
    parser.add_argument("--sample", type=int, default=300, help="answerable questions; a quarter as many for the rest")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "retrieval")
    parser.add_argument("--json", type=Path, help="write one JSON object per row")
    asked = parser.parse_args()
    if not asked.data.is_dir():
        parser.exit(0, f"no question sets in {asked.data}: nothing measured\n")
    try:
        rows = asyncio.run(run(asked.sets.split(","), asked.data, asked.sample))
    except ConfigError as error:
        parser.exit(0, f"nothing measured: {error}\n")
    if asked.json:
        asked.json.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
