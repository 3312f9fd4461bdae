"""The docs: generated pages are fresh, links lead somewhere, commands exist, examples run."""

from __future__ import annotations

import tomllib
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
