"""The same commands over HTTP, and on a folder beside its running server."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from bascule.cli import failures
from bascule.cli.app import run
from bascule.testing.running import running, settings_for

HANDBOOK = Path(__file__).resolve().parents[2] / "examples" / "handbook"


@pytest.fixture
def commands(capsys: pytest.CaptureFixture[str]):
    async def call(*arguments: object) -> tuple[int, str, str]:
        """A command in a thread of its own, so that the server of this loop can answer it."""
        capsys.readouterr()
        code = await asyncio.to_thread(run, [str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return call


async def test_with_a_url_every_command_speaks_http_and_prints_what_it_prints_locally(
    commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    async with running(settings_for(data)) as (url, _, admin):
        monkeypatch.setenv("BASCULE_URL", url)
        monkeypatch.setenv("BASCULE_KEY", admin)
        code, out, err = await commands(
            "ingest", HANDBOOK, "--rights", HANDBOOK / "rights.toml", "-c", "handbook", "--wait", "--json"
        )
        assert code == 0, err
        assert json.loads(out)["counts"] == {"indexed": 10}
        ann = json.loads(
            (await commands("keys", "create", "--name", "a", "--user", "ann", "--group", "hr", "--json"))[1]
        )
        for arguments in (("documents", "list"), ("jobs", "list"), ("keys", "list"), ("search", "steel frames")):
            remote = json.loads((await commands(*arguments, "--json"))[1])
            local = json.loads((await commands(*arguments, "--json", "--data", data))[1])
            assert remote == local, arguments
        question = (
            "ask",
            "What is the highest salary of a senior mechanic?",
            "-c",
            "handbook",
            "--json",
            "--key",
            ann["key"],
        )
        answer = json.loads((await commands(*question))[1])
        assert answer["status"] == "answered" and "48,500" in answer["answer"]
        document_id = answer["citations"][0]["document_id"]
        shown = json.loads((await commands("documents", "grant", document_id, "--deny", "user:ann", "--json"))[1])
        assert shown["rights"] == {"allow": ["group:hr"], "deny": ["user:ann"], "owner": ""}
        assert json.loads((await commands(*question))[1])["status"] == "refused"
        await commands("documents", "grant", document_id, "--allow", "user:ann")
        await commands("documents", "revoke", document_id, "--mark", "group:hr")
        assert json.loads((await commands(*question))[1])["status"] == "answered"
        assert (await commands("explain", answer["id"], "--json"))[0] == 0
        assert (await commands("documents", "delete", document_id))[0] == 0
        assert (await commands("documents", "show", document_id))[0] == failures.REFUSED
        assert json.loads((await commands(*question))[1])["status"] == "refused"
        assert (await commands("keys", "revoke", ann["id"]))[0] == 0
        assert (await commands(*question))[0] == failures.REFUSED


async def test_local_ingest_beside_a_server_leaves_the_work_to_it(commands, tmp_path: Path) -> None:
    data = tmp_path / "data"
    page = tmp_path / "page.md"
    page.write_text("# Tides\n\nThe bridge opens at high tide.", encoding="utf-8")
    async with running(settings_for(data)) as (_, app, _admin):
        (data / "bascule.toml").write_text('[rag]\nembedding_model = ""\n', encoding="utf-8")
        async with asyncio.timeout(20):
            while app.jobs.state != "worker":
                await asyncio.sleep(0.05)
        code, out, err = await commands("ingest", page, "-c", "x", "--allow", "public", "--data", data, "--json")
        assert code == 0 and not json.loads(out)["finished"], err
        code, out, err = await commands(
            "ingest", page, "-c", "y", "--allow", "public", "--data", data, "--wait", "--json"
        )
        report = json.loads(out)
        assert code == 0 and report["finished"] and report["counts"] == {"indexed": 1}, err
        assert app.jobs.state == "worker"
        code, out, _ = await commands("search", "high tide", "--data", data, "--json")
        assert {hit["collection"] for hit in json.loads(out)["hits"]} == {"x", "y"}


async def test_a_server_that_is_not_there_or_does_not_know_the_key(commands, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("BASCULE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("BASCULE_KEY", "bsk_x")
    assert (await commands("documents", "list"))[0] == failures.UPSTREAM
    async with running(settings_for(tmp_path / "data"), work=False) as (url, _, _admin):
        monkeypatch.setenv("BASCULE_URL", url)
        code, out, err = await commands("documents", "list", "--json")
        assert (code, out) == (failures.REFUSED, "") and err.startswith("error: ")
