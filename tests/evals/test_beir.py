from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from bascule.core.errors import ConfigError
from bascule.evals import beir

CORPUS = '{"_id": "a", "title": "A", "text": "one"}\n{"_id": "b", "text": "two"}\n{"_id": "c", "text": "three"}\n'
QUERIES = '{"_id": "1", "text": "first"}\n{"_id": "2", "text": "second"}\n{"_id": "3", "text": "unjudged"}\n'
QRELS = [("1", "a", 1), ("1", "b", 0), ("2", "b", 2), ("2", "c", 1), ("9", "a", 1)]


def _folder(path: Path, judgements: str, name: str) -> Path:
    (path / "corpus.jsonl").write_text(CORPUS, encoding="utf-8")
    (path / "queries.jsonl").write_text(QUERIES, encoding="utf-8")
    (path / name).parent.mkdir(exist_ok=True)
    (path / name).write_text(judgements, encoding="utf-8")
    return path


def _tsv() -> str:
    return "query-id\tcorpus-id\tscore\n" + "".join(f"{q}\t{d}\t{s}\n" for q, d, s in QRELS)


async def _search(text: str) -> Sequence[str]:
    return {"first": ["b", "a"], "second": ["c", "a", "b"]}[text]


@pytest.mark.parametrize("name", ["qrels.jsonl", "qrels.tsv", "qrels/test.tsv"])
async def test_every_layout_gives_the_figures_worked_out_by_hand(tmp_path: Path, name: str) -> None:
    lines = "".join(f'{{"query-id": "{q}", "corpus-id": "{d}", "score": {s}}}\n' for q, d, s in QRELS)
    collection = beir.read(_folder(tmp_path, lines if name.endswith("jsonl") else _tsv(), name))
    report = await beir.run(collection, _search)
    second = (1 + 1 / math.log2(4)) / (1 + 1 / math.log2(3))
    assert report.queries == 2
    assert report.ndcg_at_10 == pytest.approx((1 / math.log2(3) + second) / 2)
    assert report.recall_at_10 == 1
    assert report.mrr == pytest.approx((0.5 + 1) / 2)


async def test_a_sample_is_seeded(tmp_path: Path) -> None:
    collection = beir.read(_folder(tmp_path, _tsv(), "qrels.tsv"))
    assert (await beir.run(collection, _search, sample=1)) == (await beir.run(collection, _search, sample=1))
    assert (await beir.run(collection, _search, sample=1)).queries == 1


def test_judgements_of_other_ids_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="name no query"):
        beir.read(_folder(tmp_path, "query-id\tcorpus-id\tscore\n1\t0\t1\n", "qrels.tsv"))


def test_judgements_that_all_name_one_document_are_refused_as_damaged(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"qrels\.tsv, line 2: all 3 judgements .* the same document, 'a' .* 2 different queries"
    ):
        beir.read(_folder(tmp_path, "query-id\tcorpus-id\tscore\n1\ta\t1\n1\ta\t1\n2\ta\t1\n", "qrels.tsv"))


def test_judgements_of_documents_that_are_not_there_are_left_out_and_the_first_is_named(tmp_path: Path) -> None:
    rows = "query-id\tcorpus-id\tscore\n1\ta\t1\n1\tgone\t1\n2\tlost\t0\n2\tb\t1\n2\tgone\t1\n"
    found = beir.read(_folder(tmp_path, rows, "qrels.tsv"))
    assert found.relevant == {"1": frozenset("a"), "2": frozenset("b")}
    assert found.warning.startswith(f"{tmp_path / 'qrels.tsv'}, line 3: document 'gone' is not in corpus.jsonl. 2 of 5")
    assert beir.read(_folder(tmp_path, _tsv(), "qrels.tsv")).warning == ""


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("qrels.tsv", "query-id\tcorpus-id\tscore\n1\ta\n"),
        ("qrels.jsonl", '\n{"query-id": "1", "corpus-id": "a"}\n'),
        ("qrels/test.tsv", "query-id\tcorpus-id\tscore\n1\ta\thigh\n"),
    ],
)
def test_a_row_that_is_no_judgement_is_named(tmp_path: Path, name: str, text: str) -> None:
    with pytest.raises(ConfigError, match="line 2: not a query-id, a corpus-id and a score"):
        beir.read(_folder(tmp_path, text, name))


def test_the_sample_whose_judgements_all_name_one_document_is_told_with_its_line() -> None:
    folder = Path(__file__).parents[3] / "shared" / "data" / "retrieval" / "cranfield"
    if not folder.is_dir():
        pytest.skip(f"no sample data in {folder}")
    with pytest.raises(ConfigError, match=r"qrels\.jsonl, line 1: all 1837 .* '0' \(which is not in corpus"):
        beir.read(folder)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"corpus\.jsonl"):
        beir.read(tmp_path)
