"""Where documents come from: the connector's port."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

import msgspec

from bascule.core.rights import Rights


class SourceItem(msgspec.Struct, frozen=True, kw_only=True):
    """One document as its source names it. `data` is its bytes, bounded by the connector."""

    external_id: str
    name: str
    data: bytes
    title: str = ""
    media_type: str = ""
    metadata: Mapping[str, Any] = {}
    rights: Rights | None = None


class SkippedItem(msgspec.Struct, frozen=True, kw_only=True):
    """Something the source holds that is not taken in; `reason` says why and what to do. Nothing is skipped silently."""

    external_id: str
    reason: str


class Connector(Protocol):
    kind: str

    def items(self) -> AsyncIterator[SourceItem | SkippedItem]:
        """Everything the source holds now. Raises StorageError when the source itself does not answer."""
        ...
