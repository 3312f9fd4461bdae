"""How often the semantic mode of the cache answers wrongly, with its verifier and without.

    python bench/bench_semantic.py [--sets squad2,xquad-es] [--sample 600] [--data DIR] [--json FILE]

Four tables over thresholds of cosine, each beside what cosine alone would do (no verifier):
asked     every question of a set, with all the others of the set known: they are written about the same passages, often to
          be taken for one another. A hit is right when both have a gold answer in common, wrong when not; not judged when
          neither has one.
altered   a question of which one thing was changed so that it asks something else (number, name, negation, opposite, asking
          word, time, preposition, two names exchanged), with the original known: every hit is wrong.
reworded  a question put otherwise by rule (case, marks, politeness, contraction, article, order, typing error), with the
          original known: every hit is right.
pairs     questions of one passage that share a gold answer: the nearest that the data has to paraphrases by people.
And what it costs: CPU of a call in process, of a miss and a hit, beside the exact cache alone.
Needs the embedding model (`bascule models pull`) and the question sets as in bench_quality.py.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import math
import os
import random
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from bascule.core.calls import Call
from bascule.core.deadlines import Deadline
from bascule.core.embedding import EmbeddingRequest, EmbeddingResponse
from bascule.core.http import HttpClient
from bascule.core.principals import Principal
from bascule.core.resources import Resources
from bascule.gateway.alike import alike, read
from bascule.plugins.providers import onnx
from bascule.testing.gateway import Bench, ScriptedModel
from bascule.testing.semantic import asked as semantic_asked
from bascule.testing.semantic import semantic_bench
from rewordings import ALTERED, NAME, REWORDED

ROOT = Path(__file__).parents[1]
MODELS = Path(os.environ.get("BASCULE_MODELS_DIR") or ROOT / ".models")
THRESHOLDS = (0.80, 0.85, 0.90, 0.93, 0.95, 0.97, 0.99)
BATCH = 512
SPEED_CALLS = 400
Row = dict[str, Any]
Matrix = npt.NDArray[np.float32]


class Asked(NamedTuple):
    text: str
    passage: str
    answers: frozenset[str]


# ---------------------------------------------------------------- measuring


class Embedder:
    def __init__(self, model: onnx.OnnxEmbeddingModel) -> None:
        self._model = model
        self._known: dict[str, bytes] = {}

    async def of(self, texts: Sequence[str]) -> Matrix:
        missing = [text for text in dict.fromkeys(texts) if text not in self._known]
        call = Call(Principal(tenant="bench"), Deadline.after(3600))
        for at in range(0, len(missing), BATCH):
            part = tuple(missing[at : at + BATCH])
            found = await self._model.embed(EmbeddingRequest(model="minilm", texts=part, purpose="query"), call)
            self._known |= dict(zip(part, found.vectors, strict=True))
        return np.frombuffer(b"".join(self._known[text] for text in texts), "<f4").reshape(len(texts), -1)


def wilson(hits: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927)."""
    if of == 0:
        return 0.0, 1.0
    z, p = 1.96, hits / of
    middle, half = p + z * z / (2 * of), z * math.sqrt(p * (1 - p) / of + z * z / (4 * of * of))
    return max(0.0, (middle - half) / (1 + z * z / of)), min(1.0, (middle + half) / (1 + z * z / of))


def same(one: str, other: str) -> bool:
    """The very same words: no cache can tell them apart, whatever the gold answers are."""
    return one.split() == other.split()


def verified(one: str, other: str) -> bool:
    a, b = read(one), read(other)
    return a is not None and b is not None and alike(a, b)


def judged(one: Asked, other: Asked) -> str:
    if not one.answers and not other.answers:
        return "unjudged"
    return "right" if one.answers & other.answers else "wrong"


def asked_rows(name: str, questions: Sequence[Asked], vectors: Matrix) -> list[Row]:
    cosines = vectors @ vectors.T
    groups: dict[tuple[str, ...], list[int]] = {}
    for i, question in enumerate(questions):
        found = read(question.text)
        if found is not None:
            groups.setdefault(found.core, []).append(i)
    alone = np.full_like(cosines, -1)
    for group in groups.values():
        for i, j in itertools.permutations(group, 2):
            if verified(questions[i].text, questions[j].text):
                alone[i, j] = cosines[i, j]
    by_text: dict[str, list[int]] = {}
    for i, question in enumerate(questions):
        by_text.setdefault(" ".join(question.text.split()), []).append(i)
    for same_words in by_text.values():
        for i, j in itertools.product(same_words, repeat=2):
            cosines[i, j] = alone[i, j] = -1
    rows = []
    for threshold, (verifier, scores) in itertools.product(THRESHOLDS, (("no", cosines), ("yes", alone))):
        nearest = scores.argmax(axis=1)
        verdicts = [
            judged(questions[i], questions[j]) for i, j in enumerate(nearest.tolist()) if scores[i, j] >= threshold
        ]
        rows.append(_row("asked", name, threshold, verifier, len(questions), verdicts))
    return rows


