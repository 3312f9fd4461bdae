"""Known weaknesses of locked packages, asked of pip-audit: `make audit-deps`. What was not asked is said, never passed over.

0  every locked package was looked up, and none has a known weakness
1  there are known weaknesses
3  NOT CHECKED: the data could not be reached, or the answer covers less than the lock
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

CLEAN: Final = 0
WEAK: Final = 1
NOT_CHECKED: Final = 3
SHOWN: Final = 5


def main(locks: list[Path], command: list[str]) -> int:
    worst = CLEAN
    for lock in locks:
        asked = [*command, "--requirement", str(lock), "--disable-pip", "--require-hashes", "--format", "json"]
        done = subprocess.run(asked, capture_output=True, text=True)
        code, lines = judged(done.returncode, done.stdout, done.stderr, locked(lock))
        print(f"{lock.name}: " + "\n  ".join(lines), flush=True)
        worst = max(worst, code)
    return worst


def locked(lock: Path) -> int:
    return sum(
        "==" in line and not line.startswith((" ", "#")) for line in lock.read_text(encoding="utf-8").splitlines()
    )


def judged(code: int, out: str, err: str, expected: int) -> tuple[int, list[str]]:
    try:
        rows: list[dict[str, Any]] = json.loads(out)["dependencies"]
    except (ValueError, KeyError, TypeError):
        last = (err.strip().splitlines() or ["it said nothing"])[-1]
        return NOT_CHECKED, [f"NOT CHECKED: pip-audit ended with {code}: {last[:300]}"]
    skipped = [row for row in rows if "skip_reason" in row]
    weak = [row for row in rows if row.get("vulns")]
    lines = [f"{len(rows)} packages, {len(weak)} with known weaknesses, {len(skipped)} not looked up"]
    for row in weak:
        lines += [
            f"{row['name']} {row['version']}: {each['id']}, mended in {each['fix_versions']}" for each in row["vulns"]
        ]
    # Packages of other systems are in the lock too and are looked up for none: markers leave some out.
    if skipped or len(rows) < expected // 2 or (code != 0 and not weak):
        lines += [f"NOT CHECKED: {row['name']}: {row['skip_reason']}" for row in skipped[:SHOWN]]
        lines.append(f"NOT CHECKED: {len(rows) - len(skipped)} of {expected} locked packages were looked up")
        return NOT_CHECKED, lines
    return (WEAK if weak else CLEAN), lines


if __name__ == "__main__":
    raise SystemExit(main([Path(name) for name in sys.argv[1:]], [str(Path(sys.executable).with_name("pip-audit"))]))
