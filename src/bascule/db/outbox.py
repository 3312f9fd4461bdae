"""What the catalogue owes the index: rows written with the change itself, applied and settled by the indexer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import sqlalchemy as sa
from sqlalchemy import Connection

from bascule.core.catalogue import IndexChange
from bascule.db.tables import documents, outbox


def queue_change(
    connection: Connection,
    kind: Literal["index", "move", "purge", "trim"],
    tenant: str,
    document_id: str,
    collection_id: str,
    acl_id: int,
) -> None:
    """The document's row must be locked: that keeps its changes in the order of their seq on Postgres too."""
    connection.execute(
        sa.insert(outbox).values(
            kind=kind, tenant=tenant, document_id=document_id, collection_id=collection_id, acl_id=acl_id
        )
    )


_NEW = sa.insert(outbox)


def queue_indexing(connection: Connection, changed: Sequence[tuple[str, str, str, int]]) -> None:
    """As `queue_change` with "index" for each (tenant, document_id, collection_id, acl_id)."""
    names = ("tenant", "document_id", "collection_id", "acl_id")
    connection.execute(_NEW, [{"kind": "index"} | dict(zip(names, each, strict=True)) for each in changed])


_WAITING = (
    sa.select(outbox, sa.func.coalesce(documents.c.chunk_count, 0).label("chunks"))
    .outerjoin(documents, documents.c.id == outbox.c.document_id)
    .order_by(outbox.c.seq)
)


def index_changes(connection: Connection, limit: int) -> list[IndexChange]:
    rows = connection.execute(_WAITING.limit(limit))
    return [IndexChange(**row._mapping) for row in rows]


def settle_changes(connection: Connection, seqs: Sequence[int]) -> None:
    connection.execute(sa.delete(outbox).where(outbox.c.seq.in_(list(seqs))))
