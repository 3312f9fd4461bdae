"""How good search and answers are: public question sets, asked of the question path in process.

    python bench/bench_quality.py [--sets squad2,xquad-es,cranfield] [--sample 400] [--data DIR] [--json FILE]

Rows of search: nDCG@10 and recall@10 of BM25 alone, dense alone, both fused, and both with the feature reranker (the default).
Rows of answers (extractive, squad2): how often the answer holds a gold text, its length, refusals of questions asked with their
article there, with their article absent, and of questions whose paragraph is there but does not say it.
Rows of checks (squad2): what the verifier lets through, of true sentences, of altered ones, and of those of other paragraphs.
Needs the embedding model (`bascule models pull`); without it only BM25 rows are printed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, cast

import msgspec

from bascule.core.calls import Call
from bascule.core.deadlines import Deadline
from bascule.core.documents import Collection, VisibleChunk
from bascule.core.embedding import EmbeddingRequest, Purpose
from bascule.core.errors import ConfigError
from bascule.core.http import HttpClient
from bascule.core.lexical import terms
from bascule.core.principals import Principal
from bascule.core.resources import Resources
from bascule.core.rights import Rights
from bascule.core.vectors import Point, VectorStore
from bascule.evals import beir
from bascule.plugins.providers import onnx
from bascule.plugins.vector_stores import sqlite
from bascule.rag import sentences, verify
from bascule.rag.options import RagOptions
from bascule.rag.questions import Questions
from bascule.testing.rag_fakes import FakeCatalogue, FakeDocument

ROOT = Path(__file__).parents[1]
MODELS = Path(os.environ.get("BASCULE_MODELS_DIR") or ROOT / ".models")
ASKER = Principal(tenant="bench", subject="bench")
Row = dict[str, Any]


class Embedder:
    """The built-in model as a collection sees it; query vectors are kept, since each query is asked several times."""

    def __init__(self, model: onnx.OnnxEmbeddingModel) -> None:
        self._model = model
        self._known: dict[str, bytes] = {}
        self.fingerprint, self.dimension = model.fingerprint, model.dimension

    async def embed(self, texts: Sequence[str], purpose: Purpose, call: Call) -> tuple[bytes, ...]:
        missing = [t for t in texts if t not in self._known]
        for at in range(0, len(missing), 256):
            part = tuple(missing[at : at + 256])
            found = await self._model.embed(EmbeddingRequest(model="minilm", texts=part, purpose="document"), call)
            self._known |= dict(zip(part, found.vectors, strict=True))
        return tuple(self._known[t] for t in texts)


class Bench:
    def __init__(self, store: VectorStore, embedder: Embedder | None) -> None:
        self.catalogue = FakeCatalogue()
        self.store = store
        self.embedder = embedder

    def questions(self, *, dense: bool = True, **options: Any) -> Questions:
        return Questions(
            passages=self.catalogue,
            traces=self.catalogue,
            store=self.store,
            embedder=self.embedder if dense else None,
            chat=None,
            options=RagOptions(timeout_s=600, embed_timeout_s=600, **options),
        )

    async def add(self, passages: Sequence[beir.Passage], collection_of: dict[str, str]) -> None:
        fingerprint = self.embedder.fingerprint if self.embedder else ""
        rights = Rights.of(["public"])
        acl_id = self.catalogue.acl_id(ASKER.tenant, rights)
        texts = [f"{p.title}\n{p.text}" for p in passages]
        vectors: Sequence[bytes | None] = [None] * len(texts)
        if self.embedder is not None:
            vectors = await self.embedder.embed(texts, "document", Call(ASKER, Deadline.after(3600)))
        points = []
        for passage, text, vector in zip(passages, texts, vectors, strict=True):
            name = collection_of[passage.id]
            made = Collection(id=name, tenant=ASKER.tenant, name=name, fingerprint=fingerprint)
            self.catalogue.collections.setdefault((ASKER.tenant, name), made)
            document = passage.id.partition("#")[0]
            chunk = _chunk(passage, document, name)
            self.catalogue.documents.setdefault(
                document, FakeDocument(document, ASKER.tenant, name, rights, [])
            ).chunks.append(chunk)
            points.append(
                Point(
                    chunk_id=passage.id,
                    document_id=document,
                    tenant=ASKER.tenant,
                    collection_id=name,
                    acl_id=acl_id,
                    vector=vector,
                    terms=terms(text),
                )
            )
        await self.store.upsert(points)


def _chunk(passage: beir.Passage, document: str, collection: str) -> VisibleChunk:
    return VisibleChunk(
        id=passage.id,
        document_id=document,
        collection_id=collection,
        collection=collection,
        title=passage.title,
        name=passage.id,
        source="bench",
        text=passage.text,
        heading_path=(),
        start=0,
        end=len(passage.text),
        page=None,
        ordinal=0,
        tokens=len(passage.text) // 4,
        version=1,
        metadata={},
        updated_at="",
    )


async def search_rows(bench: Bench, name: str, collection: beir.Collection, sample: int) -> list[Row]:
    bare = {"rerank_weight": 0.0, "sentence_weight": 0.0}
    kinds: dict[str, dict[str, Any]] = {"BM25": {"dense": False, "rerank_weight": 0.0}}
    if bench.embedder is not None:
        kinds |= {
            "dense": {"dense_weight": 1.0, **bare},
            "both, rank fusion": {"fusion": "ranks", **bare},
            "both, distribution fusion": {"fusion": "distribution", **bare},
            "both": {**bare},
            "both, nearest sentence": {"rerank_weight": 0.0},
            "reranked, no sentences": {"sentence_weight": 0.0},
            "reranked, exact off": {"exact": False},
            "reranked, distribution fusion": {"fusion": "distribution"},
            **{f"reranked, mmr {share}": {"mmr": share} for share in (0.1, 0.3, 0.5)},
            **{f"reranked, per document {most}": {"per_document": most} for most in (2, 3, 5)},
            "both, reranked (default)": {},
        }
    else:
        kinds["BM25, reranked"] = {}
    rows = []
    for kind, options in kinds.items():
        questions = bench.questions(**options)

        async def search(text: str, questions: Questions = questions) -> list[str]:
            hits = await questions.search(ASKER, text[:4000], limit=10)
            return [h.chunk.id for h in hits]

        report = await beir.run(collection, search, sample=sample)
        rows.append({"bench": "quality", "set": name, "search": kind, **msgspec.to_builtins(report)})
    return rows


async def answer_rows(bench: Bench, asked: Sequence[Row], sample: int) -> list[Row]:
    able = [q for q in asked if q["answerable"]]
    unable = [q for q in asked if not q["answerable"]]
    chosen, silent = _sampled(able, sample), _sampled(unable, sample)
    articles = sorted({q["article"] for q in asked})
    rows = []
    for kind, dense in (("hybrid", True), ("words only", False)):
        if dense and bench.embedder is None:
            continue
        questions = bench.questions(dense=dense)
        started_s = time.perf_counter()
        there = [await questions.answer(ASKER, q["text"]) for q in chosen]
        took_s = time.perf_counter() - started_s
        lacking = [
            await questions.answer(ASKER, q["text"], collections=[a for a in articles if a != q["article"]])
            for q in chosen
        ]
        unsaid = [await questions.answer(ASKER, q["text"]) for q in silent]
        given = [(a, q) for a, q in zip(there, chosen, strict=True) if a.status != "refused"]
        right = [any(g.casefold() in a.answer.casefold() for g in q["answers"]) for a, q in given]
        rows.append(
            {
                "bench": "quality",
                "set": "squad2",
                "answers": kind,
                "questions": len(chosen),
                "refused, article there": _share([a.status == "refused" for a in there]),
                "holds a gold text, of those answered": _share(right),
                "holds a gold text, of all": sum(right) / len(chosen),
                "refused, article absent": _share([a.status == "refused" for a in lacking]),
                "refused, paragraph does not say": _share([a.status == "refused" for a in unsaid]),
                "characters": sum(len(a.answer) for a, _ in given) / max(1, len(given)),
                "ms": took_s / len(chosen) * 1000,
            }
        )
    return rows


def check_rows(passages: Sequence[beir.Passage], sample: int) -> list[Row]:
    """Of sentences and their own passage, altered and their own, true and another passage of the same article."""
    generator = random.Random(0)
    by_title: dict[str, list[beir.Passage]] = {}
    for passage in passages:
        by_title.setdefault(passage.title, []).append(passage)
    kept: dict[str, list[bool]] = {}
    for passage in generator.sample(list(passages), min(sample, len(passages))):
        sentence = generator.choice([s.text for s in sentences.split(passage.text)] or [passage.text])
        own = verify.evidence(passage.text)
        others = [p for p in by_title[passage.title] if p.id != passage.id]
        cases = {"true": sentence} | _altered(sentence)
        for kind, text in cases.items():
            kept.setdefault(kind, []).append(verify.verify(text, own).supported)
        if others:
            other = verify.evidence(generator.choice(others).text)
            kept.setdefault("of another paragraph", []).append(verify.verify(sentence, other).supported)
    return [
        {"bench": "quality", "set": "squad2", "check": kind, "sentences": len(found), "let through": _share(found)}
        for kind, found in kept.items()
    ]


def _altered(sentence: str) -> dict[str, str]:
    altered = {}
    if number := re.search(r"\b\d+\b", sentence):
        changed = str(int(number.group()) + 7)
        altered["number changed"] = sentence[: number.start()] + changed + sentence[number.end() :]
    if verb := re.search(r"\b(?:is|are|was|were|can|could|has|have|had|will|may|must)\b(?! not)", sentence):
        altered["negated"] = sentence[: verb.end()] + " not" + sentence[verb.end() :]
    if name := re.search(r"(?<=[a-z,] )[A-Z][a-z]{3,}\b", sentence):
        altered["name changed"] = sentence[: name.start()] + "Wexford" + sentence[name.end() :]
    return altered


def _sampled(items: Sequence[Row], count: int) -> list[Row]:
    return random.Random(0).sample(list(items), min(count, len(items)))


def _share(found: Sequence[bool]) -> float:
    return sum(found) / max(1, len(found))


def _load(folder: Path) -> tuple[beir.Collection, list[Row]]:
    """Queries that name their gold paragraph need no judgements file."""
    queries = [json.loads(line) for line in (folder / "queries.jsonl").read_text(encoding="utf-8").splitlines()]
    if "paragraph" not in queries[0]:
        return beir.read(folder), []
    lines = (folder / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    passages = [beir.Passage(id=r["_id"], text=r["text"], title=r.get("title", "")) for r in map(json.loads, lines)]
    asked = [
        q | {"article": q["paragraph"].rsplit("#", 1)[0], "answerable": q.get("answerable", True)} for q in queries
    ]
    able = [q for q in asked if q["answerable"]]
    collection = beir.Collection(
        passages=tuple(passages),
        queries={q["_id"]: q["text"] for q in able},
        relevant={q["_id"]: frozenset([q["paragraph"]]) for q in able},
    )
    return collection, asked


async def one_set(name: str, folder: Path, embedder: Embedder | None, sample: int) -> list[Row]:
    try:
        collection, asked = _load(folder)
    except (ConfigError, OSError) as error:
        return [{"bench": "quality", "set": name, "skipped": str(error)}]
    if collection.warning:
        print(collection.warning)
    async with AsyncExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        resources = Resources(http=cast(HttpClient, None), data=data, models=MODELS, secret=lambda reference: reference)
        store = await stack.enter_async_context(sqlite.connect(sqlite.Settings(), resources))
        bench = Bench(store, embedder)
        articles = {p.id: p.id.rsplit("#", 1)[0] if "#" in p.id else name for p in collection.passages}
        await bench.add(collection.passages, articles)
        rows = await search_rows(bench, name, collection, sample)
        if name == "squad2":
            rows += await answer_rows(bench, asked, sample)
            rows += check_rows(collection.passages, sample)
    return rows


async def run(sets: Sequence[str], data: Path, sample: int) -> list[Row]:
    rows = []
    async with AsyncExitStack() as stack:
        embedder = None
        try:
            resources = Resources(
                http=cast(HttpClient, None), data=MODELS, models=MODELS, secret=lambda reference: reference
            )
            model = await stack.enter_async_context(onnx.connect(onnx.Settings(threads=2), resources))
            embedder = Embedder(model)
        except ConfigError as error:
            print(f"words only: {error}")
        for name in sets:
            for row in await one_set(name, data / name, embedder, sample):
                rows.append(row)
                print("  ".join(f"{k} {_shown(v)}" for k, v in row.items() if k != "bench"), flush=True)
    return rows


def _shown(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", default="squad2,xquad-es,cranfield")
    parser.add_argument("--sample", type=int, default=400, help="questions of each set")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "retrieval")
    parser.add_argument("--json", type=Path, help="write one JSON object per row")
    asked = parser.parse_args()
    if not asked.data.is_dir():
        parser.exit(0, f"no question sets in {asked.data}: nothing measured\n")
    rows = asyncio.run(run(asked.sets.split(","), asked.data, asked.sample))
    if asked.json:
        asked.json.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
