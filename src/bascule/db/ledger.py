"""The ledger of deletions outside the database: what a restored backup does not know any more.

One JSON line for each deletion, with ids and a time and nothing else. It is only ever appended to.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from bascule.core.errors import StorageError
from bascule.db.files import sync_folder

NAME: Final = "deletions.ledger"


class Deletion(msgspec.Struct, frozen=True):
    document_id: str
    tenant: str
    deleted_at: str


_decode = msgspec.json.Decoder(Deletion).decode


class DeletionLedger:
    """Several processes may append: each line is written whole, under a lock. Blocks."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def path(self) -> Path:
        return self._path

    def append(self, entries: Sequence[Deletion]) -> None:
        """On disk when it returns. Raises StorageError."""
        if not entries:
            return
        fresh = not self._path.exists()
        try:
            handle = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                data = b"".join(msgspec.json.encode(entry) + b"\n" for entry in entries)
                _write(handle, (b"\n" if _is_torn(handle) else b"") + data)
                os.fsync(handle)
            finally:
                os.close(handle)
            if fresh:
                sync_folder(self._path.parent)
        except OSError as error:
            raise StorageError("The ledger of deletions cannot be written: is the disk full?") from error

    def entries(self) -> dict[str, Deletion]:
        """By document id. A line that a crash cut short is left out: its deletion was never told to anybody as done.
        Raises StorageError."""
        found: dict[str, Deletion] = {}
        try:
            lines = self._path.read_bytes().split(b"\n") if self._path.exists() else []
        except OSError as error:
            raise StorageError("The ledger of deletions cannot be read.") from error
        for line in lines:
            entry = _read(line)
            if entry is not None:
                found[entry.document_id] = entry
        return found


def _read(line: bytes) -> Deletion | None:
    try:
        return _decode(line) if line else None
    except msgspec.DecodeError:
        return None


def _is_torn(handle: int) -> bool:
    size = os.fstat(handle).st_size
    return size > 0 and os.pread(handle, 1, size - 1) != b"\n"


def _write(handle: int, data: bytes) -> None:
    while data:
        data = data[os.write(handle, data) :]
