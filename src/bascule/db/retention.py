"""What has not changed for too long, and its deletion: the ordinary one, if it still holds when the document is locked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection

from bascule.core.errors import NotFound
from bascule.core.principals import Principal
from bascule.core.retention import Expired
from bascule.db.audit import write_audit
from bascule.db.deletion import delete_document
from bascule.db.ledger import Deletion, DeletionLedger
from bascule.db.rights import to_change
from bascule.db.store import Store, need_system
from bascule.db.tables import collections, documents


class SqlRetention(Store):
    """Implements `core.retention.Expiry`."""

    ledger: DeletionLedger | None

    async def expired(self, principal: Principal | None, collection: str, before: str) -> list[Expired]:
        tenant = None if principal is None else collections.c.tenant == principal.tenant
        return await self._read(lambda c: _expired(c, tenant, collection, before))

    async def expire(self, principal: Principal, document_id: str, before: str) -> bool:
        need_system(principal)
        done = await self._write(lambda c: _expire(c, principal, document_id, before))
        if done is not None and self.ledger is not None:
            await asyncio.to_thread(self.ledger.append, [done])
        return done is not None


def _expired(connection: Connection, tenant: ColumnElement[bool] | None, name: str, before: str) -> list[Expired]:
    found: list[Expired] = []
    query = sa.select(collections).where(collections.c.name == name).order_by(collections.c.tenant)
    for row in connection.execute(query.where(tenant) if tenant is not None else query).all():
        live = sa.and_(documents.c.collection_id == row.id, documents.c.deleted_at.is_(None))
        old = sa.select(documents.c.id).where(live, documents.c.changed_at < before).order_by(documents.c.changed_at)
        ids: Sequence[str] = connection.execute(old).scalars().all()
        if ids:
            total = connection.execute(sa.select(sa.func.count()).where(live)).scalar_one()
            found.append(Expired(tenant=row.tenant, collection=name, documents=total, document_ids=tuple(ids)))
    return found


def _expire(connection: Connection, principal: Principal, document_id: str, before: str) -> Deletion | None:
    try:
        row, _ = to_change(connection, principal, document_id)
    except NotFound:
        return None
    if row.changed_at >= before:
        return None
    write_audit(connection, principal, "document.expire", document_id, {"changed_at": row.changed_at})
    return delete_document(connection, principal, document_id)
