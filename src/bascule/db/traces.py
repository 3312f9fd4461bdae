"""Traces: written only while their documents live, read only by whoever asked, scrubbed with their documents (law 4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection, Row

from bascule.core.errors import NotFound
from bascule.core.principals import Principal
from bascule.core.traces import ANY_TRACE, Trace, TraceFilter, TraceLine, TraceLines
from bascule.db.reads import SqlReads
from bascule.db.rights import made_by, visible
from bascule.db.tables import documents, trace_documents
from bascule.db.tables import traces as trace_table
from bascule.db.values import from_json, to_json

LOOKED_AT = 500  # traces that one list looks through


class SqlTraces(SqlReads):
    async def save_trace(self, trace: Trace) -> bool:
        return await self._write(lambda c: _save(c, trace))

    async def trace(self, principal: Principal, trace_id: str) -> Trace:
        found = await self._read(lambda c: _trace(c, principal, trace_id))
        await self._note(principal, found.id, [found])
        return found

    async def traces(self, principal: Principal, limit: int) -> list[Trace]:
        found = await self._read(lambda c: _traces(c, principal, limit))
        await self._note(principal, "", found)
        return found

    async def trace_lines(self, principal: Principal, limit: int, wanted: TraceFilter = ANY_TRACE) -> TraceLines:
        found = await self._read(lambda c: _lines(c, principal, limit, wanted))
        await self.note_read(principal, "answer.read", "", of=[(line.subject, line.key_id) for line in found.lines])
        return found

    async def _note(self, principal: Principal, target: str, found: Sequence[Trace]) -> None:
        document_ids = [document_id for trace in found for document_id in trace.document_ids]
        of = [(trace.subject, trace.key_id) for trace in found]
        await self.note_read(principal, "answer.read", target, document_ids=document_ids, of=of)


def _save(connection: Connection, trace: Trace) -> bool:
    wanted = sorted(set(trace.document_ids))
    if wanted:
        living = connection.execute(
            sa.select(documents.c.id)
            .where(documents.c.id.in_(wanted), documents.c.tenant == trace.tenant, documents.c.deleted_at.is_(None))
            .order_by(documents.c.id)
            .with_for_update(read=True)  # a delete under way ends first, and its documents are then missing here
        ).all()
        if len(living) < len(wanted):
            return False
    bare = tuple(msgspec.structs.replace(stage, facts={}) for stage in trace.stages)
    body = msgspec.structs.replace(trace, question="", answer="", stages=bare, scrubbed=False)
    connection.execute(
        sa.insert(trace_table).values(
            id=trace.id,
            tenant=trace.tenant,
            subject=trace.subject,
            key_id=trace.key_id,
            created_at=trace.created_at,
            body=to_json(body),
            question=trace.question,
            answer=trace.answer,
            facts=to_json([stage.facts for stage in trace.stages]),
            scrubbed=trace.scrubbed,
        )
    )
    if wanted:
        connection.execute(sa.insert(trace_documents), [{"trace_id": trace.id, "document_id": name} for name in wanted])
    return True


def _trace(connection: Connection, principal: Principal, trace_id: str) -> Trace:
    row = connection.execute(
        sa.select(trace_table).where(trace_table.c.id == trace_id, made_by(principal, trace_table))
    ).one_or_none()
    if row is None:
        raise NotFound("There is no such answer.")
    return _shown(connection, principal, row)


def _traces(connection: Connection, principal: Principal, limit: int) -> list[Trace]:
    query = sa.select(trace_table).where(made_by(principal, trace_table)).order_by(trace_table.c.id.desc()).limit(limit)
    return [_shown(connection, principal, row) for row in connection.execute(query).all()]


def _lines(connection: Connection, principal: Principal, limit: int, wanted: TraceFilter) -> TraceLines:
    columns = [trace_table.c[name] for name in ("id", "body", "question", "scrubbed")]
    query = sa.select(*columns).where(made_by(principal, trace_table))
    if wanted.before:
        query = query.where(trace_table.c.id < wanted.before)
    rows = connection.execute(query.order_by(trace_table.c.id.desc()).limit(LOOKED_AT + 1)).all()
    found: list[TraceLine] = []
    for row in rows[:LOOKED_AT]:
        if len(found) == limit:
            return TraceLines(found, found[-1].id)
        line = msgspec.structs.replace(
            msgspec.json.decode(row.body, type=TraceLine), question=row.question, scrubbed=bool(row.scrubbed)
        )
        if wanted.status in ("", line.status) and (not wanted.collection or wanted.collection in line.collections):
            found.append(line)
    return TraceLines(found, rows[LOOKED_AT - 1].id if len(rows) > LOOKED_AT else None)


def _shown(connection: Connection, principal: Principal, row: Row[Any]) -> Trace:
    """As it was, but without text of documents that this reader has lost the right to since."""
    trace = msgspec.json.decode(row.body, type=Trace)
    facts: list[Any] = from_json(row.facts) or [{}] * len(trace.stages)
    answer, hidden = row.answer, _lost(connection, principal, trace)
    if hidden:
        answer, facts = "", [{}] * len(trace.stages)
    stages = tuple(
        msgspec.structs.replace(stage, facts=found) for stage, found in zip(trace.stages, facts, strict=True)
    )
    return msgspec.structs.replace(
        trace, question=row.question, answer=answer, stages=stages, scrubbed=bool(row.scrubbed) or hidden
    )


def _lost(connection: Connection, principal: Principal, trace: Trace) -> bool:
    wanted = set(trace.document_ids)
    if principal.is_admin or not wanted:
        return False
    query = (
        sa.select(sa.func.count()).select_from(documents).where(documents.c.id.in_(sorted(wanted)), visible(principal))
    )
    return connection.execute(query).scalar_one() < len(wanted)
