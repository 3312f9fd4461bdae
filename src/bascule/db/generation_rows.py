"""The generations of a collection's vectors as rows, and what a chunk lacks in one of them."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy import Boolean, Column, ColumnElement, ForeignKey, Integer, String, Table, text

from bascule.db.tables import SafeText, chunks, documents, metadata, vectors

BUILDING: Final = "building"
CURRENT: Final = "current"
RETIRED: Final = "retired"

# Those that were built: the very first of a collection has no row until it is retired, which waits to be cleared away, `cleared`
# being the last document of which that is done. embedded, to_embed: documents.
generations = Table(
    "generations",
    metadata,
    Column("collection_id", String(36), ForeignKey("collections.id"), primary_key=True),
    Column("generation", Integer, primary_key=True, autoincrement=False),
    Column("tenant", SafeText, nullable=False),
    Column("state", String(16), nullable=False),
    Column("model", SafeText, nullable=False),
    Column("fingerprint", SafeText, nullable=False),
    Column("dimension", Integer, nullable=False, server_default=text("0")),
    Column("pinned", Boolean, nullable=False, server_default=text("false")),
    Column("job_id", String(36), nullable=False, server_default="", index=True),
    Column("embedded", Integer, nullable=False, server_default=text("0")),
    Column("to_embed", Integer, nullable=False, server_default=text("0")),
    Column("reason", SafeText, nullable=False, server_default=""),
    Column("retired_at", SafeText),
    Column("cleared", String(36), nullable=False, server_default=""),
)


def lacks_vector(generation: int | ColumnElement[int]) -> ColumnElement[bool]:
    """Of `chunks`: it has no vector of this generation, not even the empty one of a text that its model refused."""
    there = sa.exists().where(vectors.c.chunk_id == chunks.c.id, vectors.c.generation == generation)
    return ~there.correlate_except(vectors)


def in_collection(collection_id: str) -> ColumnElement[bool]:
    """Of `documents`: live and in this collection."""
    return sa.and_(documents.c.collection_id == collection_id, documents.c.deleted_at.is_(None))