def _row(table: str, name: str, threshold: float, verifier: str, of: int, verdicts: Sequence[str]) -> Row:
    wrong = verdicts.count("wrong")
    low, high = wilson(wrong, of)
    return {
        "table": table, "set": name, "threshold": threshold, "verifier": verifier, "asked": of, "hits": len(verdicts),
        "right": verdicts.count("right"), "wrong": wrong, "unjudged": verdicts.count("unjudged"),
        "wrong_share": wrong / of if of else 0.0, "low": low, "high": high,
    }  # fmt: skip


async def changed_rows(
    table: str, name: str, pairs: Mapping[str, list[tuple[str, str]]], embedder: Embedder
) -> list[Row]:
    """`pairs` by kind: (as it was known, as it is asked). In "altered" every hit is wrong, in the other tables right."""
    rows = []
    verdict = "wrong" if table == "altered" else "right"
    for kind, couples in pairs.items():
        if not couples:
            continue
        known = await embedder.of([couple[0] for couple in couples])
        asked = await embedder.of([couple[1] for couple in couples])
        scores = np.einsum("ij,ij->i", known, asked)
        passed = np.array([verified(*couple) for couple in couples])
        for threshold, verifier in itertools.product(THRESHOLDS, ("no", "yes")):
            hits = scores >= threshold
            count = int((hits & passed).sum() if verifier == "yes" else hits.sum())
            rows.append({**_row(table, name, threshold, verifier, len(couples), [verdict] * count), "kind": kind})
    return rows


def altered(questions: Sequence[Asked]) -> dict[str, list[tuple[str, str]]]:
    names = sorted({found for q in questions for found in NAME.findall(q.text)})
    made = {kind: [(q.text, change(q.text, names)) for q in questions] for kind, change in ALTERED.items()}
    return {kind: [pair for pair in pairs if not same(*pair)] for kind, pairs in made.items()}


def reworded(questions: Sequence[Asked]) -> dict[str, list[tuple[str, str]]]:
    made = {kind: [(q.text, change(q.text)) for q in questions] for kind, change in REWORDED.items()}
    return {kind: [pair for pair in pairs if pair[0] != pair[1]] for kind, pairs in made.items()}


def _named(name: str, pairs: dict[str, list[tuple[str, str]]]) -> dict[str, list[tuple[str, str]]]:
    """Spanish apart: what is folded is English."""
    return {f"{kind} (Spanish)" if name.endswith("-es") else kind: found for kind, found in pairs.items()}


def shared_gold(questions: Sequence[Asked]) -> list[tuple[str, str]]:
    by_passage: dict[str, list[Asked]] = {}
    for question in questions:
        by_passage.setdefault(question.passage, []).append(question)
    couples = (couple for group in by_passage.values() for couple in itertools.combinations(group, 2))
    return [(a.text, b.text) for a, b in couples if a.answers & b.answers and not same(a.text, b.text)]


async def speed(questions: Sequence[Asked], model: onnx.OnnxEmbeddingModel) -> None:
    texts = list(dict.fromkeys(q.text for q in questions if read(q.text) is not None))[:SPEED_CALLS]
    for name, on in (("exact cache alone", False), ("semantic mode", True)):
        more: dict[str, Any] = {} if on else {"semantic_cache": None}
        b = semantic_bench(ScriptedModel(), _Minilm(model), **more)
        spent = [await _cpu_us(b, [change(text) for text in texts]) for change in (str, str, str.lower)]
        print(
            f"{name}: miss {spent[0]:.0f} us, exact hit {spent[1]:.0f} us, asked again in lower case {spent[2]:.0f} us"
        )


async def _cpu_us(b: Bench, texts: Sequence[str]) -> float:
    began = time.process_time()
    for text in texts:
        await semantic_asked(b, text)
    return 1e6 * (time.process_time() - began) / len(texts)


