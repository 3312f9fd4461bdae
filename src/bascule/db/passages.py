"""What a question may see: the catalogue's disposal of what the index proposed (law 1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, Select

from bascule.core.documents import Collection, VisibleChunk
from bascule.core.errors import NotFound
from bascule.core.filters import EVERYTHING, Filter, matches
from bascule.core.principals import Principal
from bascule.db.filtering import FACTS, facts_of, matching_documents
from bascule.db.reads import SqlReads
from bascule.db.rights import readable_acls, visible
from bascule.db.tables import acl_entries, chunks, collections, documents
from bascule.db.values import CHUNK_ROWS, COLLECTION_ROWS, chunk_of, collection_of

BATCH = 500  # parameters in one IN list


class SqlPassages(SqlReads):
    async def readable_collections(self, principal: Principal, names: Sequence[str] | None) -> list[Collection]:
        return await self._read_for(principal, lambda c: readable_collections(c, principal, names))

    async def readable_acl_ids(self, principal: Principal) -> frozenset[int]:
        return await self._read_for(principal, lambda c: frozenset(c.execute(readable_acls(principal)).scalars()))

    async def check(
        self,
        principal: Principal,
        chunk_ids: Sequence[str],
        collection_ids: frozenset[str],
        where: Filter = EVERYTHING,
    ) -> dict[str, VisibleChunk]:
        return await self._read_for(principal, lambda c: _check(c, principal, chunk_ids, collection_ids, where))

    async def matching_documents(
        self, principal: Principal, collection_ids: frozenset[str], where: Filter, most: int
    ) -> frozenset[str] | None:
        return await self._read_for(principal, lambda c: matching_documents(c, principal, collection_ids, where, most))

    async def neighbours(self, principal: Principal, chunk_id: str, before: int, after: int) -> list[VisibleChunk]:
        return await self._read_for(principal, lambda c: _neighbours(c, principal, chunk_id, before, after))

    async def passage(self, principal: Principal, chunk_id: str) -> VisibleChunk:
        found = await self._read_for(principal, lambda c: _passage(c, principal, chunk_id))
        await self.note_read(principal, "document.read", found.document_id, document_ids=[found.document_id])
        return found


def may_see_collection(principal: Principal) -> ColumnElement[bool]:
    """Of `collections`: of the tenant, and holding a readable document, or owned or administered."""
    own = collections.c.tenant == principal.tenant
    if principal.is_admin:
        return own
    # Here by the set of readable acl_ids: the index answers for each, however many unreadable documents there are.
    holds = (
        sa.exists()
        .where(
            documents.c.tenant == principal.tenant,
            documents.c.collection_id == collections.c.id,
            documents.c.deleted_at.is_(None),
            documents.c.acl_id.in_(readable_acls(principal)),
        )
        .correlate(collections)
    )
    if not principal.subject:
        return sa.and_(own, holds)
    owns = (
        sa.exists()
        .where(
            acl_entries.c.acl_id == collections.c.acl_id,
            acl_entries.c.effect == "owner",
            acl_entries.c.mark == principal.subject,
        )
        .correlate(collections)
    )
    return sa.and_(own, sa.or_(holds, owns))


def readable_collections(connection: Connection, principal: Principal, names: Sequence[str] | None) -> list[Collection]:
    query = COLLECTION_ROWS.where(may_see_collection(principal)).order_by(collections.c.name)
    if names is None:
        return [collection_of(row) for row in connection.execute(query)]
    wanted = sorted(set(names))
    found = [collection_of(row) for row in connection.execute(query.where(collections.c.name.in_(wanted)))]
    if len(found) < len(wanted):
        raise NotFound("There is no such collection.", param="collections")
    return found


def current_chunks(principal: Principal, chunk_ids: Sequence[str]) -> Select[Any]:
    """Of these chunks, the rows that are live, current and readable."""
    current = chunks.c.version == documents.c.version
    return CHUNK_ROWS.where(chunks.c.id.in_(chunk_ids), visible(principal, chunks.c.tenant), current)


def _check(
    connection: Connection,
    principal: Principal,
    chunk_ids: Sequence[str],
    collection_ids: frozenset[str],
    where: Filter,
) -> dict[str, VisibleChunk]:
    if not collection_ids:
        return {}
    seen: dict[str, VisibleChunk] = {}
    unique = list(dict.fromkeys(chunk_ids))
    for at in range(0, len(unique), BATCH):
        query = current_chunks(principal, unique[at : at + BATCH])
        for row in connection.execute(query if where == EVERYTHING else query.add_columns(*FACTS)):
            if row.collection_id in collection_ids:
                chunk = chunk_of(row)
                if where == EVERYTHING or matches(where, facts_of(row, chunk.metadata)):
                    seen[chunk.id] = chunk
    return seen


def _passage(connection: Connection, principal: Principal, chunk_id: str) -> VisibleChunk:
    row = connection.execute(
        CHUNK_ROWS.where(chunks.c.id == chunk_id, visible(principal, chunks.c.tenant))
    ).one_or_none()
    if row is None:
        raise NotFound("There is no such passage.")
    return chunk_of(row)


def _neighbours(
    connection: Connection, principal: Principal, chunk_id: str, before: int, after: int
) -> list[VisibleChunk]:
    middle = _passage(connection, principal, chunk_id)
    rows = connection.execute(
        CHUNK_ROWS.where(
            chunks.c.document_id == middle.document_id,
            chunks.c.ordinal.between(middle.ordinal - before, middle.ordinal + after),
            chunks.c.id != chunk_id,
        ).order_by(chunks.c.ordinal)
    )
    return [chunk_of(row) for row in rows]
