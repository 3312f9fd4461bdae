"""The end of one document's turn: a whole new version, or a failure with its reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from bascule.core.catalogue import WorkItem
from bascule.core.documents import IndexedChunk
from bascule.core.generations import REPROCESS
from bascule.db.alike import keep_signature
from bascule.db.generation_rows import BUILDING, generations
from bascule.db.outbox import queue_change
from bascule.db.tables import chunks as chunk_table
from bascule.db.tables import collections, documents, items, jobs, vectors
from bascule.db.values import now_text, to_json

MAX_ATTEMPTS = 3


def commit_document(
    connection: Connection,
    item: WorkItem,
    title: str,
    media_type: str,
    new_chunks: Sequence[IndexedChunk],
    fingerprint: str,
    report: Mapping[str, Any],
    prepared: str = "",
    signature: bytes = b"",
) -> bool:
    """See `core.catalogue.Work`. A commit repeated after its own success changes nothing and is true again."""
    generation = _generation(connection, item)
    row = _live_document(connection, item)
    state = _item_state(connection, item)
    if row is None or row.item_id != item.id or state not in ("queued", "running", "indexed"):
        _end_item(connection, item, "superseded", "A newer version was accepted, or the document was deleted.", "")
        return False
    if state == "indexed":
        return True
    if generation != item.collection.generation:
        _again(connection, item)
        return False
    version = row.version + 1
    _replace_chunks(connection, item, version, new_chunks, fingerprint)
    keep_signature(connection, item.document_id, signature)
    acl_id = row.pending_acl_id if row.pending_acl_id is not None else row.acl_id
    connection.execute(
        sa.update(documents)
        .where(documents.c.id == item.document_id)
        .values(
            version=version,
            state="indexed",
            title=title,
            media_type=media_type,
            chunk_count=len(new_chunks),
            served_hash=row.content_hash,
            served_blob=row.blob,
            acl_id=acl_id,
            pending_acl_id=None,
            report=to_json(report),
            prepared=prepared,
            reason="",
            updated_at=now_text(),
        )
    )
    queue_change(connection, "index", item.tenant, item.document_id, row.collection_id, acl_id)
    _end_item(connection, item, "indexed", "", "")
    return True


def _generation(connection: Connection, item: WorkItem) -> int:
    """By which the collection is searched, held until the transaction ends."""
    query = sa.select(collections.c.generation).where(collections.c.id == item.collection.id)
    return int(connection.execute(query.with_for_update(read=True)).scalar_one())


def _again(connection: Connection, item: WorkItem) -> None:
    """Its vectors are of the generation before: that is no fault of the document, so the attempt is not counted."""
    connection.execute(
        sa.update(items)
        .where(items.c.id == item.id, items.c.state.in_(("queued", "running")))
        .values(state="queued", attempts=items.c.attempts - 1)
    )


def _live_document(connection: Connection, item: WorkItem) -> Row[Any] | None:
    return connection.execute(
        sa.select(documents)
        .where(documents.c.id == item.document_id, documents.c.tenant == item.tenant, documents.c.deleted_at.is_(None))
        .with_for_update()
    ).one_or_none()


def _item_state(connection: Connection, item: WorkItem) -> str:
    return str(connection.execute(sa.select(items.c.state).where(items.c.id == item.id)).scalar_one())


def _end_item(connection: Connection, item: WorkItem, state: str, reason: str, code: str) -> None:
    """Ends only what is open: an end once written stays."""
    connection.execute(
        sa.update(items)
        .where(items.c.id == item.id, items.c.state.in_(("queued", "running")))
        .values(state=state, reason=reason, code=code)
    )


def _replace_chunks(
    connection: Connection, item: WorkItem, version: int, new_chunks: Sequence[IndexedChunk], fingerprint: str
) -> None:
    found = _vectors_beside(connection, item, {c.id for c in new_chunks})
    connection.execute(sa.delete(vectors).where(vectors.c.document_id == item.document_id))
    connection.execute(sa.delete(chunk_table).where(chunk_table.c.document_id == item.document_id))
    rows = [_chunk_row(item, version, ordinal, chunk) for ordinal, chunk in enumerate(new_chunks)]
    if rows:
        connection.execute(sa.insert(chunk_table), rows)
    shared = {"document_id": item.document_id, "generation": item.collection.generation, "fingerprint": fingerprint}
    found += [shared | {"chunk_id": c.id, "vector": c.vector} for c in new_chunks if c.vector is not None]
    if found:
        connection.execute(sa.insert(vectors), found)


def _vectors_beside(connection: Connection, item: WorkItem, kept: Set[str]) -> list[dict[str, Any]]:
    """Those of the generation being built, of chunks that stay as they are."""
    query = (
        sa.select(vectors)
        .join(generations, generations.c.generation == vectors.c.generation)
        .where(generations.c.collection_id == item.collection.id, generations.c.state == BUILDING)
        .where(vectors.c.document_id == item.document_id)
    )
    return [dict(row._mapping) for row in connection.execute(query) if row.chunk_id in kept]


def _chunk_row(item: WorkItem, version: int, ordinal: int, chunk: IndexedChunk) -> dict[str, Any]:
    draft = chunk.draft
    return {
        "id": chunk.id,
        "tenant": item.tenant,
        "document_id": item.document_id,
        "version": version,
        "ordinal": ordinal,
        "text": draft.text,
        "heading_path": to_json(draft.heading_path),
        "start": draft.start,
        "end": draft.end,
        "page": draft.page,
        "tokens": draft.tokens,
        "kind": draft.kind,
    }


def fail_item(
    connection: Connection, item: WorkItem, reason: str, code: str, retry: bool, report: Mapping[str, Any]
) -> None:
    """Back to the queue when it may be tried again, else failed for good: after MAX_ATTEMPTS it is quarantined."""
    row = _live_document(connection, item)
    attempts = connection.execute(sa.select(items.c.attempts).where(items.c.id == item.id)).scalar_one()
    if retry and attempts < MAX_ATTEMPTS:
        _end_item(connection, item, "queued", reason, code)
        return
    open_before = _item_state(connection, item) in ("queued", "running")
    _end_item(connection, item, "failed", reason, code)
    if open_before and row is not None and row.item_id == item.id:
        connection.execute(
            sa.update(documents)
            .where(documents.c.id == item.document_id)
            .values(state="failed", reason=reason, report=to_json(report), updated_at=now_text())
        )
        if not retry and _prepares_again(connection, item):
            _withdraw(connection, item, row)


def _prepares_again(connection: Connection, item: WorkItem) -> bool:
    kind = connection.execute(sa.select(jobs.c.kind).where(jobs.c.id == item.job_id)).scalar_one()
    return bool(kind == REPROCESS)


def _withdraw(connection: Connection, item: WorkItem, row: Row[Any]) -> None:
    connection.execute(sa.delete(vectors).where(vectors.c.document_id == item.document_id))
    connection.execute(sa.delete(chunk_table).where(chunk_table.c.document_id == item.document_id))
    keep_signature(connection, item.document_id, b"")
    bare = {"chunk_count": 0, "served_hash": "", "served_blob": ""}
    connection.execute(sa.update(documents).where(documents.c.id == item.document_id).values(bare))
    queue_change(connection, "index", item.tenant, item.document_id, row.collection_id, row.acl_id)
