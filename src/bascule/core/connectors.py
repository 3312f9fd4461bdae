"""Where documents come from: the connector's port, and that of a connector that tells what has changed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol, runtime_checkable

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


class SkippedItem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something the source holds that is not taken in; `reason` says why and what to do. Nothing is skipped silently.

    `gone`: the source says that this is no document (any more), so that one taken in earlier goes. Otherwise it stays.
    """

    external_id: str
    reason: str
    gone: bool = False


class UnchangedItem(msgspec.Struct, frozen=True, kw_only=True):
    """A document that the source holds as it was: its bytes were not fetched again."""

    external_id: str


class Partial(msgspec.Struct, frozen=True, kw_only=True):
    """The source was not seen whole, for this reason: what is missing from this listing is not known to be gone."""

    reason: str


class KnownItem(msgspec.Struct, frozen=True, kw_only=True):
    """What the catalogue holds of a source's document. `metadata` is as the connector gave it; `failed`: it is not in search,
    and its bytes are wanted again. `rights` are its own; `inherits`: it has no allow list of its own."""

    document_id: str
    metadata: Mapping[str, Any]
    rights: Rights
    failed: bool = False
    inherits: bool = False


Change = SourceItem | SkippedItem | UnchangedItem | Partial


class Connector(Protocol):
    kind: str

    def items(self) -> AsyncIterator[SourceItem | SkippedItem]:
        """Everything the source holds now. Raises StorageError when the source itself does not answer."""
        ...


@runtime_checkable
class ChangesConnector(Connector, Protocol):
    """A connector that need not fetch again what it knows."""

    def changes(self, known: Mapping[str, KnownItem]) -> AsyncIterator[Change]:
        """Everything the source holds now, told from what is `known` by external id. What the listing leaves out is gone, unless
        it holds a Partial. Raises StorageError when the source itself does not answer."""
        ...
