"""Run as a process of its own: re-encrypts secrets and dies by SIGKILL at its first, second, ... step, until a run ends.

    python sealing_driver.py FOLDER

After each death every secret must open with one of the two keys, and a run that nobody kills must end with the new one. Prints how
many runs were killed and how many ended.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bascule.db import sealing
from bascule.db.sealing import Seal, SealKey, read_secret, reseal

OLD, NEW = SealKey.of("o" * 40, "old"), SealKey.of("n" * 40, "new")
TURN = Seal(NEW, [OLD])
HELD = {"prompt.key": b"p" * 32, "pseudonym.key": b"q" * 32}


def counted(real: Callable[..., Any], left: list[int]) -> Callable[..., Any]:
    def step(*given: Any, **named: Any) -> Any:
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
        return real(*given, **named)

    return step


def run_and_die(folder: Path, steps: int) -> bool:
    """Whether it was killed."""
    child = os.fork()
    if child == 0:
        left = [steps]
        for name in ("open", "fsync", "replace", "close"):
            setattr(sealing.os, name, counted(getattr(os, name), left))
        list(reseal(folder, TURN))
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def main(folder: Path) -> None:
    killed, ended = 0, 0
    while not ended:
        for name, secret in HELD.items():
            (folder / name).write_bytes(Seal(OLD).closed(name, secret))
        if run_and_die(folder, killed):
            killed += 1
        else:
            ended += 1
        assert {name: read_secret(folder, name, TURN) for name in HELD} == HELD
        list(reseal(folder, TURN))
        assert {name: read_secret(folder, name, Seal(NEW)) for name in HELD} == HELD
        assert sorted(path.name for path in folder.iterdir()) == sorted(HELD), "nothing is left lying about"
    print(killed, ended)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
