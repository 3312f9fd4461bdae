"""Rankings measured on public test collections in the BEIR layout (Thakur et al. 2021).

A folder with `corpus.jsonl` ({"_id", "title"?, "text"}), `queries.jsonl` ({"_id", "text"}) and judgements in `qrels.jsonl`,
`qrels.tsv` or `qrels/test.tsv` (query-id, corpus-id, score; above 0 is relevant).
"""

from __future__ import annotations

import csv
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import msgspec

from bascule.core.errors import ConfigError
from bascule.evals import metrics

K = 10
Search = Callable[[str], Awaitable[Sequence[str]]]  # a query's text -> corpus ids, best first


class Passage(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    text: str
    title: str = ""


class Collection(msgspec.Struct, frozen=True, kw_only=True):
    """`relevant`: query id -> corpus ids; only queries with at least one are kept in `queries`."""

    passages: tuple[Passage, ...]
    queries: dict[str, str]
    relevant: dict[str, frozenset[str]]


class RankingReport(msgspec.Struct, frozen=True, kw_only=True):
    """Means over the queries asked."""

    queries: int
    ndcg_at_10: float | None
    recall_at_10: float | None
    mrr: float | None


def read(folder: Path) -> Collection:
    """Raises ConfigError when a file is missing, malformed, or judges nothing that the corpus holds."""
    passages = tuple(
        Passage(id=str(row["_id"]), text=row.get("text", ""), title=row.get("title", ""))
        for row in _rows(folder / "corpus.jsonl")
    )
    texts = {str(row["_id"]): str(row["text"]) for row in _rows(folder / "queries.jsonl")}
    known = {p.id for p in passages}
    relevant: dict[str, set[str]] = {}
    judgements = list(_judgements(folder))
    _refuse_useless(folder, judgements, known)
    for query, document, score in judgements:
        if score > 0 and document in known and query in texts:
            relevant.setdefault(query, set()).add(document)
    if not relevant:
        raise ConfigError(f"The judgements in {folder} name no query and document that are there.")
    queries = {query: texts[query] for query in texts if query in relevant}
    return Collection(passages=passages, queries=queries, relevant={q: frozenset(d) for q, d in relevant.items()})


async def run(collection: Collection, search: Search, *, sample: int | None = None, seed: int = 0) -> RankingReport:
    """Ask every query, or a seeded sample of them, one after the other."""
    asked = chosen(collection, sample, seed)
    return report([judge(collection, query, await search(collection.queries[query])) for query in asked])


def chosen(collection: Collection, sample: int | None, seed: int) -> list[str]:
    """Ids of all queries, or of a seeded sample."""
    asked = sorted(collection.queries)
    if sample is not None and sample < len(asked):
        return sorted(random.Random(seed).sample(asked, sample))
    return asked


def judge(collection: Collection, query: str, found: Sequence[str]) -> dict[str, float]:
    """One query's figures."""
    relevant = collection.relevant[query]
    return {
        "ndcg": metrics.ndcg(found, relevant, K),
        "recall": metrics.recall(found, relevant, K),
        "reciprocal_rank": metrics.reciprocal_rank(found, relevant),
    }


def report(judged: Sequence[Mapping[str, float]]) -> RankingReport:
    return RankingReport(
        queries=len(judged),
        ndcg_at_10=metrics.mean([each["ndcg"] for each in judged]),
        recall_at_10=metrics.mean([each["recall"] for each in judged]),
        mrr=metrics.mean([each["reciprocal_rank"] for each in judged]),
    )


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield msgspec.json.decode(line, type=dict[str, Any])
            except msgspec.DecodeError as error:
                raise ConfigError(f"{path}, line {number}: {error}.") from None


def _refuse_useless(folder: Path, judgements: Sequence[tuple[str, str, float]], known: AbstractSet[str]) -> None:
    """A file whose every row names one document was written wrongly: figures made from it would mean nothing."""
    named, queries = {document for _, document, _ in judgements}, {query for query, _, _ in judgements}
    if len(named) == 1 and len(queries) > 1 and len(known) > 1:
        raise ConfigError(
            f"All {len(judgements)} judgements in {folder} name the same document, {next(iter(named))!r}, for "
            f"{len(queries)} different queries: the file is damaged, and nothing can be measured with it."
        )


def _judgements(folder: Path) -> Iterator[tuple[str, str, float]]:
    if (folder / "qrels.jsonl").exists():
        for row in _rows(folder / "qrels.jsonl"):
            yield str(row["query-id"]), str(row["corpus-id"]), float(row["score"])
        return
    path = next((p for p in (folder / "qrels.tsv", folder / "qrels" / "test.tsv") if p.exists()), None)
    if path is None:
        raise ConfigError(f"{folder} has no qrels.jsonl, qrels.tsv or qrels/test.tsv.")
    with path.open(encoding="utf-8", newline="") as lines:
        for record in csv.reader(lines, delimiter="\t"):
            if len(record) >= 3 and record[0] != "query-id":
                yield record[0], record[1], float(record[2])
