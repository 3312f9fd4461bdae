"""Every promise has a row, every row that claims to be kept names tests that exist, and every demand test is claimed by a row."""

from __future__ import annotations

import ast
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
ROWS: list[dict[str, Any]] = tomllib.loads((Path(__file__).parent / "promises.toml").read_text())["promise"]
IDS = [
    *(f"G{n}" for n in range(1, 14)),
    *(f"I{n}" for n in range(1, 8)),
    *(f"R{n}" for n in range(1, 7)),
    *(f"A{n}" for n in range(1, 7)),
    *(f"S{n}" for n in range(1, 4)),
    *(f"F{n}" for n in range(1, 19)),
    *(f"P{n}" for n in range(1, 9)),
    *(f"O{n}" for n in range(1, 5)),
    *(f"U{n}" for n in range(1, 4)),
    *(f"W{n}" for n in range(1, 4)),
]
STATES = {"kept", "partly", "gap"}


@cache
def names_in(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text())
    return frozenset(
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    )


def test_every_promise_has_exactly_one_row() -> None:
    assert [row["id"] for row in ROWS] == IDS


@pytest.mark.parametrize("row", ROWS, ids=[row["id"] for row in ROWS])
def test_a_row_says_what_is_promised_and_how_it_stands(row: dict[str, Any]) -> None:
    assert set(row) <= {"id", "sentence", "state", "tests", "gap"}
    assert row["sentence"].strip()
    assert row["state"] in STATES
    tests = row.get("tests", [])
    assert (row["state"] == "gap") or tests, "a promise that is kept, even in part, names its tests"
    assert (row["state"] == "kept") != bool(row.get("gap", "").strip()), "what is not whole says what is missing"
    for node in tests:
        path, _, name = node.partition("::")
        assert (ROOT / path).is_file(), f"{path} does not exist"
        assert name in names_in(path), f"{node} does not exist"


def test_every_test_named_after_a_promise_is_claimed_by_that_promise() -> None:
    claimed = {(row["id"], node) for row in ROWS for node in row.get("tests", [])}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        where = str(path.relative_to(ROOT))
        for name in names_in(where):
            promise = name.removeprefix("test_").split("_")[0]
            if promise in IDS:
                assert (promise, f"{where}::{name}") in claimed, (
                    f"{where}::{name} is not in promises.toml under {promise}"
                )
