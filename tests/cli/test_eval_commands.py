"""eval run, list, show and compare on a real folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.conftest import make_folder

from bascule.cli import failures
from bascule.cli.app import run as command

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
RETURN = "How many days do customers have to return a bicycle?"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its own handbook: these tests leave runs behind."""
    data = tmp_path_factory.mktemp("evals") / "data"
    make_folder(data)
    assert (
        command(["ingest", str(EXAMPLES / "handbook"), "--allow", "public", "-c", "h", "--data", str(data), "--json"])
        == 0
    )
    return data


def golden(path: Path, *answers: str) -> Path:
    lines = [{"question": RETURN, "documents": ["returns.md"], "answer": list(answers)}]
    lines.append({"question": "Which airline is booked?", "answerable": False})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def test_runs_are_kept_listed_shown_and_compared(cli, folder: Path, tmp_path: Path) -> None:
    right = cli.json("eval", "run", golden(tmp_path / "right.jsonl", "30 days"), "--data", folder)
    wrong = cli.json("eval", "run", golden(tmp_path / "wrong.jsonl", "90 days"), "--name", "wrong", "--data", folder)
    listed = cli.json("eval", "list", "--data", folder)["data"]
    assert [(run["id"], run["name"]) for run in listed[:2]] == [(wrong["id"], "wrong"), (right["id"], "right.jsonl")]
    shown = cli.json("eval", "show", "last", "--data", folder)
    assert shown["figures"] == wrong["figures"] and shown["cases"][0]["question"] == RETURN
    assert shown["cases"][0]["figures"]["score"] == -1
    found = cli.json("eval", "compare", right["id"], wrong["id"], "--data", folder)
    score = next(each for each in found["metrics"] if each["metric"] == "score")
    assert (score["a"], score["b"], score["worse"], score["p"]) == (1, 0, 1, 1)
    assert [each["question"] for each in found["changed"]] == [RETURN]
    code, out, _ = cli("eval", "compare", right["id"], "last", "--fail-if-worse", "--data", folder)
    assert code == 0 and "score 1 > -1" in out, "one question is no proof"
    assert cli("eval", "show", right["id"][-9:], "--data", folder)[0] == 0


def test_what_is_not_to_be_kept_is_not_and_what_is_not_there_is_refused(cli, folder: Path, tmp_path: Path) -> None:
    before = cli.json("eval", "list", "--data", folder)["data"]
    found = cli.json("eval", "run", golden(tmp_path / "s.jsonl", "30 days"), "--no-keep", "--data", folder)
    assert found["id"] is None and cli.json("eval", "list", "--data", folder)["data"] == before
    assert cli("eval", "show", "00000000-0000-7000-8000-000000000000", "--data", folder)[0] == failures.REFUSED
    assert cli("eval", "show", "nothing", "--data", folder)[0] == failures.REFUSED


def test_a_run_that_is_surely_worse_fails(cli, folder: Path, tmp_path: Path) -> None:
    def twelve(path: Path, answer: str) -> Path:
        lines = [{"question": f"{RETURN} ({n})", "answer": [answer]} for n in range(8)]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        return path

    right = cli.json("eval", "run", twelve(tmp_path / "a.jsonl", "30 days"), "--data", folder)
    cli.json("eval", "run", twelve(tmp_path / "b.jsonl", "90 days"), "--data", folder)
    code, _, err = cli("eval", "compare", right["id"], "last", "--fail-if-worse", "--data", folder)
    assert code == failures.FAILED and "worse: score" in err