class _Minilm:
    """The local model under any name."""

    def __init__(self, model: onnx.OnnxEmbeddingModel) -> None:
        self._model = model

    async def embed(self, request: EmbeddingRequest, call: Call) -> EmbeddingResponse:
        return await self._model.embed(msgspec.structs.replace(request, model="minilm"), call)


# ---------------------------------------------------------------- printing


def summed(rows: Iterable[Row], table: str) -> list[Row]:
    """Over sets and kinds."""
    found: dict[tuple[float, str], Row] = {}
    for row in rows:
        if row["table"] == table:
            into = found.setdefault((row["threshold"], row["verifier"]), {**row, "set": "all", "kind": "all"})
            if into is not row and into["set"] == "all" and "counted" in into:
                for key in ("asked", "hits", "right", "wrong", "unjudged"):
                    into[key] += row[key]
            into["counted"] = True
    for row in found.values():
        row["low"], row["high"] = wilson(row["wrong"], row["asked"])
    return [found[key] for key in sorted(found)]


def percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def show(rows: Sequence[Row]) -> None:
    for table in ("asked", "altered"):
        print(
            f"\n{table}\n| threshold | verifier | asked | hits | right | wrong | not judged | wrong of all asked (95 %) |"
        )
        print("|---|---|---|---|---|---|---|---|")
        for row in summed(rows, table):
            share = percent(row["wrong"] / row["asked"])
            between = f"{share} ({percent(row['low'])} to {percent(row['high'])})"
            counts = " | ".join(str(row[key]) for key in ("asked", "hits", "right", "wrong", "unjudged"))
            print(f"| {row['threshold']:.2f} | {row['verifier']} | {counts} | {between} |")
    for table in ("altered", "reworded", "pairs"):
        print(f"\n{table}, share that hit, without the verifier / with it")
        print("| kind | of | " + " | ".join(f"{t:.2f}" for t in THRESHOLDS) + " |\n|" + "---|" * (len(THRESHOLDS) + 2))
        for kind in dict.fromkeys(row["kind"] for row in rows if row["table"] == table):
            found = [row for row in rows if row["table"] == table and row["kind"] == kind]
            of = sum(row["asked"] for row in found) // (2 * len(THRESHOLDS))
            print(f"| {kind} | {of} | " + " | ".join(_both(found, threshold, of) for threshold in THRESHOLDS) + " |")


def _both(rows: Sequence[Row], threshold: float, of: int) -> str:
    found = [row for row in rows if row["threshold"] == threshold]
    shares = [100 * sum(row["hits"] for row in found if row["verifier"] == verifier) / of for verifier in ("no", "yes")]
    return " / ".join(f"{share:.1f}" for share in shares)


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sets", default="squad2,xquad-es")
    parser.add_argument("--sample", type=int, default=600)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "retrieval")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if not given.data.is_dir():
        parser.error(f"no question sets in {given.data}: name their folder with --data")
    resources = Resources(http=_no_http(), data=Path(), models=MODELS, secret=lambda reference: "")
    rows: list[Row] = []
    async with onnx.connect(onnx.Settings(), resources) as model:
        embedder = Embedder(model)
        for name in given.sets.split(","):
            lines = (given.data / name / "queries.jsonl").read_text(encoding="utf-8").splitlines()
            questions = [_asked(json.loads(line)) for line in lines]
            rows += asked_rows(name, questions, await embedder.of([q.text for q in questions]))
            sample = random.Random(7).sample(questions, min(given.sample, len(questions)))
            rows += await changed_rows("altered", name, altered(sample), embedder)
            rows += await changed_rows("reworded", name, _named(name, reworded(sample)), embedder)
            rows += await changed_rows("pairs", name, {f"{name}, one gold answer": shared_gold(questions)}, embedder)
            began = time.process_time()
            for question in questions:
                read(question.text)
            print(
                f"{name}: {len(questions)} questions, {1e6 * (time.process_time() - began) / len(questions):.0f} us to read one"
            )
        await speed(questions, model)
    show(rows)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


def _asked(line: Row) -> Asked:
    return Asked(line["text"], line["paragraph"], frozenset(" ".join(a.lower().split()) for a in line["answers"]))


def _no_http() -> HttpClient:
    """The local model needs none."""
    return None  # type: ignore[return-value]


if __name__ == "__main__":
    asyncio.run(main())
