"""Law 4: a deleted document is gone at commit, with every text derived from it."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy import Connection

from bascule.core.principals import Principal
from bascule.db.alike import keep_signatures
from bascule.db.engine import insert_new
from bascule.db.evaluations import scrub_cases
from bascule.db.feedback import scrub_feedback
from bascule.db.ledger import Deletion
from bascule.db.outbox import queue_change
from bascule.db.rights import to_change
from bascule.db.tables import chunks, deletions, documents, items, trace_documents, traces, vectors
from bascule.db.values import now_text

_LEDGER_LOCK: Final = 0x64656C65  # "dele"


def delete_document(connection: Connection, principal: Principal, document_id: str) -> Deletion:
    """Tombstone, texts removed, traces scrubbed, purge queued. Raises NotFound and ScopeMissing (see `to_change`)."""
    row, _ = to_change(connection, principal, document_id)
    _in_order(connection)
    at = now_text()
    connection.execute(
        sa.update(documents)
        .where(documents.c.id == document_id)
        .values(
            state="deleted",
            deleted_at=at,
            updated_at=at,
            external_id="",
            name="",
            title="",
            source="",
            metadata="{}",
            report="{}",
            reason="",
            chunk_count=0,
            pending_acl_id=None,
        )
    )
    keep_signatures(connection, {}, [document_id])
    connection.execute(sa.delete(vectors).where(vectors.c.document_id == document_id))
    connection.execute(sa.delete(chunks).where(chunks.c.document_id == document_id))
    _scrub_items(connection, document_id)
    _scrub_traces(connection, document_id)
    scrub_cases(connection, document_id)
    scrub_feedback(connection, document_id)
    queue_change(connection, "purge", row.tenant, document_id, row.collection_id, row.acl_id)
    insert_new(connection, deletions, [{"document_id": document_id, "tenant": row.tenant, "deleted_at": at}])
    return Deletion(document_id, row.tenant, at)


def _in_order(connection: Connection) -> None:
    """Deletions are committed in the order of their seq: on Postgres only one at a time may draw it."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LEDGER_LOCK)))


def deletion_mark(connection: Connection) -> int:
    return connection.execute(sa.select(sa.func.max(deletions.c.seq))).scalar() or 0


def deletions_since(connection: Connection, mark: int) -> tuple[int, list[str]]:
    rows = connection.execute(
        sa.select(deletions.c.seq, deletions.c.document_id).where(deletions.c.seq > mark).order_by(deletions.c.seq)
    ).all()
    return (rows[-1].seq if rows else mark), [row.document_id for row in rows]


def _scrub_items(connection: Connection, document_id: str) -> None:
    own = items.c.document_id == document_id
    connection.execute(sa.update(items).where(own).values(name="", title="", reason=""))
    connection.execute(
        sa.update(items)
        .where(own, items.c.state.in_(("queued", "running")))
        .values(state="superseded", reason="The document was deleted.")
    )


def _scrub_traces(connection: Connection, document_id: str) -> None:
    touched = sa.select(trace_documents.c.trace_id).where(trace_documents.c.document_id == document_id)
    connection.execute(
        sa.update(traces).where(traces.c.id.in_(touched)).values(question="", answer="", facts="[]", scrubbed=True)
    )
