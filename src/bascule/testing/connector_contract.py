"""What every connector must do, whoever wrote it."""

from __future__ import annotations

from collections.abc import Callable, Collection

import msgspec

from bascule.core.connectors import (
    ChangesConnector,
    Connector,
    KnownItem,
    Partial,
    SkippedItem,
    SourceItem,
    UnchangedItem,
)
from bascule.core.rights import Rights


async def collect(connector: Connector) -> list[SourceItem | SkippedItem]:
    return [item async for item in connector.items()]


async def check_connector(make: Callable[[], Connector], *, expected: Collection[str]) -> None:
    """`make` opens the connector on a source that holds the documents of the ids in `expected` (others may be skipped)."""
    connector = make()
    assert connector.kind and connector.kind == connector.kind.lower()
    first, second = await collect(connector), await collect(make())
    assert [item.external_id for item in first] == [item.external_id for item in second], "the order is always the same"
    assert [item.external_id for item in first if isinstance(item, SourceItem)] == list(expected)
    ids = [item.external_id for item in first]
    assert len(set(ids)) == len(ids), "an external id names one thing"
    for item in first:
        _check_item(item)
    changes = make()
    if isinstance(changes, ChangesConnector):
        await _check_changes(changes, first)


async def _check_changes(connector: ChangesConnector, first: list[SourceItem | SkippedItem]) -> None:
    """Told what was taken before, it names every document again, as it was or anew; what is not the source's it does not name."""
    known = {
        item.external_id: KnownItem(document_id=item.external_id, metadata=item.metadata, rights=Rights())
        for item in first
        if isinstance(item, SourceItem)
    }
    named = []
    async for change in connector.changes(known):
        if isinstance(change, Partial):
            assert len(change.reason) > 10, "a reason says what was not seen"
        elif isinstance(change, SourceItem | UnchangedItem):
            named.append(change.external_id)
    assert sorted(named) == sorted(known), "a document that the source still holds is named"


def _check_item(item: SourceItem | SkippedItem) -> None:
    assert item.external_id and item.external_id.isprintable()
    msgspec.json.encode(item.external_id)
    if isinstance(item, SkippedItem):
        assert len(item.reason) > 10, "a reason says why, and what to do"
        return
    assert item.name and item.name.isprintable() and "/" not in item.name and "\\" not in item.name
    msgspec.json.encode(item.metadata)
