"""Call records, in a database of their own: they are many, and the catalogue's writer must not wait for them.

Texts that an operator keeps follow law 4 across the two databases: written only while their documents live, looked at once more
after the write, hidden at every read from the moment of a deletion's commit, and scrubbed by the upkeep that follows it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection

from bascule.core.calls import CallRecord, KeptText
from bascule.core.catalogue import ANY_CALL, CallFilter
from bascule.core.errors import NotFound
from bascule.core.principals import SCOPE_AUDIT, Principal
from bascule.db.engine import Database, insert_new
from bascule.db.reads import SqlReads
from bascule.db.remains import kept_texts
from bascule.db.tables import call_documents, call_texts, documents
from bascule.db.tables import calls as call_table
from bascule.db.values import from_json, to_json

FORGET_AT_ONCE = 2_000


class SqlCalls(SqlReads):
    _call_database: Database

    async def add_calls(self, records: Sequence[CallRecord]) -> None:
        rows = [
            {
                "id": record.id,
                "tenant": record.tenant,
                "subject": record.subject,
                "key_id": record.key_id,
                "started_at_s": record.started_at_s,
                "body": to_json(record if record.text is None else msgspec.structs.replace(record, text=None)),
            }
            for record in records
        ]
        kept = [record for record in records if record.text is not None]
        if not kept:
            await self._call_database.write(lambda c: insert_new(c, call_table, rows))
            return
        named = {name for record in kept for name in _documents(record)}
        dead = await self._dead(named)
        alive = [record for record in kept if dead.isdisjoint(_documents(record))]
        await self._call_database.write(lambda c: _add(c, rows, alive))
        await self.scrub_call_texts(sorted(await self._dead(named)))

    async def calls(self, principal: Principal, limit: int, wanted: CallFilter = ANY_CALL) -> list[CallRecord]:
        query = sa.select(call_table.c.body).where(own_calls(principal), *_wanted(principal, wanted))
        query = query.order_by(call_table.c.started_at_s.desc(), call_table.c.id.desc()).limit(limit)
        found = await self._call_database.read(
            lambda c: [msgspec.json.decode(body, type=CallRecord) for body in c.execute(query).scalars()]
        )
        await self.note_read(principal, "calls.read", "", of=[(call.subject, call.key_id) for call in found])
        return found

    async def call(self, principal: Principal, call_id: str) -> CallRecord:
        found = await self._call_database.read(lambda c: _call(c, principal, call_id))
        if found is None:
            raise NotFound("There is no such thing, or you may not see it.")
        record, text = found
        await self.note_read(principal, "calls.read", call_id, of=[(record.subject, record.key_id)])
        if text is None or not principal.can(SCOPE_AUDIT) or await self._dead(text.document_ids):
            return record
        return msgspec.structs.replace(record, text=text)

    async def scrub_call_texts(self, document_ids: Sequence[str]) -> None:
        """Remove every kept text that holds something of these documents."""
        if document_ids:
            await self._call_database.write(lambda c: _scrub(c, document_ids))

    async def scrub_dead_texts(self) -> None:
        """The same for whatever was deleted while nobody followed the ledger."""
        query = sa.select(call_documents.c.document_id).distinct()
        named = await self._call_database.read(lambda c: list(c.execute(query).scalars()))
        await self.scrub_call_texts(sorted(await self._dead(named)))

    async def kept_texts_of(self, document_ids: Sequence[str]) -> int:
        """How many kept texts hold something of these documents."""
        return await self._call_database.read(lambda c: kept_texts(c, document_ids))

    async def forget_calls(self, before_s: float) -> int:
        """Remove the records of calls that began before this instant, some thousands a time; how many there were."""
        gone = 0
        while True:
            found = await self._call_database.write(lambda c: _forget(c, before_s))
            gone += found
            if found < FORGET_AT_ONCE:
                return gone

    async def _dead(self, document_ids: Iterable[str]) -> set[str]:
        wanted = set(document_ids)
        if not wanted:
            return set()
        query = sa.select(documents.c.id).where(documents.c.id.in_(sorted(wanted)), documents.c.deleted_at.is_(None))
        return wanted - set(await self._read(lambda c: list(c.execute(query).scalars())))


def _documents(record: CallRecord) -> tuple[str, ...]:
    return record.text.document_ids if record.text is not None else ()


def _add(connection: Connection, rows: list[dict[str, Any]], kept: Sequence[CallRecord]) -> None:
    insert_new(connection, call_table, rows)
    texts, named = [], []
    for record in kept:
        text = record.text
        assert text is not None
        texts.append(
            {
                "call_id": record.id,
                "tenant": record.tenant,
                "prompt": text.prompt,
                "answer": text.answer,
                "documents": to_json(text.document_ids),
            }
        )
        named += [{"call_id": record.id, "document_id": name} for name in text.document_ids]
    insert_new(connection, call_texts, texts)
    insert_new(connection, call_documents, named)


def own_calls(principal: Principal) -> ColumnElement[bool]:
    tenant = call_table.c.tenant == principal.tenant
    if principal.is_admin:
        return tenant
    mine = sa.and_(call_table.c.key_id == principal.key_id, call_table.c.key_id != "")
    if principal.subject:
        mine = sa.or_(mine, call_table.c.subject == principal.subject)
    return sa.and_(tenant, mine)


def _wanted(principal: Principal, wanted: CallFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.key_id:
        found.append(call_table.c.key_id == wanted.key_id)
    for name in ("model", "outcome"):
        value = getattr(wanted, name)
        if value:  # the body is our own JSON, in one fixed spelling
            found.append(call_table.c.body.contains(f'"{name}":{to_json(value)}', autoescape=True))
    if wanted.before:
        last = sa.select(call_table.c.started_at_s).where(call_table.c.id == wanted.before, own_calls(principal))
        at_s = last.scalar_subquery()
        same = sa.and_(call_table.c.started_at_s == at_s, call_table.c.id < wanted.before)
        found.append(sa.or_(call_table.c.started_at_s < at_s, same))
    return found


def _call(connection: Connection, principal: Principal, call_id: str) -> tuple[CallRecord, KeptText | None] | None:
    body = connection.execute(
        sa.select(call_table.c.body).where(call_table.c.id == call_id, own_calls(principal))
    ).scalar_one_or_none()
    if body is None:
        return None
    row = connection.execute(sa.select(call_texts).where(call_texts.c.call_id == call_id)).one_or_none()
    text = None
    if row is not None:
        text = KeptText(prompt=row.prompt, answer=row.answer, document_ids=tuple(from_json(row.documents)))
    return msgspec.json.decode(body, type=CallRecord), text


def _scrub(connection: Connection, document_ids: Sequence[str]) -> None:
    named = call_documents.c.document_id.in_(document_ids)
    touched = list(connection.execute(sa.select(call_documents.c.call_id).where(named)).scalars())
    _remove_texts(connection, touched)


def _remove_texts(connection: Connection, call_ids: Sequence[str]) -> None:
    for start in range(0, len(call_ids), 500):
        part = call_ids[start : start + 500]
        connection.execute(sa.delete(call_texts).where(call_texts.c.call_id.in_(part)))
        connection.execute(sa.delete(call_documents).where(call_documents.c.call_id.in_(part)))


def _forget(connection: Connection, before_s: float) -> int:
    query = sa.select(call_table.c.id).where(call_table.c.started_at_s < before_s).limit(FORGET_AT_ONCE)
    ids = list(connection.execute(query).scalars())
    _remove_texts(connection, ids)
    for start in range(0, len(ids), 500):
        connection.execute(sa.delete(call_table).where(call_table.c.id.in_(ids[start : start + 500])))
    return len(ids)
