"""What the catalogue holds of a source: the other half of a sync's comparison."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection

from bascule.core.connectors import KnownItem
from bascule.core.principals import SCOPE_INGEST, Principal
from bascule.core.rights import Rights
from bascule.db.levels import parse_given
from bascule.db.rights import need_scope, visible
from bascule.db.store import Store
from bascule.db.tables import acls, collections, documents
from bascule.db.values import from_json


class SqlSources(Store):
    async def source_items(self, principal: Principal, collection: str, source: str) -> dict[str, KnownItem]:
        need_scope(principal, SCOPE_INGEST)
        return await self._read(lambda c: _source_items(c, principal, collection, source))


def _source_items(connection: Connection, principal: Principal, collection: str, source: str) -> dict[str, KnownItem]:
    # Rights that wait for their content to be in search are what the source was last given, and are not to be given again.
    given = acls.c.id == sa.func.coalesce(documents.c.pending_acl_id, documents.c.acl_id)
    query = (
        sa.select(
            documents.c.id,
            documents.c.external_id,
            documents.c.metadata,
            documents.c.state,
            acls.c.canonical,
            acls.c.given,
        )
        .join(collections, collections.c.id == documents.c.collection_id)
        .join(acls, given)
        .where(visible(principal), collections.c.name == collection, documents.c.source == source)
    )
    return {
        row.external_id: KnownItem(
            document_id=row.id,
            metadata=from_json(row.metadata),
            rights=_given(row.canonical, row.given),
            inherits=parse_given(row.canonical, row.given).allow is None,
            failed=row.state == "failed",
        )
        for row in connection.execute(query)
    }


def _given(canonical: str, stored: str | None) -> Rights:
    given = parse_given(canonical, stored)
    return Rights(allow=given.allow or frozenset(), deny=given.deny, owner=given.owner)
