"""A data folder made through the command line itself, with the example handbook in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bascule.cli.app import run

HANDBOOK = Path(__file__).resolve().parents[2] / "examples" / "handbook"


class Cli:
    """Runs commands in this process: `(exit code, stdout, stderr)`."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: object) -> tuple[int, str, str]:
        self._capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        out, err = self._capsys.readouterr()
        return code, out, err

    def json(self, *arguments: object) -> Any:
        """The command must succeed, and stdout must be one JSON document."""
        code, out, err = self(*arguments, "--json")
        assert code == 0, err
        return json.loads(out)


@pytest.fixture(autouse=True)
def quiet_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("BASCULE_URL", "BASCULE_KEY", "BASCULE_DATA", "BASCULE_CONFIG", "BASCULE_MODELS_DIR", "BASCULE_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(capsys)


def make_folder(data: Path) -> str:
    """A data folder that searches by words only; returns the admin key."""
    import asyncio

    from bascule.bootstrap import init
    from bascule.settings import Exact

    data.mkdir(mode=0o700)
    (data / "bascule.toml").write_text('[rag]\nembedding_model = ""\n', encoding="utf-8")
    key = asyncio.run(init(Exact(data=data)))
    assert key is not None
    return key


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the handbook ingested: read it, do not change it."""
    data = tmp_path_factory.mktemp("shop") / "data"
    make_folder(data)
    code = run(
        [
            "ingest",
            str(HANDBOOK),
            "--rights",
            str(HANDBOOK / "rights.toml"),
            "-c",
            "handbook",
            "--data",
            str(data),
            "--json",
        ]
    )
    assert code == 0
    return data


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder of one's own."""
    make_folder(tmp_path / "data")
    return tmp_path / "data"
