"""Exit codes, start-up cost, rights maps and the HTTP client's errors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bascule.cli import failures
from bascule.cli.http_peer import HttpPeer, Reply, failure
from bascule.cli.rights_file import read_rights
from bascule.core import errors
from bascule.core.errors import ConfigError

HEAVY = (
    "pydantic",
    "sqlalchemy",
    "numpy",
    "onnxruntime",
    "aiohttp",
    "starlette",
    "uvicorn",
    "dbos",
    "bascule.bootstrap",
)


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, json; from bascule.cli.app import run; c = run(['--help']);"
        f"print(json.dumps([c, [m for m in {HEAVY!r} if m in sys.modules]]), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stderr.splitlines()[-1]) == [0, []]
    assert "ingest" in done.stdout


def test_completion_scripts_can_be_shown_for_the_usual_shells() -> None:
    for shell in ("bash", "zsh", "fish"):
        done = subprocess.run(
            [sys.executable, "-m", "bascule", "--help"],
            env={"_BASCULE_COMPLETE": f"source_{shell}", "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0 and "Traceback" not in done.stderr, shell


def test_every_error_has_the_documented_exit_code() -> None:
    expected = {
        errors.ConfigError: 2,
        errors.InvalidRequest: 2,
        errors.AuthenticationFailed: 3,
        errors.ScopeMissing: 3,
        errors.NotFound: 3,
        errors.PolicyRefused: 3,
        errors.UpstreamUnavailable: 4,
        errors.UpstreamTimeout: 4,
        errors.StorageError: 5,
        errors.IngestError: 1,
    }
    assert {kind: failures.exit_code(kind("x")) for kind in expected} == expected
    assert failures.exit_code(errors.LimitExceeded("x", limit="l", retry_after_s=1)) == 1
    for code in {*expected.values(), 130}:
        assert f"\n{code}  " in "\n" + (failures.__doc__ or "")


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "invalid_request", errors.InvalidRequest),
        (401, "invalid_api_key", errors.AuthenticationFailed),
        (403, "scope_missing", errors.ScopeMissing),
        (403, "policy_refused", errors.PolicyRefused),
        (404, "not_found", errors.NotFound),
        (413, "too_large", errors.TooLarge),
        (429, "rate_limit_exceeded", errors.LimitExceeded),
        (502, "upstream_error", errors.UpstreamUnavailable),
        (503, "storage_unavailable", errors.StorageError),
        (504, "upstream_timeout", errors.UpstreamTimeout),
    ],
)
def test_a_servers_error_becomes_the_same_error_here(status, code, kind) -> None:
    body = json.dumps({"error": {"message": "said so", "type": "t", "param": None, "code": code}}).encode()
    found = failure(Reply(status=status, headers={"retry-after": "7"}, data=body))
    assert type(found) is kind and found.message == "said so"
    assert status != 429 or found.retry_after_s == 7


def test_an_error_that_is_not_ours_is_still_one_line() -> None:
    for data in (b"", b"<html>", b"[]", b'{"error": "x"}', b'{"error": null}'):
        assert "500" in failure(Reply(status=500, headers={}, data=data)).message


def test_only_an_http_address_is_spoken_to_and_a_silent_one_is_exit_code_4() -> None:
    for url in ("", "ftp://x", "file:///etc/passwd", "127.0.0.1:8400"):
        with pytest.raises(ConfigError):
            HttpPeer(url)
    with pytest.raises(errors.UpstreamUnavailable) as caught:
        HttpPeer("http://127.0.0.1:9/", "k").call("GET", "/livez")
    assert failures.exit_code(caught.value) == failures.UPSTREAM


def test_the_last_matching_pattern_of_a_rights_map_decides(tmp_path: Path) -> None:
    path = tmp_path / "rights.toml"
    path.write_text('"hr/*" = { allow = ["group:hr"] }\n"hr/holiday.md" = { allow = ["public"], deny = ["group:x"] }\n')
    found = read_rights(path)
    assert found.of(tmp_path / "hr" / "pay.md").allow == {"group:hr"}
    assert found.of(tmp_path / "hr" / "deep" / "pay.md").allow == {"group:hr"}
    holiday = found.of(tmp_path / "hr" / "holiday.md")
    assert (holiday.allow, holiday.deny) == ({"public"}, {"group:x"})
    assert found.of(tmp_path / "other.md") is None and found.of(Path("/etc/passwd")) is None
    assert found.unused([tmp_path / "hr" / "pay.md"]) == ["hr/holiday.md"]


@pytest.mark.parametrize(
    "text",
    [
        "[",
        '"a" = 1',
        '"a" = { allow = "public" }',
        '"a" = { allow = ["everyone"] }',
        '"a" = { alow = ["public"] }',
        '"a" = { allow = [1] }',
    ],
)
def test_a_malformed_rights_map_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "rights.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"rights\.toml"):
        read_rights(path)


def test_deny_on_the_command_line_holds_for_every_file_of_a_map(cli, folder: Path, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.md").write_text("# A\n\nfirst", encoding="utf-8")
    (docs / "b.md").write_text("# B\n\nsecond", encoding="utf-8")
    (docs / "rights.toml").write_text(
        '"a.md" = { allow = ["public"] }\n"typo.md" = { allow = ["public"] }\n', encoding="utf-8"
    )
    code, _, err = cli(
        "ingest", docs, "-c", "x", "--rights", docs / "rights.toml", "--deny", "group:g", "--data", folder
    )
    assert code == 0 and "typo.md" in err
    rights = {d["name"]: d["rights"] for d in cli.json("documents", "list", "--data", folder)["data"]}
    assert rights["a.md"] == {"allow": ["public"], "deny": ["group:g"], "owner": ""}
    assert rights["b.md"] == {"allow": [], "deny": ["group:g"], "owner": ""}
