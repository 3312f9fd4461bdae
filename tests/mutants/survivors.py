"""Which mutants lived through `make mutants`, and were they expected to: a row of equivalents.toml says why one changes nothing."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
DEAD: Final = ("killed", "timeout", "caught by type check")


def main() -> int:
    equivalent = {
        row["mutant"]: row["why"] for row in tomllib.loads((HERE / "equivalents.toml").read_text("utf-8"))["row"]
    }
    mutmut = str(Path(sys.executable).with_name("mutmut"))
    told = subprocess.run([mutmut, "results", "--all", "true"], capture_output=True, text=True, check=True).stdout
    states = dict(line.strip().split(": ", 1) for line in told.splitlines() if ": " in line)
    alive = {name: state for name, state in states.items() if state not in DEAD}
    wrong = [f"{name}: {state}" for name, state in sorted(alive.items()) if name not in equivalent]
    wrong += [
        f"{name}: listed as equivalent, but it is {states.get(name, 'gone')}"
        for name in equivalent
        if name not in alive
    ]
    for line in wrong:
        print(line, file=sys.stderr)
    print(
        f"mutants: {len(states)}, {len(states) - len(alive)} noticed, {len(alive)} alive, {len(equivalent)} known to change nothing"
    )
    return 1 if wrong or not states else 0


if __name__ == "__main__":
    raise SystemExit(main())
