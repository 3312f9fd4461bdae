"""Files that must outlive a kill and a loss of power."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, data: bytes, *, fresh: Path) -> None:
    """All of it or nothing, readable by its owner alone. `fresh`: where it is written first, in the same folder."""
    fresh.unlink(missing_ok=True)  # one that is left may be open to others, or lead elsewhere
    with open(fresh, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """A file's name is durable only when its folder is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
