"""The demo's parts, and the demo itself on few documents."""

from __future__ import annotations

import json
import urllib.request
from itertools import islice
from pathlib import Path

import pytest

from bascule.cli.app import run
from bascule.cli.demo import chapters
from bascule.cli.demo.python_docs import BUDGET_BYTES, python_docs
from bascule.cli.demo.server import MARKER, fresh_folder
from bascule.cli.demo.upstream import stand_in
from bascule.core.errors import ConfigError


def test_the_interpreters_own_documents_stay_within_the_budget_and_have_names_of_their_own() -> None:
    items = list(python_docs())
    assert len(items) >= 200 and sum(len(item.data) for item in items) <= BUDGET_BYTES
    assert len({item.external_id for item in items}) == len(items)
    assert all(item.title and item.data.strip() for item in items)
    by_id = {item.external_id: item for item in items}
    assert b"context manager" in by_id["topics/with"].data
    assert b"read_text" in by_id["modules/pathlib.Path"].data
    assert not any(b"\x08" in item.data for item in items)


def test_the_stand_in_answers_in_openais_format_and_counts() -> None:
    with stand_in() as upstream:
        body = json.dumps({"model": "m", "messages": []}).encode()
        for number in (1, 2):
            with urllib.request.urlopen(upstream.base_url + "/chat/completions", data=body, timeout=10) as reply:
                answer = json.load(reply)
            assert "stand-in" in answer["choices"][0]["message"]["content"] and upstream.calls == number
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(upstream.base_url + "/models", data=b"{}", timeout=10)
        with caught.value as error:
            assert error.code == 404


def test_the_demo_removes_no_folder_that_is_not_its_own(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError):
        fresh_folder(mine)
    assert (mine / "thesis.txt").exists()
    own = tmp_path / "own"
    fresh_folder(own)
    (own / "old").write_text("x")
    fresh_folder(own)
    assert [p.name for p in own.iterdir()] == [MARKER] and own.stat().st_mode & 0o777 == 0o700


def test_the_demo_tells_the_whole_story(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def few(budget_bytes: int = 0) -> list[object]:
        wanted = ("topics/with", "modules/pathlib.Path")
        return [item for item in python_docs() if item.external_id in wanted] + list(islice(python_docs(), 3))

    def no_model(*_: object, **__: object) -> None:
        raise ConfigError("no model in this test")

    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr(chapters, "python_docs", few)
    monkeypatch.setattr("bascule.ops.models.pull", no_model)
    monkeypatch.setenv("BASCULE_MODELS_DIR", str(tmp_path / "none"))
    assert run(["demo", "--once", "--port", "0", "--data", str(tmp_path / "demo")]) == 0
    told = capsys.readouterr().out
    assert "5 indexed" in told and "10 indexed" in told
    assert "48,500" in told and "187,000" in told and "extension 4711" in told
    assert told.count("Refused (") == 4
    assert "MISS" in told and "HIT" in told and "Calls that reached the upstream: 1" in told
    assert run(["doctor", "--data", str(tmp_path / "demo")]) == 0, "the folder can be opened after the demo"
    assert "covered for 10 years" in told and told.rstrip().count(": 404") == 1
