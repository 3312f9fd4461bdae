"""Feedback on answers: given by whoever asked, scrubbed with the documents of the answer (law 4)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import Boolean, Column, ColumnElement, Connection, ForeignKey, Integer, String, Table, text

from bascule.core.errors import NotFound
from bascule.core.feedback import Candidate, Feedback
from bascule.core.principals import Principal
from bascule.core.reads import Maker
from bascule.core.traces import Trace
from bascule.db.reads import SqlReads
from bascule.db.rights import visible
from bascule.db.tables import SafeText, chunks, documents, metadata, trace_documents, traces
from bascule.db.values import now_text

feedback_table = Table(
    "feedback",
    metadata,
    Column("trace_id", String(36), ForeignKey("traces.id"), primary_key=True),
    Column("given_at", SafeText, nullable=False),
    Column("rating", Integer, nullable=False),
    Column("correction", SafeText, nullable=False),
    Column("note", SafeText, nullable=False),
    Column("scrubbed", Boolean, nullable=False, server_default=text("false")),
)


class SqlFeedback(SqlReads):
    """Implements `core.feedback.FeedbackStore`."""

    async def give_feedback(self, principal: Principal, feedback: Feedback) -> Feedback:
        return await self._write(lambda c: _give(c, principal, feedback))

    async def candidates(self, principal: Principal, limit: int) -> list[Candidate]:
        found = await self._read(lambda c: list(_candidates(c, principal, limit)))
        await self.note_read(principal, "feedback.read", "", of=[maker for maker, _ in found])
        return [candidate for _, candidate in found]


def scrub_feedback(connection: Connection, document_id: str) -> None:
    """What a deletion does here."""
    touched = sa.select(trace_documents.c.trace_id).where(trace_documents.c.document_id == document_id)
    gone = {"correction": "", "note": "", "scrubbed": True}
    connection.execute(sa.update(feedback_table).where(feedback_table.c.trace_id.in_(touched)).values(gone))


def _asked_by(principal: Principal) -> ColumnElement[bool]:
    """Strictly one's own: an administrator reads other people's answers, and does not speak for them."""
    own = sa.and_(traces.c.tenant == principal.tenant, traces.c.subject == principal.subject)
    return own if principal.subject else sa.and_(own, traces.c.key_id == principal.key_id)


def _give(connection: Connection, principal: Principal, feedback: Feedback) -> Feedback:
    own = sa.select(traces.c.id).where(traces.c.id == feedback.answer_id, _asked_by(principal))
    if connection.execute(own).scalar() is None:
        raise NotFound("There is no such answer.")
    gone = not _all_live(connection, feedback.answer_id)
    kept = msgspec.structs.replace(feedback, given_at=now_text(), scrubbed=gone)
    if gone:
        kept = msgspec.structs.replace(kept, correction="", note="")
    connection.execute(sa.delete(feedback_table).where(feedback_table.c.trace_id == kept.answer_id))
    connection.execute(
        sa.insert(feedback_table).values(
            trace_id=kept.answer_id,
            given_at=kept.given_at,
            rating=kept.rating,
            correction=kept.correction,
            note=kept.note,
            scrubbed=gone,
        )
    )
    return kept


def _all_live(connection: Connection, trace_id: str) -> bool:
    """Whether every document of the answer lives; a delete under way ends first."""
    links = sa.select(trace_documents.c.document_id).where(trace_documents.c.trace_id == trace_id)
    wanted = set(connection.execute(links).scalars())
    query = sa.select(documents.c.id).where(documents.c.id.in_(sorted(wanted)), documents.c.deleted_at.is_(None))
    found = set(connection.execute(query.order_by(documents.c.id).with_for_update(read=True)).scalars())
    return found == wanted


def _candidates(connection: Connection, principal: Principal, limit: int) -> Iterator[tuple[Maker, Candidate]]:
    whose = traces.c.tenant == principal.tenant if principal.is_admin else _asked_by(principal)
    query = (
        sa.select(
            feedback_table.c.rating,
            feedback_table.c.correction,
            traces.c.question,
            traces.c.body,
            traces.c.subject,
            traces.c.key_id,
        )
        .join(traces, traces.c.id == feedback_table.c.trace_id)
        .where(whose, feedback_table.c.scrubbed.is_(False), traces.c.question != "")
        .order_by(feedback_table.c.given_at.desc(), feedback_table.c.trace_id)
        .limit(limit)
    )
    return (
        ((row.subject, row.key_id), _candidate(connection, principal, row)) for row in connection.execute(query).all()
    )


def _candidate(connection: Connection, principal: Principal, row: Any) -> Candidate:
    trace = msgspec.json.decode(row.body, type=Trace)
    cited: list[str] = []
    if row.rating > 0 and trace.cited:
        ids = sa.select(chunks.c.document_id).join(documents, documents.c.id == chunks.c.document_id).distinct()
        query = ids.where(chunks.c.id.in_(trace.cited), visible(principal)).order_by(chunks.c.document_id)
        cited = list(connection.execute(query).scalars())
    asked = trace.asked.collections if trace.asked else None
    answer = (row.correction,) if row.correction else ()
    return Candidate(question=row.question, documents=tuple(cited), answer=answer, collections=tuple(asked or ()))
