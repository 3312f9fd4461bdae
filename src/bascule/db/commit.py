"""The end of a document's turn: a whole new version, or a failure with its reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from bascule.core.catalogue import DocumentCommit, WorkItem
from bascule.core.generations import REPROCESS
from bascule.db.alike import keep_signatures
from bascule.db.generation_rows import BUILDING, generations
from bascule.db.outbox import queue_change, queue_indexing
from bascule.db.tables import chunks as chunk_table
from bascule.db.tables import collections, documents, items, jobs, vectors
from bascule.db.values import now_text, to_json

MAX_ATTEMPTS = 3


_LIVE = (
    sa.select(documents)
    .where(documents.c.id.in_(sa.bindparam("ids", expanding=True)), documents.c.deleted_at.is_(None))
    .order_by(documents.c.id)  # locked in the order in which everything that locks several documents does
    .with_for_update()
)
_STATES = sa.select(items.c.id, items.c.state).where(items.c.id.in_(sa.bindparam("ids", expanding=True)))
_NEW_VERSION = (
    sa.update(documents)
    .where(documents.c.id == sa.bindparam("_id"))
    .values(
        {
            name: sa.bindparam(f"_{name}")
            for name in (
                *("version", "title", "media_type", "chunk_count", "served_hash", "served_blob", "acl_id"),
                *("report", "prepared", "updated_at"),
            )
        }
        | {"state": "indexed", "pending_acl_id": None, "reason": ""}
    )
)
_DONE = (
    sa.update(items)
    .where(items.c.id.in_(sa.bindparam("ids", expanding=True)), items.c.state.in_(("queued", "running")))
    .values(state="indexed", reason="", code="")
)


def commit_documents(connection: Connection, commits: Sequence[DocumentCommit]) -> list[bool]:
    """See `core.catalogue.Work`: whether each is in search now. A commit repeated after its own success changes nothing and
    is true again. A statement serves all of them: one for each document costs more than the document."""
    generation = {key: _generation(connection, key) for key in sorted({each.item.collection.id for each in commits})}
    rows = {row.id: row for row in connection.execute(_LIVE, {"ids": [each.item.document_id for each in commits]})}
    states = {row.id: row.state for row in connection.execute(_STATES, {"ids": [each.item.id for each in commits]})}
    done, fresh = [], []
    for each in commits:
        item, row = each.item, rows.get(each.item.document_id)
        well = _may_commit(connection, item, row, states[item.id], generation[item.collection.id])
        done.append(well)
        if well and row is not None and states[item.id] != "indexed":
            fresh.append((each, row))
    if fresh:
        _replace_chunks(connection, fresh)
        known = [row.id for _, row in fresh if row.version]
        keep_signatures(connection, {row.id: each.signature for each, row in fresh}, known)
        connection.execute(_NEW_VERSION, [_new_version(each, row) for each, row in fresh])
        queue_indexing(connection, [(row.tenant, row.id, row.collection_id, _acl_id(row)) for _, row in fresh])
        connection.execute(_DONE, {"ids": [each.item.id for each, _ in fresh]})
    return done


def _may_commit(connection: Connection, item: WorkItem, row: Row[Any] | None, state: str, generation: int) -> bool:
    """Else its turn ends here, or begins again."""
    own = row is not None and row.tenant == item.tenant and row.item_id == item.id
    if not own or state not in ("queued", "running", "indexed"):
        _end_item(connection, item, "superseded", "A newer version was accepted, or the document was deleted.", "")
        return False
    if state != "indexed" and generation != item.collection.generation:
        _again(connection, item)
        return False
    return True


def _acl_id(row: Row[Any]) -> int:
    return int(row.pending_acl_id if row.pending_acl_id is not None else row.acl_id)


def _new_version(commit: DocumentCommit, row: Row[Any]) -> dict[str, Any]:
    return {
        "_id": row.id,
        "_version": row.version + 1,
        "_title": commit.title,
        "_media_type": commit.media_type,
        "_chunk_count": len(commit.chunks),
        "_served_hash": row.content_hash,
        "_served_blob": row.blob,
        "_acl_id": _acl_id(row),
        "_report": to_json(commit.report),
        "_prepared": commit.prepared,
        "_updated_at": now_text(),
    }


def _generation(connection: Connection, collection_id: str) -> int:
    """By which the collection is searched, held until the transaction ends."""
    query = sa.select(collections.c.generation).where(collections.c.id == collection_id)
    return int(connection.execute(query.with_for_update(read=True)).scalar_one())


def _again(connection: Connection, item: WorkItem) -> None:
    """Its vectors are of the generation before: that is no fault of the document, so the attempt is not counted."""
    connection.execute(
        sa.update(items)
        .where(items.c.id == item.id, items.c.state.in_(("queued", "running")))
        .values(state="queued", attempts=items.c.attempts - 1)
    )


def _live_document(connection: Connection, item: WorkItem) -> Row[Any] | None:
    rows = connection.execute(_LIVE, {"ids": [item.document_id]}).all()
    return rows[0] if rows and rows[0].tenant == item.tenant else None


def _item_state(connection: Connection, item: WorkItem) -> str:
    return str(connection.execute(sa.select(items.c.state).where(items.c.id == item.id)).scalar_one())


def _end_item(connection: Connection, item: WorkItem, state: str, reason: str, code: str) -> None:
    """Ends only what is open: an end once written stays."""
    connection.execute(
        sa.update(items)
        .where(items.c.id == item.id, items.c.state.in_(("queued", "running")))
        .values(state=state, reason=reason, code=code)
    )


_BESIDE = (
    sa.select(vectors)
    .join(documents, documents.c.id == vectors.c.document_id)
    .join(
        generations,
        sa.and_(
            generations.c.generation == vectors.c.generation, generations.c.collection_id == documents.c.collection_id
        ),
    )
    .where(generations.c.state == BUILDING, vectors.c.document_id.in_(sa.bindparam("ids", expanding=True)))
)
_NO_CHUNKS = [
    sa.delete(table).where(table.c.document_id.in_(sa.bindparam("ids", expanding=True)))
    for table in (vectors, chunk_table)
]
_NEW_CHUNKS = sa.insert(chunk_table)
_NEW_VECTORS = sa.insert(vectors)


def _replace_chunks(connection: Connection, fresh: Sequence[tuple[DocumentCommit, Row[Any]]]) -> None:
    """Vectors of a generation being built stay with the chunks that stay as they are."""
    before = {"ids": [row.id for _, row in fresh if row.version]}  # a new document has nothing to replace
    kept = {chunk.id for each, _ in fresh for chunk in each.chunks}
    found: list[dict[str, Any]] = []
    if before["ids"]:
        found = [dict(row._mapping) for row in connection.execute(_BESIDE, before) if row.chunk_id in kept]
        for statement in _NO_CHUNKS:
            connection.execute(statement, before)
    for each, row in fresh:
        shared = {
            "document_id": row.id,
            "generation": each.item.collection.generation,
            "fingerprint": each.fingerprint,
        }
        found += [shared | {"chunk_id": c.id, "vector": c.vector} for c in each.chunks if c.vector is not None]
    if kept:
        connection.execute(_NEW_CHUNKS, [one for each, row in fresh for one in _chunk_rows(each, row.version + 1)])
    if found:
        connection.execute(_NEW_VECTORS, found)


def _chunk_rows(commit: DocumentCommit, version: int) -> Iterator[dict[str, Any]]:
    for ordinal, chunk in enumerate(commit.chunks):
        draft = chunk.draft
        yield {
            "id": chunk.id,
            "tenant": commit.item.tenant,
            "document_id": commit.item.document_id,
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
    keep_signatures(connection, {}, [item.document_id])
    bare = {"chunk_count": 0, "served_hash": "", "served_blob": ""}
    connection.execute(sa.update(documents).where(documents.c.id == item.document_id).values(bare))
    queue_change(connection, "index", item.tenant, item.document_id, row.collection_id, row.acl_id)
