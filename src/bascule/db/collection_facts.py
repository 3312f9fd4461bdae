"""Collections as their operator sees them: how much is in them, what embedded it, what is under way."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, Row

from bascule.core.errors import NotFound
from bascule.core.generations import CollectionFacts, EmbeddedBy
from bascule.core.principals import Principal
from bascule.db.generation_rows import BUILDING, generations
from bascule.db.tables import chunks, collections, documents, vectors
from bascule.db.values import COLLECTION_ROWS, collection_of


def named(tenant: str, name: str) -> ColumnElement[bool]:
    """Of `collections`: the one of this name, or else of this id."""
    here = collections.alias()
    taken = sa.exists().where(here.c.tenant == tenant, here.c.name == name)
    by_id = sa.and_(collections.c.id == name, ~taken)
    return sa.and_(collections.c.tenant == tenant, sa.or_(collections.c.name == name, by_id))


def collection_facts(connection: Connection, principal: Principal, name: str | None) -> list[CollectionFacts]:
    """Raises NotFound for a name that is not there."""
    query = COLLECTION_ROWS.where(collections.c.tenant == principal.tenant).order_by(collections.c.name)
    rows = connection.execute(query.where(named(principal.tenant, name)) if name is not None else query).all()
    if name is not None and not rows:
        raise NotFound("There is no such collection.")
    ids = [row.id for row in rows] if name is not None else None
    counted = _counts(connection, principal.tenant, ids)
    building = _building(connection, principal.tenant)
    prepared = _prepared(connection, principal.tenant, ids)
    return [_facts(row, counted.get(row.id, (0, 0, 0)), prepared.get(row.id, {}), building.get(row.id)) for row in rows]


def _counts(connection: Connection, tenant: str, ids: list[str] | None) -> dict[str, tuple[int, int, int]]:
    """Collection -> documents, chunks, and chunks without a vector that is of any use."""
    mine = sa.and_(documents.c.tenant == tenant, documents.c.deleted_at.is_(None))
    if ids is not None:
        mine = sa.and_(mine, documents.c.collection_id.in_(ids))
    number = sa.func.count()
    each = sa.select(documents.c.collection_id, number).where(mine).group_by(documents.c.collection_id)
    held: dict[str, int] = {key: total for key, total in connection.execute(each)}
    of = sa.and_(vectors.c.chunk_id == chunks.c.id, vectors.c.generation == collections.c.generation)
    without = sa.case((vectors.c.chunk_id.is_(None), 1), (sa.func.length(vectors.c.vector) == 0, 1), else_=0)
    parts = (
        sa.select(documents.c.collection_id, number, sa.func.sum(without))
        .select_from(chunks)
        .join(documents, documents.c.id == chunks.c.document_id)
        .join(collections, collections.c.id == documents.c.collection_id)
        .outerjoin(vectors, of)
        .where(mine)
        .group_by(documents.c.collection_id)
    )
    chunked = {key: (int(total), int(bare)) for key, total, bare in connection.execute(parts)}
    return {key: (count, *chunked.get(key, (0, 0))) for key, count in held.items()}


def _prepared(connection: Connection, tenant: str, ids: list[str] | None) -> dict[str, dict[str, int]]:
    """Collection -> documents in search by how they were prepared."""
    searched = sa.and_(documents.c.tenant == tenant, documents.c.deleted_at.is_(None), documents.c.chunk_count > 0)
    if ids is not None:
        searched = sa.and_(searched, documents.c.collection_id.in_(ids))
    by = (documents.c.collection_id, documents.c.prepared)
    found: dict[str, dict[str, int]] = {}
    for key, how, number in connection.execute(sa.select(*by, sa.func.count()).where(searched).group_by(*by)):
        found.setdefault(key, {})[how] = number
    return found


def _building(connection: Connection, tenant: str) -> dict[str, Row[Any]]:
    own = sa.and_(generations.c.tenant == tenant, generations.c.state == BUILDING)
    return {row.collection_id: row for row in connection.execute(sa.select(generations).where(own))}


def _facts(
    row: Row[Any], counts: tuple[int, int, int], prepared: dict[str, int], under_way: Row[Any] | None
) -> CollectionFacts:
    facts = CollectionFacts(
        collection=collection_of(row),
        documents=counts[0],
        chunks=counts[1],
        unembedded=counts[2],
        prepared=prepared,
    )
    if under_way is None:
        return facts
    return msgspec.structs.replace(
        facts,
        building=EmbeddedBy(
            model=under_way.model,
            fingerprint=under_way.fingerprint,
            dimension=under_way.dimension,
            pinned=bool(under_way.pinned),
        ),
        job_id=under_way.job_id,
        embedded=min(under_way.embedded, under_way.to_embed),
        to_embed=under_way.to_embed,
        reason=under_way.reason,
    )
