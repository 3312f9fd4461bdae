"""A document's chunks as the index is to hold them: in the generation that is searched, and in the one being built beside it."""

from __future__ import annotations

from collections.abc import Sequence
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


_own = chunks.c.document_id.in_(sa.bindparam("ids", expanding=True))
_in_order = (chunks.c.document_id, chunks.c.ordinal)
_facts = (
    *(chunks.c.id, chunks.c.tenant, chunks.c.document_id, chunks.c.heading_path, chunks.c.text),
    *(documents.c.collection_id, documents.c.acl_id),
)
_NOW = (
    live(sa.select(*_facts, collections.c.generation, vectors.c.vector))
    .join(collections, collections.c.id == documents.c.collection_id)
    .outerjoin(vectors, sa.and_(vectors.c.chunk_id == chunks.c.id, vectors.c.generation == collections.c.generation))
    .where(_own)
    .order_by(*_in_order)
)
_BESIDE = (
    live(sa.select(*_facts, generations.c.generation, vectors.c.vector))
    .join(generations, generations.c.collection_id == documents.c.collection_id)
    .join(vectors, sa.and_(vectors.c.chunk_id == chunks.c.id, vectors.c.generation == generations.c.generation))
    .where(_own, generations.c.state == BUILDING)
    .order_by(*_in_order)
)


def points_of(connection: Connection, wanted: Sequence[tuple[str, str]]) -> dict[tuple[str, str], list[StoredPoint]]:
    """By (tenant, document id): as `core.catalogue.Work.points` for each, in two statements for all."""
    found: dict[tuple[str, str], list[StoredPoint]] = {key: [] for key in wanted}
    ids = {"ids": [document_id for _, document_id in wanted]}
    for statement in (_NOW, _BESIDE):
        for row in connection.execute(statement, ids):
            if (row.tenant, row.document_id) in found:
                found[row.tenant, row.document_id].append(_point(row))
    return found


def _point(row: Row[Any]) -> StoredPoint:
    return StoredPoint(
        chunk_id=generation_id(row.id, row.generation),
        collection_id=generation_id(row.collection_id, row.generation),
        acl_id=row.acl_id,
        indexed_text=indexed_text(from_json(row.heading_path), row.text),
        vector=row.vector or None,
    )
