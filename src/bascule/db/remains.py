"""What deletions left behind, place by place: nothing, or there is a fault to find."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Connection, Select

from bascule.db.alike import signature_bands
from bascule.db.eval_tables import eval_case_documents, eval_cases
from bascule.db.feedback import feedback_table
from bascule.db.ledger import Deletion
from bascule.db.store import Store
from bascule.db.tables import (
    call_documents,
    chunks,
    deletions,
    documents,
    items,
    outbox,
    trace_documents,
    traces,
    vectors,
)

_AT_ONCE: Final = 500


class SqlRemains(Store):
    async def deletions(self) -> list[Deletion]:
        """Every deletion the database knows of, oldest first."""
        query = sa.select(deletions.c.document_id, deletions.c.tenant, deletions.c.deleted_at).order_by(deletions.c.seq)
        return await self._read(lambda c: [Deletion(*row) for row in c.execute(query)])

    async def alive_among(self, document_ids: Sequence[str]) -> list[str]:
        """Those that are there, as if they had never been deleted."""
        return await self._read(lambda c: list(_alive(c, document_ids)))

    async def remains(self, document_ids: Sequence[str]) -> dict[str, int]:
        """How many rows of each place still hold something of these documents."""
        return await self._read(lambda c: _remains(c, document_ids))

    async def oldest_unpurged_s(self) -> float:
        """Age in seconds of the oldest deletion that the index has not followed yet; 0 when there is none."""
        query = sa.select(sa.func.min(deletions.c.deleted_at)).join(
            outbox, outbox.c.document_id == deletions.c.document_id
        )
        oldest = await self._read(lambda c: c.execute(query.where(outbox.c.kind == "purge")).scalar())
        return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(oldest)).total_seconds()) if oldest else 0.0


def _parts(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[at : at + _AT_ONCE] for at in range(0, len(ids), _AT_ONCE))


def _alive(connection: Connection, ids: Sequence[str]) -> Iterator[str]:
    for part in _parts(ids):
        query = sa.select(documents.c.id).where(documents.c.id.in_(part), documents.c.deleted_at.is_(None))
        yield from connection.execute(query).scalars()


def _remains(connection: Connection, ids: Sequence[str]) -> dict[str, int]:
    found = dict.fromkeys(
        ("documents", "passages", "vectors", "signatures", "jobs", "traces", "evaluations", "feedback"), 0
    )
    for part in _parts(ids):
        for place, query in _queries(part).items():
            found[place] += connection.execute(query).scalar() or 0
    return found


def _queries(ids: Sequence[str]) -> dict[str, Select[Any]]:
    count = sa.func.count()
    named = (documents.c.external_id, documents.c.name, documents.c.title, documents.c.reason)
    texts = sa.or_(documents.c.deleted_at.is_(None), *(column != "" for column in named), documents.c.metadata != "{}")
    words = sa.or_(items.c.name != "", items.c.title != "", items.c.state.in_(("queued", "running")))
    answers = sa.select(count).select_from(traces.join(trace_documents, trace_documents.c.trace_id == traces.c.id))
    linked = sa.and_(
        eval_case_documents.c.run_id == eval_cases.c.run_id, eval_case_documents.c.number == eval_cases.c.number
    )
    return {
        "documents": sa.select(count).select_from(documents).where(documents.c.id.in_(ids), texts),
        "passages": sa.select(count).select_from(chunks).where(chunks.c.document_id.in_(ids)),
        "vectors": sa.select(count).select_from(vectors).where(vectors.c.document_id.in_(ids)),
        "signatures": sa.select(count).select_from(signature_bands).where(signature_bands.c.document_id.in_(ids)),
        "jobs": sa.select(count).select_from(items).where(items.c.document_id.in_(ids), words),
        "evaluations": sa.select(count)
        .select_from(eval_cases.join(eval_case_documents, linked))
        .where(eval_case_documents.c.document_id.in_(ids), eval_cases.c.question != ""),
        "feedback": sa.select(count)
        .select_from(feedback_table.join(trace_documents, trace_documents.c.trace_id == feedback_table.c.trace_id))
        .where(
            trace_documents.c.document_id.in_(ids),
            sa.or_(feedback_table.c.correction != "", feedback_table.c.note != ""),
        ),
        "traces": answers.where(trace_documents.c.document_id.in_(ids), traces.c.scrubbed.is_(False)),
    }


def kept_texts(connection: Connection, ids: Sequence[str]) -> int:
    """Of the call log: kept prompts and answers that hold something of these documents."""
    found = 0
    for part in _parts(ids):
        query = sa.select(sa.func.count()).select_from(call_documents).where(call_documents.c.document_id.in_(part))
        found += connection.execute(query).scalar() or 0
    return found