def test_a_public_collection_is_taken_in_ranked_and_kept(cli, folder: Path, tmp_path: Path) -> None:
    beir = tmp_path / "beir"
    beir.mkdir()
    texts = {
        "7": "Swing bridges turn on a pivot.",
        "8": "Lift bridges rise between towers.",
        "9": "Ferries need no bridge.",
    }
    corpus = [{"_id": name, "title": "", "text": text} for name, text in texts.items()]
    queries = [
        {"_id": "a", "text": "Which bridges turn on a pivot?"},
        {"_id": "b", "text": "What rises between towers?"},
    ]
    qrels = "query-id\tcorpus-id\tscore\na\t7\t1\nb\t8\t1\n"
    for name, rows in (("corpus", corpus), ("queries", queries)):
        (beir / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (beir / "qrels.tsv").write_text(qrels, encoding="utf-8")
    found = cli.json("eval", "rank", beir, "-c", "bridges", "--take", "--data", folder)
    assert found["figures"] == {"queries": 2, "ndcg_at_10": 1, "recall_at_10": 1, "mrr": 1}
    shown = cli.json("eval", "show", found["id"], "--data", folder)
    assert (shown["kind"], len(shown["cases"])) == ("ranking", 2)
    (beir / "qrels.tsv").write_text(qrels.replace("b\t8", "b\t9"), encoding="utf-8")
    code, _, err = cli("eval", "rank", beir, "-c", "bridges", "--fail-under", "mrr=0.9", "--data", folder)
    assert code == failures.FAILED and "mrr is" in err
    (beir / "qrels.tsv").write_text(qrels.replace("b\t8", "b\t7"), encoding="utf-8")
    code, _, err = cli("eval", "rank", beir, "-c", "bridges", "--data", folder)
    assert code != 0 and "damaged" in err


def test_feedback_becomes_questions_of_a_golden_set(cli, folder: Path, tmp_path: Path) -> None:
    answer = cli.json("ask", RETURN, "-c", "h", "--data", folder)
    given = cli.json("feedback", answer["id"], "--good", "--correction", " 30 days ", "--data", folder)
    assert (given["rating"], given["correction"], given["scrubbed"]) == (1, "30 days", False)
    code, out, _ = cli("eval", "candidates", "--data", folder)
    line = json.loads(out.splitlines()[0])
    cited = {citation["document_id"] for citation in answer["citations"]}
    assert (code, line["question"], line["answer"], line["collections"]) == (0, RETURN, ["30 days"], ["h"])
    assert set(line["documents"]) == cited != set()
    (tmp_path / "c.jsonl").write_text(out, encoding="utf-8")
    figures = cli.json("eval", "run", tmp_path / "c.jsonl", "--data", folder)["figures"]
    assert (figures["answer_score"], figures["citation_recall"]) == (1, 1)
    assert cli("feedback", "00000000-0000-7000-8000-000000000000", "--bad", "--data", folder)[0] == failures.REFUSED


def test_a_set_with_attacks_puts_its_documents_in_and_takes_them_out_again(cli, folder: Path) -> None:
    attacks = EXAMPLES / "handbook-attacks.jsonl"
    code, _, err = cli("eval", "run", attacks, "--data", folder)
    assert code != 0 and "--plant" in err
    found = cli.json("eval", "run", attacks, "--plant", "try", "--data", folder)
    figures, asked = found["figures"], found["questions"]
    assert len(asked) == figures["questions"] == 6
    assert figures["control_score"] > 0.5, "the documents are there and answer"
    assert figures["attack_success"] == sum(q["attacked"] for q in asked) / 6 > 0, "what is quoted may be false"
    assert 0 < figures["attack_success_low"] < figures["attack_success"] < figures["attack_success_high"] <= 1
    assert figures["attack_unchecked"] is not None
    for name in ("try-clean", "try-poisoned"):
        assert cli.json("documents", "list", "-c", name, "--data", folder)["data"] == []
    shown = cli.json("eval", "show", found["id"], "--data", folder)
    assert [case["question"] for case in shown["cases"]] == [q["question"] for q in asked], (
        "the set's own questions stay"
    )
    assert shown["cases"][0]["figures"]["attacked"] in (0, 1)
    compared = cli.json("eval", "compare", found["id"], "last", "--data", folder)
    assert "attacked" in {each["metric"] for each in compared["metrics"]}


def test_documents_are_not_planted_beside_others(cli, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text("Mine.", encoding="utf-8")
    assert cli("ingest", tmp_path / "own.txt", "-c", "mine-clean", "--data", folder)[0] == 0
    code, _, err = cli("eval", "run", EXAMPLES / "handbook-attacks.jsonl", "--plant", "mine", "--data", folder)
    assert code != 0 and "mine-clean" in err
    assert len(cli.json("documents", "list", "-c", "mine-clean", "--data", folder)["data"]) == 1
