"""Files under folders the operator named. Reads, never writes; follows no link out of a folder; skips nothing silently."""

from __future__ import annotations

import asyncio
import mimetypes
import os
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from bascule.core.connectors import SkippedItem, SourceItem
from bascule.core.errors import StorageError
from bascule.core.resources import Resources

_NOT_DOCUMENTS: Final = frozenset(["CVS", "__pycache__", "node_modules"])


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    paths: tuple[Path, ...] = Field(min_length=1, description="Folders and files to take in.")
    max_file_bytes: int = Field(50_000_000, gt=0, description="Larger files are skipped, with a reason.")


class FolderConnector:
    """`external_id` is a file's path below the folder it was found in (its name, for a file named itself)."""

    kind = "folder"

    def __init__(self, paths: Sequence[Path], max_file_bytes: int = 50_000_000) -> None:
        self._paths = tuple(paths)
        self._max_file_bytes = max_file_bytes

    async def items(self) -> AsyncIterator[SourceItem | SkippedItem]:
        """In the order of their paths. Raises StorageError when a folder is not there."""
        taken: set[str] = set()
        for root in self._paths:
            for path, external_id in await asyncio.to_thread(_listed, root):
                item = (
                    path
                    if isinstance(path, SkippedItem)
                    else await asyncio.to_thread(self._read, root, path, external_id)
                )
                if item.external_id in taken and isinstance(item, SourceItem):
                    item = SkippedItem(
                        external_id=item.external_id,
                        reason="Another folder of this run has a file of this path. Take in the folder above both instead.",
                    )
                taken.add(item.external_id)
                yield item

    def _read(self, root: Path, path: Path, external_id: str) -> SourceItem | SkippedItem:
        try:
            if path.is_symlink() and not path.resolve(strict=True).is_relative_to(root.resolve()):
                return SkippedItem(
                    external_id=external_id, reason="A link to outside the folder. Copy the file into it."
                )
            descriptor = os.open(path.resolve(), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            return SkippedItem(
                external_id=external_id, reason=f"Cannot be read: {error.strerror}. Check its permissions."
            )
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                return SkippedItem(external_id=external_id, reason="Not a regular file.")
            data = file.read(self._max_file_bytes + 1) if status.st_size <= self._max_file_bytes else b""
        if status.st_size > self._max_file_bytes or len(data) > self._max_file_bytes:
            limit = f"{self._max_file_bytes:,} bytes"
            return SkippedItem(
                external_id=external_id, reason=f"Larger than {limit}. Split it or raise max_file_bytes."
            )
        return SourceItem(
            external_id=external_id,
            name=_printable(path.name),
            data=data,
            media_type=mimetypes.guess_type(path.name)[0] or "",
            metadata={"modified_at": datetime.fromtimestamp(status.st_mtime, UTC).isoformat(timespec="seconds")},
        )


def _listed(root: Path) -> list[tuple[Path | SkippedItem, str]]:
    return list(_walk(root))


def _walk(root: Path) -> Iterator[tuple[Path | SkippedItem, str]]:
    if not root.exists():
        raise StorageError(f"There is nothing at {_printable(str(root))}. Check the path.")
    if not root.is_dir():
        yield root, _printable(root.name)
        return
    pending = [root]
    while pending:
        folder = pending.pop()
        folders = []
        for path in _entries(folder):
            if isinstance(path, SkippedItem):
                if folder == root:
                    raise StorageError(f"The folder {_printable(root.name)} cannot be listed. Check its permissions.")
                external_id = _printable(folder.relative_to(root).as_posix())
                yield SkippedItem(external_id=external_id, reason=path.reason), external_id
                continue
            external_id = _printable(path.relative_to(root).as_posix())
            reason = _why_not(path)
            if reason:
                yield SkippedItem(external_id=external_id, reason=reason), external_id
            elif path.is_dir():
                folders.append(path)
            else:
                yield path, external_id
        pending.extend(reversed(folders))


def _entries(folder: Path) -> list[Path] | list[SkippedItem]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        return [
            SkippedItem(external_id=_printable(folder.name), reason=f"The folder cannot be listed: {error.strerror}.")
        ]


def _why_not(path: Path) -> str:
    if path.name.startswith(".") or path.name in _NOT_DOCUMENTS:
        return "Hidden, or made by a tool. Name it itself to take it in."
    if path.is_symlink() and path.is_dir():
        return "A link to a folder, which is not followed. Name that folder itself."
    return ""


def _printable(name: str) -> str:
    """A file name as text: bytes that are no UTF-8 become `\\xNN`."""
    return os.fsencode(name).decode("utf-8", errors="backslashreplace")


@asynccontextmanager
async def connect(settings: Settings, resources: Resources) -> AsyncGenerator[FolderConnector]:
    yield FolderConnector(settings.paths, settings.max_file_bytes)
