"""The worker's side of the catalogue: claiming items, committing whole documents, and what the index needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from bascule.core.catalogue import DocumentCommit, IndexChange, StoredPoint, WorkItem
from bascule.core.documents import IndexedChunk, Job
from bascule.core.errors import NotFound
from bascule.core.ids import generation_id
from bascule.core.jobs import OpenJob
from bascule.core.principals import Principal
from bascule.db import outbox
from bascule.db.commit import commit_documents, fail_item
from bascule.db.deletion import deletion_mark, deletions_since
from bascule.db.jobviews import held_back, progress
from bascule.db.points import live, points_of
from bascule.db.store import Store, need_system
from bascule.db.tables import acls, chunks, collections, documents, items, vectors
from bascule.db.tables import jobs as job_table
from bascule.db.values import collection_of, now_text

_ENDED_WELL = frozenset({"indexed", "unchanged", "superseded"})


class SqlWork(Store):
    async def claim(
        self, principal: Principal, job_id: str, limit: int, most_bytes: int | None = None
    ) -> list[WorkItem]:
        need_system(principal)
        return await self._write(lambda c: _claim(c, principal, job_id, limit, most_bytes))

    async def known_vectors(self, principal: Principal, document_id: str, fingerprint: str) -> dict[str, bytes]:
        need_system(principal)
        query = (
            sa.select(vectors.c.chunk_id, vectors.c.vector)
            .join(chunks, chunks.c.id == vectors.c.chunk_id)
            .where(
                vectors.c.document_id == document_id,
                vectors.c.fingerprint == fingerprint,
                sa.func.length(vectors.c.vector) > 0,
                chunks.c.tenant == principal.tenant,
            )
        )
        return await self._read(lambda c: {key: vector for key, vector in c.execute(query)})

    async def commit_document(
        self,
        principal: Principal,
        item: WorkItem,
        title: str,
        media_type: str,
        chunks: Sequence[IndexedChunk],
        fingerprint: str,
        report: Mapping[str, Any],
        prepared: str = "",
        signature: bytes = b"",
    ) -> bool:
        need_system(principal)
        one = DocumentCommit(
            item=item,
            title=title,
            media_type=media_type,
            chunks=chunks,
            fingerprint=fingerprint,
            report=report,
            prepared=prepared,
            signature=signature,
        )
        return (await self._write(lambda c: commit_documents(c, [one])))[0]

    async def commit_documents(self, principal: Principal, commits: Sequence[DocumentCommit]) -> None:
        need_system(principal)
        # In the order of their ids, as everything that locks several documents does.
        ordered = sorted(commits, key=lambda commit: commit.item.document_id)
        await self._write(lambda c: commit_documents(c, ordered))

    async def fail_item(
        self, principal: Principal, item: WorkItem, reason: str, code: str, *, retry: bool, report: Mapping[str, Any]
    ) -> None:
        need_system(principal)
        await self._write(lambda c: fail_item(c, item, reason, code, retry, report))

    async def finish_job(self, principal: Principal, job_id: str) -> Job:
        need_system(principal)
        return await self._write(lambda c: _finish(c, principal, job_id))

    async def unfinished_jobs(self) -> list[OpenJob]:
        columns = (job_table.c.tenant, job_table.c.id, job_table.c.source, job_table.c.priority, job_table.c.kind)
        query = sa.select(*columns).where(job_table.c.state.in_(("queued", "running")), ~held_back())
        return await self._read(
            lambda c: [OpenJob(**row._mapping) for row in c.execute(query.order_by(job_table.c.id))]
        )

    async def reset_running(self, job_id: str = "") -> int:
        return await self._write(lambda c: _reset_running(c, job_id))

    async def index_changes(self, limit: int) -> list[IndexChange]:
        return await self._read(lambda c: outbox.index_changes(c, limit))

    async def settle_changes(self, seqs: Sequence[int]) -> None:
        await self._write(lambda c: outbox.settle_changes(c, seqs))

    async def points(self, tenant: str, document_id: str) -> list[StoredPoint]:
        return (await self.points_of_all([(tenant, document_id)]))[tenant, document_id]

    async def points_of_all(self, wanted: Sequence[tuple[str, str]]) -> dict[tuple[str, str], list[StoredPoint]]:
        return await self._read(lambda c: points_of(c, wanted))

    async def live_chunk_ids(self, tenant: str) -> set[str]:
        query = live(sa.select(chunks.c.id)).where(chunks.c.tenant == tenant)
        return await self._read(lambda c: set(c.execute(query).scalars()))

    async def live_point_ids(self, tenant: str) -> set[str]:
        query = live(sa.select(chunks.c.id, collections.c.generation)).where(chunks.c.tenant == tenant)
        query = query.join(collections, collections.c.id == documents.c.collection_id)
        return await self._read(lambda c: {generation_id(key, number) for key, number in c.execute(query)})

    async def live_documents(self) -> list[tuple[str, str]]:
        query = (
            sa.select(documents.c.tenant, documents.c.id)
            .where(documents.c.deleted_at.is_(None), documents.c.version > 0)
            .order_by(documents.c.id)
        )
        return await self._read(lambda c: [(tenant, key) for tenant, key in c.execute(query)])

    async def blobs_of(self, tenant: str, document_id: str) -> list[str]:
        query = sa.select(items.c.blob).where(items.c.document_id == document_id, items.c.tenant == tenant).distinct()
        return await self._read(lambda c: sorted(c.execute(query).scalars()))

    async def deletion_mark(self) -> int:
        return await self._read(deletion_mark)

    async def deletions_since(self, mark: int) -> tuple[int, list[str]]:
        return await self._read(lambda c: deletions_since(c, mark))

    async def live_blobs(self) -> set[str]:
        return await self._read(_live_blobs)


def _claim(
    connection: Connection, principal: Principal, job_id: str, limit: int, most_bytes: int | None
) -> list[WorkItem]:
    rows: Sequence[Row[Any]] = connection.execute(
        sa.select(items, job_table.c.collection_id, documents.c.size_bytes)
        .join(job_table, job_table.c.id == items.c.job_id)
        .join(documents, documents.c.id == items.c.document_id)
        .where(items.c.job_id == job_id, items.c.tenant == principal.tenant, items.c.state == "queued")
        .where(job_table.c.state.in_(("queued", "running")), ~held_back())
        .order_by(items.c.ordinal)
        .limit(limit)
        .with_for_update(of=items, skip_locked=True)
    ).all()
    if not rows:
        return []
    if most_bytes is not None:
        sizes = accumulate(row.size_bytes for row in rows)
        rows = rows[: max(1, sum(size <= most_bytes for size in sizes))]
    connection.execute(
        sa.update(items)
        .where(items.c.id.in_([row.id for row in rows]))
        .values(state="running", attempts=items.c.attempts + 1)
    )
    connection.execute(
        sa.update(job_table).where(job_table.c.id == job_id, job_table.c.state == "queued").values(state="running")
    )
    target = connection.execute(
        sa.select(collections, acls.c.canonical)
        .join(acls, acls.c.id == collections.c.acl_id)
        .where(collections.c.id == rows[0].collection_id)
    ).one()
    collection = collection_of(target)
    return [
        WorkItem(
            id=row.id,
            job_id=row.job_id,
            document_id=row.document_id,
            tenant=row.tenant,
            collection=collection,
            name=row.name,
            media_type=row.media_type,
            title=row.title,
            blob=row.blob,
            content_hash=row.content_hash,
            attempts=row.attempts + 1,
        )
        for row in rows
    ]


def _finish(connection: Connection, principal: Principal, job_id: str) -> Job:
    """Counted, not listed: a job may hold a hundred thousand items."""
    found = _counted(connection, principal, job_id)
    open_items = found.counts.get("queued", 0) + found.counts.get("running", 0)
    if open_items or found.finished_at is not None:
        return found
    well = sum(number for state, number in found.counts.items() if state in _ENDED_WELL)
    state = "failed" if found.counts.get("failed") and not well else "done"
    connection.execute(
        sa.update(job_table)
        .where(job_table.c.id == job_id, job_table.c.finished_at.is_(None))
        .values(state=state, finished_at=now_text())
    )
    return _counted(connection, principal, job_id)


def _counted(connection: Connection, principal: Principal, job_id: str) -> Job:
    found = progress(connection, principal, 1, job_id)
    if not found:
        raise NotFound("There is no such job.")
    return found[0]


def _reset_running(connection: Connection, job_id: str) -> int:
    change = sa.update(items).where(items.c.state == "running")
    if job_id:
        change = change.where(items.c.job_id == job_id)
    return int(connection.execute(change.values(state="queued", attempts=items.c.attempts - 1)).rowcount)


def _live_blobs(connection: Connection) -> set[str]:
    live = documents.c.deleted_at.is_(None)
    waiting = items.c.state.in_(("queued", "running"))
    queries = (
        sa.select(documents.c.blob).where(live),
        sa.select(documents.c.served_blob).where(live),
        sa.select(items.c.blob).where(waiting),
    )
    return {name for query in queries for name in connection.execute(query).scalars() if name}
