"""Documents back into the queue as they are, to be prepared by today's rules."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from bascule.core.documents import Job
from bascule.core.errors import Conflict, NotFound
from bascule.core.generations import REPROCESS
from bascule.core.ids import new_id
from bascule.core.jobs import BULK
from bascule.core.principals import SCOPE_ADMIN, Principal
from bascule.db.audit import write_audit
from bascule.db.collection_facts import named
from bascule.db.generation_rows import in_collection
from bascule.db.jobviews import job_row
from bascule.db.rights import need_scope
from bascule.db.store import Store
from bascule.db.tables import collections, documents, items
from bascule.db.tables import jobs as job_table
from bascule.db.values import now_text

_WAITING: Final = ("queued", "running")


class SqlReprocess(Store):
    async def reprocess(self, principal: Principal, name: str, *, unless: str | None = None) -> Job:
        need_scope(principal, SCOPE_ADMIN)
        return await self._write(lambda c: _reprocess(c, principal, name, unless))


def _reprocess(connection: Connection, principal: Principal, name: str, unless: str | None) -> Job:
    query = sa.select(collections.c.id, collections.c.name).where(named(principal.tenant, name)).with_for_update()
    target = connection.execute(query).one_or_none()
    if target is None:
        raise NotFound("There is no such collection.")
    found = _documents(connection, target.id, unless)
    if not found:
        raise Conflict("No document of the collection is to be prepared again.")
    write_audit(connection, principal, "collection.reprocess", target.name, {"documents": len(found)})
    job_id = new_id()
    connection.execute(
        sa.insert(job_table).values(
            id=job_id,
            tenant=principal.tenant,
            collection_id=target.id,
            kind=REPROCESS,
            state="queued",
            priority=BULK,
            subject=principal.subject,
            key_id=principal.key_id,
            created_at=now_text(),
        )
    )
    rows = [_item(row, job_id, ordinal) for ordinal, row in enumerate(found)]
    connection.execute(sa.insert(items), rows)
    of = (
        sa.update(documents)
        .where(documents.c.id == sa.bindparam("of"))
        .values(item_id=sa.bindparam("by"), state="queued")
    )
    connection.execute(of, [{"of": row["document_id"], "by": row["id"]} for row in rows])
    return job_row(connection, principal, job_id)


def _documents(connection: Connection, collection_id: str, unless: str | None) -> list[Row[Any]]:
    """With the item of their content, which holds the title that was given with it, if one was."""
    query = (
        sa.select(documents, items.c.title.label("given_title"), items.c.media_type.label("given_type"))
        .join(items, items.c.id == documents.c.item_id)
        .where(in_collection(collection_id), items.c.state.not_in(_WAITING))
        .order_by(documents.c.id)
        .with_for_update(of=documents)
    )
    if unless is not None:
        query = query.where(documents.c.prepared != unless)
    return list(connection.execute(query))


def _item(row: Row[Any], job_id: str, ordinal: int) -> dict[str, Any]:
    return {
        "id": new_id(),
        "job_id": job_id,
        "tenant": row.tenant,
        "document_id": row.id,
        "ordinal": ordinal,
        "name": row.name,
        "media_type": row.given_type,
        "title": row.given_title,
        "blob": row.blob,
        "content_hash": row.content_hash,
        "state": "queued",
        "reason": "",
        "code": "",
        "attempts": 0,
    }
