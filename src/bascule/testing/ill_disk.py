"""Disks that are full or fail, without a special machine: a small file system of one's own, and a limit of the kernel's."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

BALLAST: Final = "ballast"


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[Path]:
    """A file system of this size, mounted at `folder` while open. Raises PermissionError where this process may mount none."""
    folder.mkdir(exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size_bytes},mode=700", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        raise PermissionError("a small file system cannot be mounted: this process is not root, or may not mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=False)


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """Not one byte more fits while this is open."""
    ballast = disk / BALLAST
    with open(ballast, "wb", buffering=0) as file:
        for size in (65_536, 4_096, 1):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))
    try:
        yield
    finally:
        ballast.unlink()


@contextmanager
def failing_writes() -> Iterator[None]:
    """Every write to a regular file fails in this process (EFBIG, to SQLite an I/O error); reads and sockets go on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def unreadable(file: Path) -> None:
    """From now on reading this file fails with EIO: it leads to this process's unmapped first page."""
    file.unlink()
    file.symlink_to("/proc/self/mem")
    try:
        file.read_bytes()
    except OSError as error:
        if error.errno == errno.EIO:
            return
    raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP), str(file))
