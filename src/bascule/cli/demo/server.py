"""The demo's server: a real `bascule serve` in a process of its own, on a data folder made new for each demo."""

from __future__ import annotations

import os
import select
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bascule.core.errors import ConfigError, StorageError

MARKER: Final = ".bascule-demo"
START_S: Final = 60.0
STOP_S: Final = 25.0


def fresh_folder(data: Path) -> None:
    """Make `data` anew, 0700. Raises ConfigError when there is something in it that no demo made."""
    if data.is_dir() and any(data.iterdir()):
        if not (data / MARKER).is_file():
            raise ConfigError(f"{data} is not empty and was not made by a demo. Choose another folder with --data.")
        shutil.rmtree(data)
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    data.chmod(0o700)
    (data / MARKER).write_text("This folder belongs to `bascule demo`, which removes it when it runs again.\n")


def free_port(wanted: int) -> int:
    """`wanted`, or 0 (any) when somebody else has it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            return 0
    return wanted


@contextmanager
def serving(data: Path, port: int) -> Iterator[str]:
    """The server's address while it runs. Raises StorageError when it does not start."""
    command = [sys.executable, "-m", "bascule", "serve", "--data", str(data), "--port", str(free_port(port))]
    with open(data / "server.log", "wb") as log:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, env=_environment(), start_new_session=True
        )
    try:
        yield _address(process, data / "server.log")
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()


def _environment() -> dict[str, str]:
    """Ours without BASCULE_ settings (they would change what the demo shows), except where the models are."""
    return {k: v for k, v in os.environ.items() if not k.startswith("BASCULE_") or k == "BASCULE_MODELS_DIR"}


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    """From the line that `serve` prints when it answers requests."""
    assert process.stdout is not None
    ends_at_s = time.monotonic() + START_S
    said = b""
    while time.monotonic() < ends_at_s and process.poll() is None:
        if not select.select([process.stdout], [], [], 0.2)[0]:
            continue
        piece = os.read(process.stdout.fileno(), 4096)
        said += piece
        for line in said.decode(errors="replace").splitlines():
            if "http://" in line and said.endswith(b"\n"):
                return line[line.index("http://") :].split()[0]
        if not piece:
            break
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
    raise StorageError(f"The server did not start within {START_S:.0f} s. The end of its log:\n{tail}")
