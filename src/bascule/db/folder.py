"""The data folder: who may open it, and the secrets made at first start."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from bascule.core.errors import ConfigError
from bascule.db.sealing import Seal


def prepare_folder(data: Path, seal: Seal) -> None:
    """Create the data folder and its secrets (0700 / 0600), closed by `seal`.

    Raises ConfigError when somebody else could read it.
    """
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    mode = data.stat().st_mode & 0o777
    if mode & 0o077:
        if any(data.iterdir()):
            raise ConfigError(f"The data folder {data} can be read by others (mode {mode:o}). Run: chmod 700 {data}")
        data.chmod(0o700)
    folder = data / "secrets"
    folder.mkdir(exist_ok=True, mode=0o700)
    for name in ("prompt", "pseudonym"):
        _make_key(folder, name, seal)


def _make_key(folder: Path, name: str, seal: Seal) -> None:
    key = folder / f"{name}.key"
    if key.exists():
        return
    fresh = folder / f".{name}.{secrets.token_hex(4)}"
    with open(fresh, "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        file.write(seal.closed(key.name, secrets.token_bytes(32)))
    # A hard link fails when another process was first: both then read the same key.
    with suppress(FileExistsError):
        os.link(fresh, key)
    fresh.unlink()
