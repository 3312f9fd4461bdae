"""What a question may see: the catalogue's disposal of what the index proposed (law 1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, Select

from bascule.core.documents import Collection, VisibleChunk
from bascule.core.errors import NotFound
from bascule.core.principals import Principal
from bascule.db.rights import readable_acls, visible
from bascule.db.store import Store
from bascule.db.tables import acl_entries, chunks, collections, documents
from bascule.db.values import CHUNK_ROWS, COLLECTION_ROWS, chunk_of, collection_of, from_json

BATCH = 500  # parameters in one IN list
LANGUAGE = "lang"  # as found in the document, where its metadata does not say it


class SqlPassages(Store):
    async def readable_collections(self, principal: Principal, names: Sequence[str] | None) -> list[Collection]:
        return await self._read(lambda c: readable_collections(c, principal, names))

    async def readable_acl_ids(self, principal: Principal) -> frozenset[int]:
        return await self._read(lambda c: frozenset(c.execute(readable_acls(principal)).scalars()))

    async def check(
        self, principal: Principal, chunk_ids: Sequence[str], collection_ids: frozenset[str], where: Mapping[str, Any]
    ) -> dict[str, VisibleChunk]:
        return await self._read(lambda c: _check(c, principal, chunk_ids, collection_ids, where))

    async def neighbours(self, principal: Principal, chunk_id: str, before: int, after: int) -> list[VisibleChunk]:
        return await self._read(lambda c: _neighbours(c, principal, chunk_id, before, after))

    async def passage(self, principal: Principal, chunk_id: str) -> VisibleChunk:
        return await self._read(lambda c: _passage(c, principal, chunk_id))


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
    where: Mapping[str, Any],
) -> dict[str, VisibleChunk]:
    if not collection_ids:
        return {}
    seen: dict[str, VisibleChunk] = {}
    unique = list(dict.fromkeys(chunk_ids))
    for at in range(0, len(unique), BATCH):
        query = current_chunks(principal, unique[at : at + BATCH])
        for row in connection.execute(query.add_columns(documents.c.report) if LANGUAGE in where else query):
            if row.collection_id in collection_ids:
                chunk = chunk_of(row)
                found = {LANGUAGE: from_json(row.report).get("language")} if LANGUAGE in where else {}
                if matches({**found, **chunk.metadata}, where):
                    seen[chunk.id] = chunk
    return seen


def matches(metadata: Mapping[str, Any], where: Mapping[str, Any]) -> bool:
    """Equality, key by key. 1 is not true, as in JSON."""
    for key, wanted in where.items():
        if key not in metadata:
            return False
        value = metadata[key]
        if value != wanted or isinstance(value, bool) != isinstance(wanted, bool):
            return False
    return True


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
