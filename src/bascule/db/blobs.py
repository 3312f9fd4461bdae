"""The bytes of accepted documents, as files in one folder that nobody but the service's user may read."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

from bascule.core.blobs import UNREADABLE
from bascule.core.errors import StorageError
from bascule.core.ids import new_id
from bascule.db.files import sync_folder

_NAME: Final = re.compile(r"[0-9a-f-]{36}")


class FolderBlobs:
    """Implements `core.blobs.Blobs`. Names are random; two levels of folders keep each one small."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def put(self, data: bytes) -> str:
        """Raises StorageError, e.g. when the disk is full; nothing is left behind then."""
        return (await self.put_all([data]))[0]

    async def put_all(self, many: Sequence[bytes]) -> list[str]:
        """In one folder, which is then flushed once."""
        if not many:
            return []
        ids = [new_id() for _ in many]
        names = [name[:-2] + ids[0][-2:] for name in ids]
        await asyncio.to_thread(self._put_all, dict(zip(names, many, strict=True)))
        return names

    async def get(self, name: str) -> bytes:
        found = await self.get_all([name])
        if name not in found:
            raise StorageError(UNREADABLE)
        return found[name]

    async def get_all(self, names: Sequence[str]) -> dict[str, bytes]:
        return await asyncio.to_thread(self._get_all, [(name, self._file(name)) for name in names])

    async def delete(self, name: str) -> None:
        try:
            await asyncio.to_thread(self._file(name).unlink, missing_ok=True)
        except OSError as error:
            raise StorageError("The document's stored bytes cannot be removed.") from error

    async def names(self) -> list[tuple[str, float]]:
        return await asyncio.to_thread(self._names)

    def _file(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise StorageError("This is not the name of a stored document.")
        return self._path / name[-2:] / name

    def _put_all(self, many: Mapping[str, bytes]) -> None:
        targets = [self._file(name) for name in many]
        folder = targets[0].parent
        try:
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
            _write_all(folder, many)
            sync_folder(self._path)
        except OSError as error:
            for file in targets:
                with suppress(OSError):
                    file.unlink()
            raise StorageError("The document cannot be stored: is the disk full?") from error

    def _get_all(self, files: Sequence[tuple[str, Path]]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for name, file in files:
            with suppress(OSError):
                found[name] = file.read_bytes()
        return found

    def _names(self) -> list[tuple[str, float]]:
        found: list[tuple[str, float]] = []
        now = time.time()
        for file in self._path.glob("*/*"):
            try:
                age_s = now - file.stat().st_mtime
            except FileNotFoundError:
                continue  # removed meanwhile
            if _NAME.fullmatch(file.name):
                found.append((file.name, age_s))
        return found


def _write_all(folder: Path, many: Mapping[str, bytes]) -> None:
    """All of them before the first flush: the file system then has one batch to flush, and little to do for the others.

    Under their own names at once: nobody knows one before its bytes are durable, and one that a crash leaves is an orphan.
    """
    with ExitStack() as opened:
        place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        opened.callback(os.close, place)
        handles = []
        for name, data in many.items():
            handles.append(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=place))
            opened.callback(os.close, handles[-1])
            _write(handles[-1], data)
        for handle in handles:
            os.fsync(handle)
        os.fsync(place)


def _write(handle: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(handle, left) :]
