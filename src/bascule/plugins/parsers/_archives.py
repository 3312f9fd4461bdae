"""Zip archives that documents come in: looked at before anything is unpacked.

An archive that unpacks to too much, is encrypted, or holds a part with a document type declaration (which office programs never
write, and entity attacks need) is refused.
"""

from __future__ import annotations

import io
import posixpath
import zipfile
from typing import Final

from bascule.core.errors import IngestError

_MAX_UNPACKED_BYTES: Final = 300_000_000
_MAX_PARTS: Final = 5_000
_MAX_RATIO: Final = 200
_RATIO_FROM_BYTES: Final = 20_000_000


def check_archive(data: bytes, what: str, *, doctypes: bool = False) -> None:
    """`what` names the program in messages ("Word"). `doctypes`: document type declarations without entities are fine.

    Raises IngestError, or what `zipfile` raises for a damaged archive.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = archive.infolist()
        total = sum(part.file_size for part in parts)
        if len(parts) > _MAX_PARTS or total > _MAX_UNPACKED_BYTES:
            raise IngestError(
                f"The {what} file unpacks to far more than a document holds. Split it.", reason="too_large"
            )
        if total > _RATIO_FROM_BYTES and total > _MAX_RATIO * len(data):
            raise IngestError(f"The {what} file is packed like an archive bomb and was not opened.", reason="too_large")
        if any(part.flag_bits & 1 for part in parts):
            raise IngestError(
                f"The {what} file is encrypted. Remove its password and send it again.", reason="encrypted"
            )
        for part in parts:
            if part.filename.endswith((".xml", ".rels", ".opf", ".xhtml", ".ncx")):
                _check_part(archive, part, what, doctypes)


def _check_part(archive: zipfile.ZipFile, part: zipfile.ZipInfo, what: str, doctypes: bool) -> None:
    with archive.open(part) as file:
        tail = b""
        while piece := file.read(1 << 20):
            window = (tail + piece).replace(b"\0", b"")  # UTF-16 hides the word from a plain search
            if b"<!ENTITY" in window or (not doctypes and b"<!DOCTYPE" in window):
                raise IngestError(
                    f"The {what} file declares a document type, which {what} never does: it was not opened.",
                    reason="hostile",
                )
            tail = piece[-32:]


def resolve(base: str, target: str) -> str:
    """The name within the archive that `target` means when the part `base` says it; one that leaves the archive stays in it."""
    if target.startswith("/"):
        return posixpath.normpath(target).lstrip("/")
    return posixpath.normpath(posixpath.join(posixpath.dirname(base), target)).lstrip("./")
