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
    """`relevant`: query id -> corpus ids; only queries with at least one are kept in `queries`. `warning`: what of the judgements
    could not be used, the first place, and what to do; "" when all could."""

    passages: tuple[Passage, ...]
    queries: dict[str, str]
    relevant: dict[str, frozenset[str]]
    warning: str = ""


class Judgement(msgspec.Struct, frozen=True):
    """`place`: the file and the line."""

    query: str
    document: str
    score: float
    place: str


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
    judgements = list(_judgements(folder))
    _refuse_useless(judgements, known)
    unknown = [j for j in judgements if j.score > 0 and j.document not in known]
    relevant: dict[str, set[str]] = {}
    for each in judgements:
        if each.score > 0 and each.document in known and each.query in texts:
            relevant.setdefault(each.query, set()).add(each.document)
    if not relevant:
        why = (
            _left_out(unknown, judgements) or "Their query ids are not those of queries.jsonl, or no score is above 0."
        )
        raise ConfigError(f"The judgements in {folder} name no query and document that are there. {why}")
    return Collection(
        passages=passages,
        queries={query: texts[query] for query in texts if query in relevant},
        relevant={query: frozenset(documents) for query, documents in relevant.items()},
        warning=_left_out(unknown, judgements),
    )


def _left_out(unknown: Sequence[Judgement], judgements: Sequence[Judgement]) -> str:
    if not unknown:
        return ""
    return (
        f"{unknown[0].place}: document {unknown[0].document!r} is not in corpus.jsonl. {len(unknown)} of {len(judgements)} "
        "judgements name such a document and are left out, which makes recall look better than it is: "
        "use the whole corpus, or the ids that it has."
    )


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
    for _, row in _numbered(path):
        yield row


def _numbered(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield number, msgspec.json.decode(line, type=dict[str, Any])
            except msgspec.DecodeError as error:
                raise ConfigError(f"{path}, line {number}: {error}.") from None


def _refuse_useless(judgements: Sequence[Judgement], known: AbstractSet[str]) -> None:
    """A file whose every row names one document was written wrongly: figures made from it would mean nothing."""
    named, queries = {j.document for j in judgements}, {j.query for j in judgements}
    if len(named) == 1 and len(queries) > 1 and len(known) > 1:
        first = judgements[0]
        there = "is in" if first.document in known else "is not in"
        raise ConfigError(
            f"{first.place}: all {len(judgements)} judgements name the same document, {first.document!r} (which {there} "
            f"corpus.jsonl), for {len(queries)} different queries: the file is damaged, and nothing can be measured with it. "
            "Get the judgements again from where the set is published."
        )


def _judgements(folder: Path) -> Iterator[Judgement]:
    """Raises ConfigError naming the line that is no judgement."""
    names = ("qrels.jsonl", "qrels.tsv", "qrels/test.tsv")
    path = next((folder / name for name in names if (folder / name).exists()), None)
    if path is None:
        raise ConfigError(f"{folder} has no qrels.jsonl, qrels.tsv or qrels/test.tsv.")
    for number, fields in _fields(path):
        try:
            query, document, score = fields
            yield Judgement(str(query), str(document), float(score), f"{path}, line {number}")
        except (TypeError, ValueError):
            raise ConfigError(f"{path}, line {number}: not a query-id, a corpus-id and a score.") from None


def _fields(path: Path) -> Iterator[tuple[int, Sequence[Any]]]:
    if path.suffix == ".jsonl":
        for number, row in _numbered(path):
            yield number, [row.get(name) for name in ("query-id", "corpus-id", "score")]
        return
    with path.open(encoding="utf-8", newline="") as lines:
        for number, record in enumerate(csv.reader(lines, delimiter="\t"), 1):
            if record and record[0] != "query-id":
                yield number, record[:3]
