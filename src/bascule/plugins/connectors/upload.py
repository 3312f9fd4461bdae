"""Documents sent by a caller. Their names are made harmless: no path, no control characters, no surprise in a header."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import unquote

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from bascule.core.connectors import SkippedItem, SourceItem
from bascule.core.resources import Resources
from bascule.core.rights import Rights

_MAX_NAME_CHARS: Final = 150
_MAX_ORIGINAL_CHARS: Final = 500
_MAX_DECODINGS: Final = 4
_UNSAFE: Final = re.compile(r"[^\w .,()+@=\-\[\]!&'#~]")
_DEVICES: Final = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?", re.IGNORECASE)


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    max_file_bytes: int = Field(50_000_000, gt=0, description="Larger documents are skipped, with a reason.")


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """One document as a caller sent it. Without an `external_id` its name stands for it: sent again, it is a new version."""

    name: str
    data: bytes
    external_id: str = ""
    title: str = ""
    media_type: str = ""
    metadata: Mapping[str, Any] = {}
    rights: Rights | None = None


class UploadConnector:
    kind = "upload"

    def __init__(self, uploads: Iterable[Upload] = (), max_file_bytes: int = 50_000_000) -> None:
        self._uploads = list(uploads)
        self._max_file_bytes = max_file_bytes

    def add(self, upload: Upload) -> None:
        self._uploads.append(upload)

    async def items(self) -> AsyncIterator[SourceItem | SkippedItem]:
        """In the order they were sent."""
        for upload in self._uploads:
            yield self._item(upload)

    def _item(self, upload: Upload) -> SourceItem | SkippedItem:
        name = safe_name(upload.name)
        external_id = upload.external_id or name
        if len(upload.data) > self._max_file_bytes:
            limit = f"{self._max_file_bytes:,} bytes"
            return SkippedItem(
                external_id=external_id, reason=f"Larger than {limit}. Split it or raise max_file_bytes."
            )
        renamed = {} if name == upload.name else {"original_name": _escaped(upload.name)}
        return SourceItem(
            external_id=external_id,
            name=name,
            data=upload.data,
            title=upload.title,
            media_type=upload.media_type,
            metadata={**upload.metadata, **renamed},
            rights=upload.rights,
        )


def safe_name(name: str) -> str:
    """The last part of a name as anyone may write it: fit for a list, a header, a file system.

    "document" when nothing is left of it.
    """
    for _ in range(_MAX_DECODINGS):
        decoded = unquote(name, errors="replace")
        if decoded == name:
            break
        name = decoded
    last = re.split(r"[/\\]|\x00", unicodedata.normalize("NFC", name.rstrip("/\\\x00")))[-1]
    plain = "".join(char for char in last if unicodedata.category(char)[0] != "C")
    plain = _UNSAFE.sub("_", plain).strip(" ").lstrip(".- ").rstrip(". ")
    if _DEVICES.fullmatch(plain):
        plain = "_" + plain
    return _shortened(plain) or "document"


def _shortened(name: str) -> str:
    if len(name) <= _MAX_NAME_CHARS:
        return name
    stem, dot, suffix = name.rpartition(".")
    if not dot or len(suffix) > 10:
        return name[:_MAX_NAME_CHARS]
    return stem[: _MAX_NAME_CHARS - len(suffix) - 1] + dot + suffix


def _escaped(name: str) -> str:
    """The name as it came, in printable ASCII: `\\n` and `\\u202e` are seen, not obeyed."""
    return name.encode("unicode_escape", errors="backslashreplace").decode("ascii")[:_MAX_ORIGINAL_CHARS]


@asynccontextmanager
async def connect(settings: Settings, resources: Resources) -> AsyncGenerator[UploadConnector]:
    yield UploadConnector(max_file_bytes=settings.max_file_bytes)
