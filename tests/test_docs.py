"""The docs: generated pages are fresh, links lead somewhere, commands exist, examples run."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests import docs_check

from bascule.settings import Exact


def test_generated_pages_links_and_commands_are_in_order() -> None:
    assert docs_check.problems() == []


def test_the_example_file_uncommented_is_the_default_configuration() -> None:
    lines = (docs_check.ROOT / "docs" / "bascule.example.toml").read_text(encoding="utf-8").splitlines()
    named = {path.rpartition(".")[2] for path, _ in docs_check.settings()}
    kept = []
    for line in lines:
        key, sign, value = line.removeprefix("# ").partition(" =")
        if line.startswith("[") or (sign and key in named and value.strip()):
            kept.append(line.removeprefix("# "))
    assert Exact(**tomllib.loads("\n".join(kept))) == Exact()


def test_every_setting_is_described() -> None:
    assert [path for path, field in docs_check.settings() if not field.description] == []


def test_a_broken_link_and_a_wrong_flag_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text(
        "[x](nowhere.md)\n\n```sh\nbascule ask --fast\nbascule dance\nBASCULE_URL=x bascule ask hi --json\n```\n"
    )
    monkeypatch.setattr(docs_check, "ROOT", tmp_path)
    assert len(docs_check.broken_links()) == 1
    assert len(docs_check.unknown_commands()) == 2


def test_python_examples_of_the_docs_compile() -> None:
    for page in docs_check.pages():
        for _, text in docs_check.blocks(page, "python"):
            compile(text, str(page), "exec")


@contextmanager
def _background(script: str, folder: Path, environment: dict[str, str]) -> Iterator[None]:
    """A block that keeps running; entered once it has said something."""
    process = subprocess.Popen(["bash", "-c", "exec " + script], cwd=folder, env=environment, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], 60)[0] and os.read(process.stdout.fileno(), 4096)
        yield
    finally:
        process.terminate()
        process.wait(30)
        if process.stdout:
            process.stdout.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.timeout(300)  # a score of commands, each a process of its own
def test_the_tutorial_does_what_it_says(tmp_path: Path) -> None:
    """Each block marked `run` runs; every line of the text after it is in what it printed (up to an ellipsis)."""
    (tmp_path / "examples").symlink_to(docs_check.ROOT / "examples")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("BASCULE_")}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    environment["BASCULE_MODELS_DIR"] = str(tmp_path / "none")
    text = (docs_check.ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8").replace("8400", str(_free_port()))
    servers, said, ran = [], "", 0
    try:
        for language, marks, block in docs_check.fences(text):
            if language == "sh" and marks == "run background":
                servers.append(_background(block.strip(), tmp_path, environment))
                servers[-1].__enter__()
            elif language == "sh" and marks == "run":
                started_s = time.monotonic()
                done = subprocess.run(
                    ["bash", "-euo", "pipefail", "-c", block],
                    cwd=tmp_path,
                    env=environment,
                    capture_output=True,
                    text=True,
                )
                assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
                assert time.monotonic() - started_s < 60
                said, ran = done.stdout, ran + 1
            elif language == "text":
                missing = [line for line in block.splitlines() if line.rstrip("…").strip() not in said]
                assert not missing, said
    finally:
        for server in servers:
            server.__exit__(None, None, None)
    assert ran >= 8
