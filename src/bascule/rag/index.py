"""Keeps the index in step with the catalogue: applies the outbox, and rebuilds what was lost.

The catalogue commits first and alone; every change it owes the index is a row in its outbox, written in the same transaction.
Applying a row twice gives the same index, so a crash between the store's write and the row's end is repaired by doing it again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

from bascule.core.blobs import Blobs
from bascule.core.catalogue import IndexChange, StoredPoint, Work
from bascule.core.lexical import terms
from bascule.core.vectors import Point, RemovesTogether, VectorStore

log = logging.getLogger(__name__)

BATCH = 256
TOGETHER = 256  # documents written in one go,
CHUNKS_TOGETHER = 1024  # or fewer, when they are larger: all are held at once
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
                for group in _groups(changes):
                    await self._apply(group)
                await self._work.settle_changes([change.seq for change in changes])
                done += len(changes)
        return done

    async def _apply(self, group: Sequence[IndexChange]) -> None:
        first = group[0]
        if first.kind == "index":
            await self._follow_all([(change.tenant, change.document_id) for change in group])
        elif first.kind == "move":
            await self._move(first.tenant, first.document_id)
        elif first.kind == "trim":
            await self._trim(first.tenant, first.document_id)
        else:
            await self._purge(first.tenant, first.document_id)

    async def _purge(self, tenant: str, document_id: str) -> None:
        await self._store.remove_document(document_id)
        await self._forget(document_id)
        for name in await self._work.blobs_of(tenant, document_id):
            await self._blobs.delete(name)

    async def _move(self, tenant: str, document_id: str) -> None:
        stored = await self._work.points(tenant, document_id)
        if stored:
            await self._store.move(document_id, stored[0].acl_id)
        if not stored or await self._work.points(tenant, document_id) != stored:
            await self._follow_all([(tenant, document_id)])

    async def _trim(self, tenant: str, document_id: str) -> None:
        stored = await self._work.points(tenant, document_id)
        await self._store.remove_document(document_id, keep=frozenset(point.chunk_id for point in stored))
        if await self._work.points(tenant, document_id) != stored:
            await self._follow_all([(tenant, document_id)])

    async def _follow_all(self, documents: Sequence[tuple[str, str]]) -> None:
        """Bring the store to what the catalogue says of some documents, in one write where nothing else happens to them.

        Another process may apply a later change in between: so the catalogue is read again after the write, until the two agree.
        """
        left = list(dict.fromkeys(documents))
        stored = await self._work.points_of_all(left)
        while left:
            await self._put_all(stored)
            now = await self._work.points_of_all(left)
            left = [key for key in left if now[key] != stored[key]]
            stored = {key: now[key] for key in left}

    async def _put_all(self, stored: Mapping[tuple[str, str], list[StoredPoint]]) -> None:
        points = await asyncio.to_thread(lambda: [p for (t, d), found in stored.items() for p in _points(t, d, found)])
        if points:
            await self._store.upsert(points)
        keep = {document_id: frozenset(point.chunk_id for point in found) for (_, document_id), found in stored.items()}
        if isinstance(self._store, RemovesTogether):
            return await self._store.remove_documents(keep)
        for document_id, kept in keep.items():
            await self._store.remove_document(document_id, keep=kept)

    async def rebuild(self, progress: Callable[[int, int], None] | None = None) -> int:
        """Put every live document into the store again: for a lost or damaged index. How many documents that was."""
        live = await self._work.live_documents()
        for number, (tenant, document_id) in enumerate(live, 1):
            await self._follow_all([(tenant, document_id)])
            if progress is not None:
                progress(number, len(live))
        return len(live)

    async def lacking(self) -> list[tuple[str, str]]:
        """(tenant, document id) of the live documents that the store does not hold whole: all of them, when it was lost.

        What is still on its way is applied first. Raises StorageError.
        """
        await self.drain()
        live = await self._work.live_documents()
        found: list[tuple[str, str]] = []
        for tenant in sorted({tenant for tenant, _ in live}):
            missing = await self._work.live_point_ids(tenant) - await self._store.chunk_ids(tenant)
            theirs = [key for key in live if key[0] == tenant] if missing else []
            for keys in _slices(theirs, TOGETHER):
                stored = await self._work.points_of_all(keys)
                found += [key for key in keys if any(point.chunk_id in missing for point in stored[key])]
        return found

    async def restore(self, lacking: Sequence[tuple[str, str]]) -> None:
        """Put these documents into the store again. What was written stays: whoever goes on has less to do."""
        for keys in _slices(lacking, TOGETHER):
            await self._follow_all(keys)

    async def sweep_blobs(self) -> int:
        """Remove stored bytes that no document needs, once they are old enough not to be an upload in progress."""
        needed = await self._work.live_blobs()
        orphans = [name for name, age_s in await self._blobs.names() if name not in needed and age_s > ORPHAN_AGE_S]
        for name in orphans:
            await self._blobs.delete(name)
        return len(orphans)


def _groups(changes: Sequence[IndexChange]) -> Iterator[list[IndexChange]]:
    """In order: documents to be indexed together while their chunks are not too many to hold, every other change alone."""
    group: list[IndexChange] = []
    chunks = 0
    for change in changes:
        alone = change.kind != "index" or (bool(group) and group[0].kind != "index")
        if group and (alone or len(group) >= TOGETHER or chunks + change.chunks > CHUNKS_TOGETHER):
            yield group
            group, chunks = [], 0
        group.append(change)
        chunks += change.chunks
    if group:
        yield group


def _slices(keys: Sequence[tuple[str, str]], size: int) -> Iterator[Sequence[tuple[str, str]]]:
    return (keys[at : at + size] for at in range(0, len(keys), size))


def _points(tenant: str, document_id: str, stored: list[StoredPoint]) -> list[Point]:
    words: dict[str, tuple[str, ...]] = {}  # a text is there in each generation of vectors
    for point in stored:
        if point.indexed_text not in words:
            words[point.indexed_text] = terms(point.indexed_text)
    return [
        Point(
            chunk_id=point.chunk_id,
            document_id=document_id,
            tenant=tenant,
            collection_id=point.collection_id,
            acl_id=point.acl_id,
            vector=point.vector,
            terms=words[point.indexed_text],
        )
        for point in stored
    ]
