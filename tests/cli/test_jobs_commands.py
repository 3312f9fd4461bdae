"""jobs: hold back, give up, try again, on a folder and over HTTP."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from bascule.cli.app import run
from bascule.testing.running import running, settings_for


def files(folder: Path, **texts: str) -> Path:
    folder.mkdir()
    for name, text in texts.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    return folder


def test_a_paused_collection_keeps_its_documents_waiting_until_it_is_resumed(cli, folder: Path, tmp_path: Path) -> None:
    here = ("--data", folder)
    cli.json("ingest", files(tmp_path / "one", a="Steel frames."), "-c", "handbook", *here)
    assert cli.json("jobs", "pause", "-c", "handbook", *here)["data"][0]["name"] == "handbook"
    assert "handbook" in cli("jobs", "pauses", *here)[1]
    cli.json("ingest", files(tmp_path / "two", b="Wooden frames."), "-c", "handbook", *here)
    (held,) = cli.json("jobs", "list", "--state", "paused", *here)["data"]
    assert held["counts"] == {"queued": 1}
    code, out, _ = cli("jobs", "cancel", held["id"], *here)
    assert (code, out) == (0, f"{held['id']}: cancelled (1 cancelled)\n")
    assert cli.json("jobs", "resume", "--collection", "handbook", *here) == {"data": []}
    assert cli.json("jobs", "retry", held["id"], *here)["state"] == "queued"
    assert cli.json("jobs", "watch", held["id"], *here)["state"] == "done"


def test_what_was_given_up_is_listed_and_tried_again(cli, folder: Path, tmp_path: Path) -> None:
    here = ("--data", folder)
    cli("ingest", files(tmp_path / "one", good="Steel frames.", empty=" "), "-c", "handbook", *here)
    (lost,) = cli.json("jobs", "quarantine", *here)["data"]
    assert lost["name"] == "empty.txt" and lost["reason"] in cli("jobs", "quarantine", "-c", "handbook", *here)[1]
    assert cli.json("jobs", "quarantine", "-s", "upload", *here)["data"] == []
    assert cli.json("jobs", "retry", "--quarantined", "-s", "folder", *here) == {"documents": 1}
    code, out, _ = cli("jobs", "watch", lost["job_id"], *here)
    assert code == 1 and "empty.txt" in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("retry",), "--quarantined"),
        (("retry", "x", "--quarantined"), "--quarantined"),
        (("pause",), "Name one"),
        (("resume", "x", "-c", "handbook"), "Name one"),
        (("cancel", "x"), "no such job"),
        (("pause", "-c", "nowhere"), "no such collection"),
    ],
)
def test_a_wrong_wish_says_what_to_give(cli, folder: Path, arguments: tuple[str, ...], says: str) -> None:
    code, out, err = cli("jobs", *arguments, "--data", folder)
    assert code != 0 and says in err and not out


async def test_over_http_the_commands_do_and_print_the_same(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def command(*arguments: object) -> tuple[int, str]:
        capsys.readouterr()
        code = await asyncio.to_thread(run, [str(argument) for argument in arguments])
        return code, capsys.readouterr().out

    async def shown(*arguments: object) -> Any:
        code, out = await command(*arguments, "--json")
        assert code == 0, out
        return json.loads(out)

    async with running(settings_for(tmp_path / "data")) as (url, _, admin):
        monkeypatch.setenv("BASCULE_URL", url)
        monkeypatch.setenv("BASCULE_KEY", admin)
        await shown("jobs", "pause", "--source", "upload")
        assert [pause["name"] for pause in (await shown("jobs", "pauses"))["data"]] == ["upload"]
        await shown("ingest", files(tmp_path / "one", a="Steel frames.", b=" "), "-c", "handbook")
        (job,) = (await shown("jobs", "list", "--source", "upload"))["data"]
        assert job["state"] == "paused"
        assert (await shown("jobs", "cancel", job["id"]))["state"] == "cancelled"
        await shown("jobs", "resume", "-s", "upload")
        await shown("jobs", "retry", job["id"])
        assert await command("jobs", "watch", job["id"], "--json") != (0, "")
        (lost,) = (await shown("jobs", "quarantine"))["data"]
        assert lost["name"] == "b.txt"
        assert (await shown("jobs", "retry", "--quarantined"))["documents"] == 1
