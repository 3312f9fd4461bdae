"""What ingestion asks of the child-process pool."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from bascule.core.documents import PreparedDocument, RawDocument
from bascule.core.errors import IngestError

if TYPE_CHECKING:
    from bascule.rag.prepare import RedactMode


class Preparer(Protocol):
    """See `rag.sandbox`."""

    async def prepare(
        self,
        data: bytes,
        name: str,
        media_type: str,
        mode: RedactMode | None = None,
        key: bytes = b"",
        wanted: str = "",
    ) -> PreparedDocument: ...

    async def prepare_all(
        self, given: Sequence[RawDocument], mode: RedactMode | None = None, key: bytes = b""
    ) -> list[PreparedDocument | IngestError]: ...
