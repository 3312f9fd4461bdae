"""`python -m bascule.child --report`: what confinement does here, wherever its output goes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def test_the_report_reaches_a_file_as_it_reaches_a_pipe(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bascule.child", "--report"]
    piped = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    with (tmp_path / "report.json").open("w") as file:
        subprocess.run(command, stdout=file, check=True, timeout=60)
    assert json.loads((tmp_path / "report.json").read_text()) == json.loads(piped)
    assert {"memory", "cpu", "network"} <= set(json.loads(piped))
