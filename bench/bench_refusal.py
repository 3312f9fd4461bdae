"""When an extractive answer should be refused although the topic is there: the curve, and the weights of `rag/doubt.json`.

    python bench/bench_refusal.py [--sample 800] [--data DIR] [--weights FILE] [--json FILE]

Asks SQuAD 2.0 questions of the question path in process, reads the figures of doubt from the traces, and fits the logistic
regression with every article left out once: no question is judged by weights that saw its article. A row is a threshold:
false refusals (the paragraph says it), refusals of what the paragraph does not say, of those with a negation and without,
refusals with the article out of reach, and, of the answers given to answerable questions, how many hold no gold text.
`--weights` fits on all articles and writes the file that is shipped.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, cast

import numpy as np

from bascule.core.errors import ConfigError
from bascule.core.http import HttpClient
from bascule.core.resources import Resources
from bascule.plugins.providers import onnx
from bascule.plugins.vector_stores import sqlite
from bascule.rag.missed import facts_of
from bench_quality import ASKER, MODELS, ROOT, Bench, Embedder, Row, _load, _sampled

L2 = 3.0  # on standardised figures
FALSE_REFUSALS = (0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3)
COSINES = frozenset(["cosine", "sentence_cosine"])
FIGURES = [
    "lost", "gone", "lost_sentence", "name_gone", "names_lost", "number_gone", "number_lost", "negated",
    "negated_alone", "negated_other", "opposite", "degree", "nearness", "named", "cosine", "sentence_cosine",
]  # fmt: skip


def fit(x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> tuple[float, np.ndarray[Any, Any]]:
    """Logistic regression by Newton's method on standardised columns, given back for the columns as they are."""
    mean, scale = x.mean(0), x.std(0) + 1e-9
    z = np.column_stack([np.ones(len(x)), (x - mean) / scale])
    w = np.zeros(z.shape[1])
    ridge = np.diag([0.0] + [L2] * x.shape[1])
    for _ in range(25):
        p = 1 / (1 + np.exp(-z @ w))
        hessian = (z * (p * (1 - p))[:, None]).T @ z + ridge
        w -= np.linalg.solve(hessian, z.T @ (p - y) + ridge @ w)
    weights = w[1:] / scale
    return float(w[0] - weights @ mean), weights


def table(rows: Iterable[Row], names: Sequence[str]) -> np.ndarray[Any, Any]:
    return np.array([[row["figures"][name] for name in names] for row in rows])


def left_out(rows: Sequence[Row], names: Sequence[str]) -> None:
    """Gives each row its `doubt`, by weights of the other articles; what `Support` refused is beyond doubt."""
    for article in sorted({row["article"] for row in rows}):
        seen = [r for r in rows if r["article"] != article and r.get("figures") and r["kind"] != "absent"]
        bias, weights = fit(table(seen, names), np.array([r["kind"] == "unsaid" for r in seen], float))
        for row in (r for r in rows if r["article"] == article):
            if not row["enough"]:
                row["doubt"] = 1.0
            elif not row.get("figures"):
                row["doubt"] = 0.0
            else:
                row["doubt"] = float(1 / (1 + np.exp(-(bias + table([row], names)[0] @ weights))))


def curve(rows: Sequence[Row], kind: str) -> list[Row]:
    said = [r for r in rows if r["kind"] == "said"]
    found = [_point(rows, said, kind, 1.0 - 1e-12)]
    ranked = np.array([r["doubt"] for r in said])
    return found + [_point(rows, said, kind, float(np.quantile(ranked, 1 - share))) for share in FALSE_REFUSALS]


