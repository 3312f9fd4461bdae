"""A document's chunks as the index is to hold them: in the generation that is searched, and in the one being built beside it."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row, Select

from bascule.core.catalogue import StoredPoint
from bascule.core.ids import generation_id
from bascule.db.generation_rows import BUILDING, generations
from bascule.db.tables import chunks, collections, documents, vectors
from bascule.db.values import from_json, indexed_text


def live(query: Select[Any]) -> Select[Any]:
    """Of `chunks`: of the version in search of a document that is there."""
    joined = query.join(documents, documents.c.id == chunks.c.document_id)
    return joined.where(documents.c.deleted_at.is_(None), chunks.c.version == documents.c.version)


def points_of(connection: Connection, tenant: str, document_id: str) -> list[StoredPoint]:
    own = sa.and_(chunks.c.document_id == document_id, chunks.c.tenant == tenant)
    facts = (chunks.c.id, chunks.c.heading_path, chunks.c.text, documents.c.collection_id, documents.c.acl_id)
    now = live(sa.select(*facts, collections.c.generation, vectors.c.vector))
    now = now.join(collections, collections.c.id == documents.c.collection_id).outerjoin(
        vectors, sa.and_(vectors.c.chunk_id == chunks.c.id, vectors.c.generation == collections.c.generation)
    )
    found = [_point(row) for row in connection.execute(now.where(own).order_by(chunks.c.ordinal))]
    if not found:
        return []
    beside = live(sa.select(*facts, generations.c.generation, vectors.c.vector))
    beside = beside.join(generations, generations.c.collection_id == documents.c.collection_id).join(
        vectors, sa.and_(vectors.c.chunk_id == chunks.c.id, vectors.c.generation == generations.c.generation)
    )
    beside = beside.where(own, generations.c.state == BUILDING).order_by(chunks.c.ordinal)
    return found + [_point(row) for row in connection.execute(beside)]


def _point(row: Row[Any]) -> StoredPoint:
    return StoredPoint(
        chunk_id=generation_id(row.id, row.generation),
        collection_id=generation_id(row.collection_id, row.generation),
        acl_id=row.acl_id,
        indexed_text=indexed_text(from_json(row.heading_path), row.text),
        vector=row.vector or None,
    )
