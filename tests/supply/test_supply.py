"""What Bascule is made of: licences, known weaknesses, the bill of materials, and no code made from data."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path

import pytest
from tests.supply import audit_deps, licences
from tests.supply.licences import sbom

ROOT = Path(__file__).parents[2]
RUN_LOCK = (ROOT / "requirements-run.lock").read_text(encoding="utf-8")
RULES = {"allowed": ["MIT", "Apache-2.0"], "called": {"MIT License": "MIT"}, "excepted": {}}


def test_what_is_installed_has_licences_that_are_allowed():
    assert licences.problems(licences.installed(), licences.rules()) == []


@pytest.mark.parametrize(
    ("licence", "allowed"),
    [
        ("MIT License", True),
        ("MIT AND Apache-2.0", True),
        ("MIT AND GPL-3.0-only", False),
        ("MIT OR GPL-3.0-only", True),
        ("GPL-3.0-only AND (MIT OR Apache-2.0)", False),
        ("", False),
        ("MITigated", False),
    ],
)
def test_an_expression_is_read(licence, allowed):
    assert licences.is_allowed(licence, RULES) is allowed


def test_a_licence_that_changed_or_an_exception_without_its_package_is_told():
    given = RULES | {"excepted": {"a": {"says": "X"}, "gone": {"says": "X"}}}
    assert len(licences.problems([("a", "Y"), ("b", "AGPL-3.0-only"), ("c", "MIT")], given)) == 3


def test_the_bill_names_every_locked_package_once_with_its_hashes_and_is_the_same_each_time():
    made = sbom.bom(RUN_LOCK)
    wanted = {
        line.split("==")[0].partition("[")[0] for line in RUN_LOCK.splitlines() if "==" in line and line[0] not in " #"
    }
    names = [component["name"] for component in made["components"]]
    assert set(names) == {sbom.normal(name) for name in wanted} and len(names) > 50
    for component in made["components"]:
        assert component["purl"] == component["bom-ref"] == f"pkg:pypi/{component['name']}@{component['version']}"
        assert all(len(each["value"]) == 64 for each in component["properties"]) and component["properties"]
    assert json.dumps(made) == json.dumps(sbom.bom(RUN_LOCK))
    references = {component["bom-ref"] for component in made["components"]} | {made["metadata"]["component"]["bom-ref"]}
    assert len(references) == len(names) + 1
    for row in made["dependencies"]:
        assert {row["ref"], *row["dependsOn"]} <= references


def test_what_is_installed_tells_its_licence_and_needs():
    made = sbom.bom(RUN_LOCK, Path(next(path for path in sys.path if path.endswith("site-packages"))))
    known = {component["name"]: component for component in made["components"]}
    assert known["starlette"]["licenses"] == [{"license": {"name": "BSD-3-Clause"}}]
    needs = {row["ref"]: row["dependsOn"] for row in made["dependencies"]}
    assert known["anyio"]["bom-ref"] in needs[known["starlette"]["bom-ref"]]


ROW = {"name": "a", "version": "1", "vulns": []}
WEAK = {"name": "b", "version": "1", "vulns": [{"id": "X-1", "fix_versions": ["2"]}]}
SKIPPED = {"name": "c", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("code", "rows", "expected", "verdict"),
    [
        (0, [ROW, ROW], 2, audit_deps.CLEAN),
        (1, [ROW, WEAK], 2, audit_deps.WEAK),
        (0, [ROW, SKIPPED], 2, audit_deps.NOT_CHECKED),
        (0, [ROW], 9, audit_deps.NOT_CHECKED),
        (0, [], 2, audit_deps.NOT_CHECKED),
        (1, [ROW, ROW], 2, audit_deps.NOT_CHECKED),
        (1, None, 2, audit_deps.NOT_CHECKED),
    ],
)
def test_only_a_whole_answer_without_weaknesses_is_a_pass(code, rows, expected, verdict):
    out = "" if rows is None else json.dumps({"dependencies": rows})
    found, lines = audit_deps.judged(code, out, "ConnectionError", expected)
    assert found == verdict
    assert ("NOT CHECKED" in "\n".join(lines)) == (verdict == audit_deps.NOT_CHECKED)


FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "execfile"}
FORBIDDEN_MODULES = {
    "pickle",
    "cPickle",
    "marshal",
    "shelve",
    "dill",
    "cloudpickle",
    "joblib",
    "code",
    "codeop",
    "jsonpickle",
}
FORBIDDEN_METHODS = {
    ("yaml", "load"),
    ("yaml", "unsafe_load"),
    ("yaml", "full_load"),
    ("os", "system"),
    ("os", "popen"),
}


def code_from_data(source: str) -> list[str]:
    """What in this source could run what somebody sent."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            found += [name for name in names if name.partition(".")[0] in FORBIDDEN_MODULES]
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id in FORBIDDEN_CALLS:
            found.append(node.func.id)
        if isinstance(node.func, ast.Attribute):
            owner = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
            if (owner, node.func.attr) in FORBIDDEN_METHODS or node.func.attr in ("from_string", "exec_module"):
                found.append(f"{owner}.{node.func.attr}")
        given = {word.arg: word.value for word in node.keywords}
        for flag in ("shell", "allow_pickle"):
            if flag in given and not (isinstance(given[flag], ast.Constant) and given[flag].value is False):
                found.append(flag)
    return found


# A library's compiled part, found beside the library itself and loaded without the rest of it.
TRUSTED = {"src/bascule/gateway/estimate.py": ["module.loader.exec_module", "loader.exec_module", ".exec_module"]}


def test_no_code_is_made_from_data_anywhere():
    files = sorted((ROOT / "src").rglob("*.py"))
    assert len(files) > 300
    found = {
        str(path.relative_to(ROOT)): [
            each
            for each in code_from_data(path.read_text("utf-8"))
            if each not in TRUSTED.get(str(path.relative_to(ROOT)), ())
        ]
        for path in files
    }
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize(
    "source",
    [
        "eval(x)",
        "import pickle",
        "from marshal import loads",
        "import yaml\nyaml.load(x)",
        "import subprocess\nsubprocess.run(x, shell=True)",
        "import numpy\nnumpy.load(x, allow_pickle=given)",
        "environment.from_string(x)",
        "import os\nos.system(x)",
        "spec.loader.exec_module(m)",
    ],
)
def test_each_way_is_noticed(source):
    assert code_from_data(source)
