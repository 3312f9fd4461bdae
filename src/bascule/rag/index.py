"""Keeps the index in step with the catalogue: applies the outbox, and rebuilds what was lost.

The catalogue commits first and alone; every change it owes the index is a row in its outbox, written in the same transaction.
Applying a row twice gives the same index, so a crash between the store's write and the row's end is repaired by doing it again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from bascule.core.blobs import Blobs
from bascule.core.catalogue import IndexChange, StoredPoint, Work
from bascule.core.lexical import terms
from bascule.core.vectors import Point, VectorStore

log = logging.getLogger(__name__)

BATCH = 64
ORPHAN_AGE_S = 3600.0


class Indexer:
    """One drain at a time per process; several processes may drain at once, since every change is idempotent."""

    def __init__(self, work: Work, store: VectorStore, blobs: Blobs, forget: Callable[[str], Awaitable[int]]) -> None:
        """`forget` removes every cached model call that carries a document's id (law 4)."""
        self._work = work
        self._store = store
        self._blobs = blobs
        self._forget = forget
        self._turn = asyncio.Lock()

    async def drain(self) -> int:
        """Apply everything the outbox holds; how many changes that was. Raises StorageError; what is left stays queued."""
        done = 0
        async with self._turn:
            while changes := await self._work.index_changes(BATCH):
                for change in changes:
                    await self._apply(change)
                await self._work.settle_changes([change.seq for change in changes])
                done += len(changes)
        return done

    async def _apply(self, change: IndexChange) -> None:
        if change.kind == "purge":
            await self._store.remove_document(change.document_id)
            await self._forget(change.document_id)
            for name in await self._work.blobs_of(change.tenant, change.document_id):
                await self._blobs.delete(name)
            return
        await self._follow(change.tenant, change.document_id, moved=change.kind == "move")

    async def _follow(self, tenant: str, document_id: str, *, moved: bool) -> None:
        """Bring the store to what the catalogue says of one document.

        Another process may apply a later change in between: so the catalogue is read again after the write, until the two agree.
        """
        stored = await self._work.points(tenant, document_id)
        while True:
            if moved and stored:
                await self._store.move(document_id, stored[0].acl_id)
            else:
                await self._put(tenant, document_id, stored)
            again = await self._work.points(tenant, document_id)
            if again == stored:
                return
            stored, moved = again, False

    async def _put(self, tenant: str, document_id: str, stored: list[StoredPoint]) -> None:
        points = await asyncio.to_thread(_points, tenant, document_id, stored)
        if points:
            await self._store.upsert(points)
        await self._store.remove_document(document_id, keep=frozenset(point.chunk_id for point in points))

    async def rebuild(self, progress: Callable[[int, int], None] | None = None) -> int:
        """Put every live document into the store again: for a lost or damaged index. How many documents that was."""
        live = await self._work.live_documents()
        for number, (tenant, document_id) in enumerate(live, 1):
            await self._follow(tenant, document_id, moved=False)
            if progress is not None:
                progress(number, len(live))
        return len(live)

    async def sweep_blobs(self) -> int:
        """Remove stored bytes that no document needs, once they are old enough not to be an upload in progress."""
        needed = await self._work.live_blobs()
        orphans = [name for name, age_s in await self._blobs.names() if name not in needed and age_s > ORPHAN_AGE_S]
        for name in orphans:
            await self._blobs.delete(name)
        return len(orphans)


def _points(tenant: str, document_id: str, stored: list[StoredPoint]) -> list[Point]:
    return [
        Point(
            chunk_id=point.chunk_id,
            document_id=document_id,
            tenant=tenant,
            collection_id=point.collection_id,
            acl_id=point.acl_id,
            vector=point.vector,
            terms=terms(point.indexed_text),
        )
        for point in stored
    ]
