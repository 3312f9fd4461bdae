"""The proof that nothing of deleted documents is left, place by place."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

import msgspec

from bascule.core.blobs import Blobs
from bascule.core.catalogue import Work
from bascule.core.ids import chunk_of
from bascule.core.state import StateStore
from bascule.core.vectors import VectorStore
from bascule.db.ledger import Deletion, DeletionLedger


class Place(msgspec.Struct, frozen=True):
    """`found`: how many things there still hold something of a deleted document. `note`: what was done about it."""

    place: str
    found: int
    note: str = ""


class DeletionAudit(msgspec.Struct, frozen=True, kw_only=True):
    """`oldest_unpurged_s`: how long the index has owed its oldest purge. `deleted_again`: documents that a
    restore had brought back."""

    deletions: int
    deleted_again: int
    oldest_unpurged_s: float
    places: list[Place]

    @property
    def clean(self) -> bool:
        return not any(place.found for place in self.places)


class Remains(Work, Protocol):
    ledger: DeletionLedger | None

    async def deletions(self) -> list[Deletion]: ...

    async def remains(self, document_ids: Sequence[str]) -> dict[str, int]: ...

    async def kept_texts_of(self, document_ids: Sequence[str]) -> int: ...

    async def oldest_unpurged_s(self) -> float: ...


async def audit_deletions(
    catalogue: Remains, state: StateStore, store: VectorStore | None, blobs: Blobs, deleted_again: int
) -> DeletionAudit:
    """Over all that was ever deleted. Reads; only kept answers are removed where any are found, as that is how they are counted."""
    known = {entry.document_id: entry for entry in await catalogue.deletions()}
    told = await asyncio.to_thread(catalogue.ledger.entries) if catalogue.ledger is not None else {}
    gone = sorted({*known, *told})
    unwritten = [document_id for document_id in known if document_id not in told]
    places = [Place(name, found) for name, found in (await catalogue.remains(gone)).items()]
    places.append(Place("kept prompts and answers", await catalogue.kept_texts_of(gone)))
    places.append(await _index(catalogue, store, {entry.tenant for entry in (*known.values(), *told.values())}))
    places.append(Place("stored bytes", await _blobs(catalogue, blobs, gone, known | told)))
    places.append(await _cache(state, gone))
    places.append(Place("ledger", len(unwritten), "deletions that it does not name" if unwritten else ""))
    return DeletionAudit(
        deletions=len(gone),
        deleted_again=deleted_again,
        oldest_unpurged_s=await catalogue.oldest_unpurged_s(),
        places=places,
    )


async def _index(catalogue: Work, store: VectorStore | None, tenants: set[str]) -> Place:
    if store is None:
        return Place("index", 0, "there is none: [rag] enabled is false")
    extra = 0
    for tenant in sorted(tenants):
        extra += len(
            {chunk_of(point) for point in await store.chunk_ids(tenant)} - await catalogue.live_chunk_ids(tenant)
        )
    return Place("index", extra, "a running server will remove them" if extra else "")


async def _blobs(catalogue: Work, blobs: Blobs, gone: Sequence[str], entries: dict[str, Deletion]) -> int:
    there = {name for name, _ in await blobs.names()}
    needed = await catalogue.live_blobs()
    found = 0
    for document_id in gone if there else ():
        own = await catalogue.blobs_of(entries[document_id].tenant, document_id)
        found += sum(name in there and name not in needed for name in own)
    return found


async def _cache(state: StateStore, gone: Sequence[str]) -> Place:
    removed = 0
    for document_id in gone:
        removed += await state.purge(document_id)
    return Place("cached answers", removed, "removed now" if removed else "")
