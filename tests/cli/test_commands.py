"""The commands on a data folder, run as an operator runs them."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from bascule.cli import failures
from bascule.cli.app import run


def test_init_makes_a_private_folder_and_prints_the_admin_key_once(cli, tmp_path: Path) -> None:
    data = tmp_path / "new"
    first = cli.json("init", "--data", data)
    assert first["created"] and first["key"].startswith("bsk_") and len(first["key"]) == 47
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    again = cli.json("init", "--data", data)
    assert again == {"data": str(data), "created": False, "key": None}
    assert first["key"] not in "".join(p.read_text("latin-1") for p in data.rglob("*") if p.is_file())


def test_ingest_reports_what_was_taken_in_what_failed_and_what_was_skipped(cli, folder: Path, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "good.md").write_text("# Bridges\n\nA bascule bridge opens by a counterweight.", encoding="utf-8")
    (docs / "broken.pdf").write_bytes(b"%PDF-1.4 nothing of the kind")
    (docs / ".hidden").write_text("no", encoding="utf-8")
    code, out, err = cli("ingest", docs, "-c", "x", "--allow", "public", "--data", folder, "--json")
    report = json.loads(out)
    assert code == failures.FAILED, err
    assert report["finished"] and report["counts"] == {"indexed": 1, "failed": 1}
    assert [f["name"] for f in report["failed"]] == ["broken.pdf"] and report["failed"][0]["reason"]
    assert [s["external_id"] for s in report["skipped"]] == [".hidden"]
    assert report["documents_per_s"] > 0
    code, out, _ = cli("ingest", docs, "-c", "x", "--allow", "public", "--data", folder)
    assert "1 failed" in out and "1 unchanged" in out and "broken.pdf: " in out and "skipped  .hidden" in out


def test_ask_cites_and_refuses_by_the_rights_of_the_key(cli, shop: Path) -> None:
    ann = cli.json("keys", "create", "--name", "a", "--user", "ann", "--group", "hr", "--data", shop)["key"]
    ivy = cli.json("keys", "create", "--name", "i", "--user", "ivy", "--group", "interns", "--data", shop)["key"]
    question = "What is the highest salary of a senior mechanic?"
    answered = cli.json("ask", question, "-c", "handbook", "--key", ann, "--data", shop)
    assert answered["status"] == "answered" and "48,500" in answered["answer"]
    assert answered["citations"][0]["title"] == "Salary bands"
    refused = cli.json("ask", question, "-c", "handbook", "--key", ivy, "--data", shop)
    assert refused["status"] == "refused" and refused["citations"] == [] and "48,500" not in json.dumps(refused)
    code, out, err = cli("ask", question, "--key", ann, "--data", shop)
    assert code == 0 and "[1] Salary bands > The bands" in out and "bascule explain" in err
    assert "48,500" in json.dumps(cli.json("explain", answered["id"], "--key", ann, "--data", shop))
    assert cli("explain", answered["id"], "--key", ivy, "--data", shop)[0] == failures.REFUSED


def test_search_prints_passages_best_first(cli, shop: Path) -> None:
    hits = cli.json("search", "warranty of steel frames", "--limit", "3", "--data", shop)["hits"]
    assert hits[0]["title"] == "Warranty" and 0 < len(hits) <= 3
    assert [h["score"] for h in hits] == sorted((h["score"] for h in hits), reverse=True)
    code, out, _ = cli("search", "warranty of steel frames", "--data", shop)
    assert code == 0 and out.startswith("1. Warranty")


def test_documents_are_listed_page_by_page_with_their_rights(cli, shop: Path) -> None:
    everything = cli.json("documents", "list", "--data", shop)["data"]
    assert len(everything) == 10
    first = cli.json("documents", "list", "--limit", "4", "--data", shop)["data"]
    rest = cli.json("documents", "list", "--after", first[-1]["id"], "--data", shop)["data"]
    assert [d["id"] for d in first + rest] == [d["id"] for d in everything]
    code, out, _ = cli("documents", "list", "--data", shop)
    lines = [line.split("\t") for line in out.splitlines()]
    assert code == 0 and lines[0] == ["id", "collection", "state", "title", "chunks", "rights", "alike"]
    assert ["Security incident handbook", "group:staff, not group:interns"] in [[line[3], line[5]] for line in lines]


def test_grant_revoke_and_delete_act_at_once(cli, folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "plan.md"
    page.write_text("# Plan\n\nThe harbour shop moves to Quay Street in May.", encoding="utf-8")
    cli.json("ingest", page, "-c", "x", "--data", folder)
    document = cli.json("documents", "list", "--data", folder)["data"][0]
    bob = cli.json("keys", "create", "--name", "b", "--user", "bob", "--data", folder)["key"]

    def hits() -> int:
        return len(cli.json("search", "Quay Street", "--key", bob, "--data", folder)["hits"])

    assert hits() == 0
    granted = cli.json("documents", "grant", document["id"], "--allow", "user:bob", "--data", folder)
    assert granted["rights"]["allow"] == ["user:bob"] and hits() == 1
    cli.json("documents", "revoke", document["id"], "--mark", "user:bob", "--data", folder)
    assert hits() == 0
    cli.json("documents", "grant", document["id"], "--allow", "public", "--data", folder)
    shown = cli.json("documents", "show", document["id"], "--chunks", "--data", folder)
    assert hits() == 1 and "Quay Street" in shown["chunks"][0]["text"]
    assert cli.json("documents", "delete", document["id"], "--data", folder)["deleted"]
    assert hits() == 0 and cli("documents", "show", document["id"], "--data", folder)[0] == failures.REFUSED


def test_a_revoked_key_is_refused_and_keys_are_never_listed(cli, folder: Path) -> None:
    made = cli.json(
        "keys", "create", "--name", "x", "--rpm", "5", "--tpm", "1000", "--usd-per-day", "2",
        "--usd-per-month", "20", "--concurrent", "3", "--data", folder,
    )  # fmt: skip
    assert (made["requests_per_min"], made["tokens_per_min"], made["usd_per_day"]) == (5, 1000, 2.0)
    assert (made["usd_per_month"], made["concurrent"]) == (20.0, 3)
    listed = cli.json("keys", "list", "--data", folder)["data"]
    assert made["id"] in {k["id"] for k in listed} and all(k["key"] is None for k in listed)
    assert cli("search", "x", "--key", made["key"], "--data", folder)[0] == 0
    cli.json("keys", "revoke", made["id"], "--data", folder)
    code, out, err = cli("search", "x", "--key", made["key"], "--data", folder)
    assert code == failures.REFUSED and not out and made["key"] not in err


def test_a_key_may_do_no_more_than_its_scopes(cli, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello", encoding="utf-8")
    key = cli.json("keys", "create", "--name", "asker", "--data", folder)["key"]
    for command in (
        ("keys", "list"),
        ("keys", "create", "--name", "more"),
        ("jobs", "list"),
        ("ingest", tmp_path / "a.txt", "-c", "x"),
    ):
        code, out, err = cli(*command, "--key", key, "--data", folder)
        assert (code, out) == (failures.REFUSED, "") and "scope" in err, command


def test_jobs_show_every_document_and_its_reason(cli, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("", encoding="utf-8")
    assert cli("ingest", tmp_path / "empty.txt", "-c", "x", "--data", folder)[0] == failures.FAILED
    job = cli.json("jobs", "list", "--data", folder)["data"][0]
    shown = cli.json("jobs", "show", job["id"], "--data", folder)
    assert shown["counts"] == {"failed": 1} and shown["items"][0]["name"] == "empty.txt" and shown["items"][0]["reason"]
    assert "empty.txt" in cli("jobs", "show", job["id"], "--data", folder)[1]


def test_config_check_prints_the_tree_and_masks_secrets(cli, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = folder / "other.toml"
    config.write_text(
        '[catalogue]\nurl = "postgresql+psycopg://me:hunter2@db/x"\n[providers.a]\nkind = "openai"\n'
        'base_url = "http://127.0.0.1:1/v1"\napi_key = "env:MISSING_KEY"\n',
        encoding="utf-8",
    )
    code, out, err = cli("config", "check", "--config", config, "--data", folder)
    assert code == failures.USAGE and "hunter2" not in out and "me:***@db" in out and "MISSING_KEY" in err
    monkeypatch.setenv("MISSING_KEY", "s3cret-value")
    found = cli.json("config", "check", "--config", config, "--data", folder)
    assert found["valid"] and "s3cret-value" not in json.dumps(found)
    config.write_text("[gateway]\ntimeout = 3\n", encoding="utf-8")
    code, out, err = cli("config", "check", "--config", config)
    assert code == failures.USAGE and "gateway.timeout" in err and not out


def test_doctor_finds_an_open_folder_and_an_index_that_disagrees(cli, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("A bascule bridge has a counterweight.", encoding="utf-8")
    cli.json("ingest", tmp_path / "a.txt", "-c", "x", "--data", folder)
    healthy = cli.json("doctor", "--data", folder)
    assert healthy["state"] in ("ok", "warn")
    assert {f["name"]: f["state"] for f in healthy["findings"]}["index"] == "ok"
    for blob in (folder / "blobs").rglob("*"):
        if blob.is_file():
            blob.unlink()
    (folder / "secrets" / "prompt.key").chmod(0o644)
    code, out, _ = cli("doctor", "--data", folder, "--json")
    states = {f["name"]: f for f in json.loads(out)["findings"]}
    assert code == failures.FAILED
    assert states["rights"]["state"] == "fail" and "chmod" in states["rights"]["fix"]
    assert states["blobs"]["state"] == "fail"


def test_eval_runs_the_handbooks_golden_set_and_fails_under_a_floor(cli, shop: Path) -> None:
    golden = Path(__file__).resolve().parents[2] / "examples" / "handbook-questions.jsonl"
    found = cli.json("eval", "run", golden, "--data", shop)
    assert found["figures"]["questions"] == 18 and len(found["questions"]) == 18
    assert found["figures"]["recall_at_10"] >= 0.9 and found["figures"]["answer_score"] >= 0.6
    code, _, err = cli("eval", "run", golden, "--fail-under", "answer_score=1.01", "--data", shop)
    assert code == failures.FAILED and "answer_score" in err
    assert cli("eval", "run", golden, "--fail-under", "beauty=1", "--data", shop)[0] == failures.USAGE


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["nonsense"], failures.USAGE, "nonsense"),
        (["ask"], failures.USAGE, "bascule ask"),
        (["search", "x", "--data", "nowhere"], failures.USAGE, "bascule init"),
        (["doctor", "--data", "nowhere"], failures.USAGE, "bascule init"),
        (["serve", "--config", "nowhere.toml"], failures.USAGE, "nowhere.toml"),
        (["ingest", "nowhere", "-c", "x"], failures.USAGE, "nowhere"),
    ],
)
def test_a_wrong_command_ends_with_one_clear_message_and_no_traceback(cli, arguments, code, says) -> None:
    found, out, err = cli(*arguments)
    assert (found, out) == (code, "") and says in err and "Traceback" not in err


def test_every_missing_thing_is_exit_code_3(cli, folder: Path) -> None:
    for command in (
        ("documents", "show", "x"),
        ("documents", "delete", "x"),
        ("jobs", "show", "x"),
        ("explain", "x"),
        ("keys", "revoke", "x"),
    ):
        code, out, err = cli(*command, "--data", folder)
        assert (code, out) == (failures.REFUSED, "") and err.startswith("error: "), command
    assert cli("ask", "x?", "-c", "nowhere", "--data", folder)[0] == failures.REFUSED


def test_an_unexpected_error_is_one_line_unless_debugging(cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("secret\nsecond line")

    monkeypatch.setattr("bascule.settings.load", broken)
    code, out, err = cli("config", "check")
    assert code == failures.FAILED and not out and "ZeroDivisionError" in err and "second line" not in err
    monkeypatch.setenv("BASCULE_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        run(["config", "check"])
