"""What the catalogue owes the index: rows written with the change itself, applied and settled by the indexer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import sqlalchemy as sa
from sqlalchemy import Connection

from bascule.core.catalogue import IndexChange
from bascule.db.tables import outbox


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


def index_changes(connection: Connection, limit: int) -> list[IndexChange]:
    rows = connection.execute(sa.select(outbox).order_by(outbox.c.seq).limit(limit))
    return [IndexChange(**row._mapping) for row in rows]


def settle_changes(connection: Connection, seqs: Sequence[int]) -> None:
    connection.execute(sa.delete(outbox).where(outbox.c.seq.in_(list(seqs))))