def _point(rows: Sequence[Row], said: Sequence[Row], kind: str, most: float) -> Row:
    unsaid = [r for r in rows if r["kind"] == "unsaid"]
    given = [r for r in said if r["doubt"] <= most]
    wrong = [not any(g.casefold() in r["answer"].casefold() for g in r["gold"]) for r in given]
    return {
        "bench": "refusal",
        "figures": kind,
        "doubt_max": round(most, 3),
        "refused, said": 1 - len(given) / len(said),
        "refused, unsaid": _refused(unsaid, most),
        "of those with a negation": _refused([r for r in unsaid if _negated(r)], most),
        "of the others": _refused([r for r in unsaid if not _negated(r)], most),
        "refused, article absent": _refused([r for r in rows if r["kind"] == "absent"], most),
        "answers without a gold text": sum(wrong) / max(1, len(wrong)),
    }


def _negated(row: Row) -> bool:
    return bool((row.get("figures") or {}).get("negated"))


def _refused(rows: Sequence[Row], most: float) -> float:
    return float(sum(r["doubt"] > most for r in rows) / max(1, len(rows)))


def weights_of(rows: Sequence[Row]) -> Mapping[str, Any]:
    seen = [r for r in rows if r.get("figures") and r["kind"] != "absent"]
    y = np.array([r["kind"] == "unsaid" for r in seen], float)
    made = {}
    for kind, names in (("words", _by_words()), ("vectors", FIGURES)):
        bias, found = fit(table(seen, names), y)
        made[kind] = {"bias": round(bias, 3), "weights": dict(zip(names, found.round(3).tolist(), strict=True))}
    return made


def _by_words() -> list[str]:
    return [name for name in FIGURES if name not in COSINES]


async def ask(bench: Bench, asked: Sequence[Row], sample: int) -> list[Row]:
    """A row per question; the answerable ones a second time with their article out of reach."""
    articles = sorted({q["article"] for q in asked})
    questions = bench.questions(doubt_max=1.0)
    rows = []
    for kind, able in (("said", True), ("unsaid", False), ("absent", True)):
        for q in _sampled([q for q in asked if q["answerable"] is able], sample // 2):
            others = [a for a in articles if a != q["article"]] if kind == "absent" else None
            answer = await questions.answer(ASKER, q["text"].strip(), collections=others)
            facts = facts_of(bench.catalogue.saved[answer.id], "verify")
            gold = q["answers"] if able else []
            row = {"article": q["article"], "kind": kind, "gold": gold, "answer": answer.answer}
            rows.append(row | {"enough": answer.status != "refused", "figures": facts.get("doubt")})
    return rows


async def run(data: Path, sample: int) -> list[Row]:
    collection, asked = _load(data / "squad2")
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        resources = Resources(
            http=cast(HttpClient, None), data=folder, models=MODELS, secret=lambda reference: reference
        )
        model = await stack.enter_async_context(onnx.connect(onnx.Settings(threads=2), resources))
        store = await stack.enter_async_context(sqlite.connect(sqlite.Settings(), resources))
        bench = Bench(store, Embedder(model))
        await bench.add(collection.passages, {p.id: p.id.rsplit("#", 1)[0] for p in collection.passages})
        return await ask(bench, asked, sample)


def report(rows: Sequence[Row]) -> list[Row]:
    found = []
    for kind, names in (("words", _by_words()), ("vectors", FIGURES)):
        left_out(rows, names)
        found += curve(rows, kind)
    for row in found:
        print("  ".join(f"{k} {v:.3f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items() if k != "bench"))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=800, help="questions, half of them answerable")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "retrieval")
    parser.add_argument("--weights", type=Path, help="fit on all articles and write this file")
    parser.add_argument("--json", type=Path, help="write one JSON object per row")
    asked = parser.parse_args()
    if not asked.data.is_dir():
        parser.exit(0, f"no question sets in {asked.data}: nothing measured\n")
    try:
        rows = asyncio.run(run(asked.data, asked.sample))
    except ConfigError as error:
        parser.exit(0, f"nothing measured: {error}\n")
    found = report(rows)
    if asked.json:
        asked.json.write_text("".join(json.dumps(row) + "\n" for row in found), encoding="utf-8")
    if asked.weights:
        asked.weights.write_text(json.dumps(weights_of(rows), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
