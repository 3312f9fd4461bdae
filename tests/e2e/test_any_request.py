"""Requests made up from our own description, sane and mad: none is answered with a 5xx (schemathesis, over real HTTP)."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from bascule.settings import Exact
from bascule.testing.running import running

FULL = bool(os.environ.get("BASCULE_TEST_FULL"))
EXAMPLES = 300 if FULL else 2
# In the short form the values at every edge of every field are tried where something is made or changed in part,
# and a few mad ones everywhere.
SHORT = """
[phases.coverage]
unexpected-methods = []

[[operations]]
include-method-regex = "GET|DELETE|PUT"
phases.coverage.enabled = false
"""


@pytest.mark.timeout(3600 if FULL else 400)  # every route, several times each
async def test_no_request_of_any_shape_is_a_server_error(tmp_path: Path) -> None:
    settings = Exact(
        data=tmp_path / "data",
        providers={"main": {"kind": "echo"}},
        models={"fast": {"targets": [{"provider": "main", "model": "echo"}]}},
        rag={"embedding_model": None, "chat_model": "fast"},
    )
    (tmp_path / "schemathesis.toml").write_text("" if FULL else SHORT)
    async with running(settings) as (url, _, admin):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json", "--url", url),
            *("--checks", "not_a_server_error", "--phases", "examples,coverage,fuzzing", "--seed", "7"),
            *("--max-examples", str(EXAMPLES), "--workers", "1", "--no-color", "--suppress-health-check", "all"),
            *("--header", f"Authorization: Bearer {admin}", "--exclude-path-regex", "^/v1/keys/.*"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=tmp_path,
        )
        out, _ = await process.communicate()
    text = out.decode(errors="replace")
    assert process.returncode == 0, text[-6000:]
    tested = re.search(r"Tested: (\d+)", text) or re.search(r"(\d+) passed", text)
    assert tested and int(tested.group(1)) >= 80, text[-3000:]
