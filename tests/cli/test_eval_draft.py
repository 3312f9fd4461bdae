"""eval draft, accept and reject on a real folder, over HTTP, and with a model that writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.conftest import make_folder

from bascule.cli import failures
from bascule.cli.app import run as command
from bascule.core.chat import ChatRequest
from bascule.evals import drafts, golden

HANDBOOK = Path(__file__).resolve().parents[2] / "examples" / "handbook"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("drafts") / "data"
    make_folder(data)
    take = [
        "ingest",
        str(HANDBOOK),
        "--rights",
        str(HANDBOOK / "rights.toml"),
        "-c",
        "h",
        "--data",
        str(data),
        "--json",
    ]
    assert command(take) == 0
    return data


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_drafts_are_asked_once_they_are_accepted_and_right_answers_are_found(cli, folder: Path, tmp_path: Path) -> None:
    made = tmp_path / "set.jsonl"
    code, out, _ = cli("eval", "draft", "--set", made, "--limit", 12, "--data", folder)
    found = lines(made)
    assert code == 0 and f"{len(found)} drafts added" in out and len(found) == 12
    assert sum(line.get("answerable", True) is False for line in found) == 2
    assert {line["status"] for line in found} == {"draft"} and len({line["question"] for line in found}) == 12
    assert made.stat().st_mode & 0o77 == 0
    code, _, err = cli("eval", "run", made, "--data", folder)
    assert code != 0 and "accepted" in err, "nobody has looked at them"
    cli("eval", "reject", made, found[0]["id"], "--data", folder)
    counts = cli.json("eval", "accept", made, "--all", "--data", folder)
    assert counts == {"accepted": 11, "draft": 0, "rejected": 1}
    figures = cli.json("eval", "run", made, "--no-keep", "--data", folder)["figures"]
    assert figures["questions"] == 11 and figures["refused_unanswerable"] == 1
    assert figures["recall_at_10"] >= 0.9 and figures["answer_score"] >= 0.5
    cli("eval", "draft", "--set", made, "--limit", 12, "--data", folder)
    again = lines(made)
    assert len({line["question"] for line in again}) == len(again), "the rejected one, too, is proposed once"
    assert cli("eval", "accept", made, "nothing", "--data", folder)[0] == failures.REFUSED
    assert cli("eval", "accept", made, "--data", folder)[0] == failures.USAGE


def test_a_key_gets_drafts_of_what_it_may_read_and_loses_those_of_what_is_gone(
    cli, folder: Path, tmp_path: Path
) -> None:
    key = cli.json("keys", "create", "--name", "v", "--user", "vera", "--data", folder)["key"]
    mine = cli.json("eval", "draft", "--limit", 100, "--per-document", 20, "--key", key, "--data", folder)["data"]
    every = cli.json("eval", "draft", "--limit", 100, "--per-document", 20, "--data", folder)["data"]
    titles = {line["title"] for line in mine}
    assert titles < {line["title"] for line in every} and "Salary bands" not in titles and "Salary bands" in str(every)
    made = tmp_path / "set.jsonl"
    cli("eval", "draft", "--set", made, "--limit", 100, "--data", folder)
    gone = next(line["document_id"] for line in lines(made) if line.get("title") == "Warranty")
    assert cli("documents", "delete", gone, "--data", folder)[0] == 0
    code, _, err = cli("eval", "accept", made, "--all", "--data", folder)
    assert code == 0 and "taken out" in err and "covered" not in made.read_text(encoding="utf-8")
    drawn = cli.json("eval", "draft", "--document", gone, "--unanswerable", 0, "--data", folder)
    assert drawn["data"] == []


async def test_what_a_model_writes_stays_where_the_passage_has_its_answer() -> None:
    said = [
        {"question": "How wide is the span of the bridge?", "answer": "ten metres"},
        {"question": "How heavy is the span of the bridge?", "answer": "nine tons"},
        {"question": "Who paid for the bridge?", "answer": ""},
    ]
    library = _Library("Sure!\n" + "\n".join(json.dumps(each) for each in said) + "\nnot json")
    wanted = drafts.Wanted(most=10, unanswerable=0, model="m")
    found = await drafts.propose(library, wanted, ())
    assert [(each.question, each.answer, each.answerable) for each in found] == [
        ("How wide is the span of the bridge?", ("ten metres",), True),
        ("Who paid for the bridge?", (), False),
    ]
    assert library.sent is not None and library.documents_sent == {"d"}
    assert "The span is ten metres" not in library.sent.view["messages"][0]["content"], "never in the system message"
    assert found[0].passage == "c" and golden.Question(question="x").status == "accepted"


async def test_no_more_is_read_than_what_is_wanted() -> None:
    library = _Library(json.dumps({"question": "How wide is the span of the bridge?", "answer": "ten metres"}))
    wanted = drafts.Wanted(document_ids=("d", "e", "f"), most=1, unanswerable=0, model="m")
    assert len(await drafts.propose(library, wanted, ())) == 1
    assert (library.read, library.searched) == (1, 0)
    assert len(await drafts.propose(library, drafts.Wanted(most=2, unanswerable=1), ())) == 2
    assert (library.read, library.searched) == (1, 2)


class _Library:
    """One document, and a model that always says the same."""

    def __init__(self, said: str) -> None:
        self._said = said
        self.sent: ChatRequest | None = None
        self.documents_sent: frozenset[str] = frozenset()
        self.read = self.searched = 0

    async def documents(self, collection, limit, after):
        return [{"id": "d"}]

    async def document(self, document_id):
        return {"id": document_id}

    async def chunks(self, document_id):
        self.read += 1
        return [
            {
                "chunk_id": "c", "document_id": "d", "collection": "h", "title": "Bridge", "name": "b.md", "kind": "text",
                "text": "The span is ten metres wide.", "heading_path": (), "start": 0, "end": 28, "page": None, "ordinal": 0,
                "version": 1, "updated_at": "",
            }
        ]  # fmt: skip

    async def search(self, query, collections, limit):
        self.searched += 1
        return []

    async def write(self, request, document_ids):
        self.sent, self.documents_sent = request, document_ids
        return self._said
