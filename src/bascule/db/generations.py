"""A generation of vectors from its beginning to the switch, and the clearing away of what it replaced.

Locks are taken in the order job, collection, generation, documents: a commit of a document holds its collection, so that none
falls between the last look and the switch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from bascule.core.documents import Collection, Job
from bascule.core.errors import Conflict, NotFound
from bascule.core.generations import REEMBED, CollectionFacts, EmbeddedBy, ReembedStep, Unembedded
from bascule.core.ids import new_id
from bascule.core.jobs import BULK
from bascule.core.principals import SCOPE_ADMIN, Principal
from bascule.db.audit import write_audit
from bascule.db.collection_facts import collection_facts, named
from bascule.db.engine import insert_new
from bascule.db.generation_rows import BUILDING, CURRENT, RETIRED, generations, in_collection, lacks_vector
from bascule.db.jobviews import held_back, job_row
from bascule.db.outbox import queue_change
from bascule.db.rights import need_scope
from bascule.db.store import Store, need_system
from bascule.db.tables import chunks, collections, documents, outbox, vectors
from bascule.db.tables import jobs as job_table
from bascule.db.values import COLLECTION_ROWS, collection_of, from_json, indexed_text, instant_text, now_text

_OPEN: Final = ("queued", "running")


class SqlGenerations(Store):
    """Implements `core.generations.Generations`."""

    async def start_reembed(self, principal: Principal, name: str, wanted: EmbeddedBy) -> Job:
        need_scope(principal, SCOPE_ADMIN)
        return await self._write(lambda c: _start(c, principal, name, wanted))

    async def collection_facts(self, principal: Principal, name: str | None = None) -> list[CollectionFacts]:
        need_scope(principal, SCOPE_ADMIN)
        return await self._read(lambda c: collection_facts(c, principal, name))

    async def misfits(self, fingerprint: str) -> list[Collection]:
        building = sa.exists().where(generations.c.collection_id == collections.c.id, generations.c.state == BUILDING)
        others = (collections.c.fingerprint != fingerprint, collections.c.declined != fingerprint)
        query = COLLECTION_ROWS.where(*others, collections.c.pin == "", ~building.correlate(collections))
        return await self._read(lambda c: [collection_of(row) for row in c.execute(query.order_by(collections.c.id))])

    async def reembed_step(self, principal: Principal, job_id: str, after: str, limit: int) -> ReembedStep | None:
        need_system(principal)
        return await self._read(lambda c: _step(c, job_id, after, limit))

    async def put_vectors(
        self, principal: Principal, job_id: str, chunks: Sequence[Unembedded], made: Mapping[str, bytes]
    ) -> None:
        need_system(principal)
        await self._write(lambda c: _put(c, job_id, chunks, made))

    async def switch(self, principal: Principal, job_id: str) -> bool:
        need_system(principal)
        return await self._write(lambda c: _switch(c, principal, job_id))

    async def reembed_failed(self, principal: Principal, job_id: str, reason: str, *, give_up: bool) -> None:
        need_system(principal)
        await self._write(lambda c: _failed(c, job_id, reason, give_up))

    async def clear_retired(self, older_than_s: float, limit: int) -> int:
        before = instant_text(datetime.now(UTC) - timedelta(seconds=older_than_s))
        return await self._write(lambda c: _clear(c, before, limit))


def _start(connection: Connection, principal: Principal, name: str, wanted: EmbeddedBy) -> Job:
    query = sa.select(collections).where(named(principal.tenant, name)).with_for_update()
    target = connection.execute(query).one_or_none()
    if target is None:
        raise NotFound("There is no such collection.")
    known = connection.execute(sa.select(generations).where(generations.c.collection_id == target.id)).all()
    under_way = next((row for row in known if row.state == BUILDING), None)
    if under_way is not None:
        if under_way.fingerprint != wanted.fingerprint:
            raise Conflict("The collection is being embedded with another model. Cancel that job first.")
        return job_row(connection, principal, under_way.job_id)
    pin = wanted.model if wanted.pinned else ""
    whole = target.fingerprint == wanted.fingerprint and not _lacks_any(connection, target.id, target.generation)
    if whole and target.pin == pin:
        raise Conflict("The collection is embedded with this model already.")
    write_audit(connection, principal, "collection.reembed", target.name, {"model": wanted.model})
    job_id = _add_job(connection, principal, target.id, ended=whole)
    if whole:
        connection.execute(sa.update(collections).where(collections.c.id == target.id).values(pin=pin))
        return job_row(connection, principal, job_id)
    connection.execute(
        sa.insert(generations).values(
            collection_id=target.id,
            generation=max([target.generation, *(row.generation for row in known)]) + 1,
            tenant=target.tenant,
            state=BUILDING,
            model=wanted.model,
            fingerprint=wanted.fingerprint,
            dimension=wanted.dimension,
            pinned=wanted.pinned,
            job_id=job_id,
            to_embed=_documents_with_chunks(connection, target.id),
        )
    )
    return job_row(connection, principal, job_id)


def _add_job(connection: Connection, principal: Principal, collection_id: str, *, ended: bool) -> str:
    job_id, at = new_id(), now_text()
    connection.execute(
        sa.insert(job_table).values(
            id=job_id,
            tenant=principal.tenant,
            collection_id=collection_id,
            kind=REEMBED,
            state="done" if ended else "queued",
            priority=BULK,
            subject=principal.subject,
            key_id=principal.key_id,
            created_at=at,
            finished_at=at if ended else None,
        )
    )
    return job_id


def _lacks_any(connection: Connection, collection_id: str, generation: int) -> bool:
    lacking = sa.select(chunks.c.id).join(documents, documents.c.id == chunks.c.document_id)
    query = lacking.where(in_collection(collection_id), lacks_vector(generation)).limit(1)
    return connection.execute(query).first() is not None


def _documents_with_chunks(connection: Connection, collection_id: str) -> int:
    query = sa.select(sa.func.count()).where(in_collection(collection_id), documents.c.chunk_count > 0)
    return int(connection.execute(query).scalar_one())


def _step(connection: Connection, job_id: str, after: str, limit: int) -> ReembedStep | None:
    row = connection.execute(
        sa.select(generations)
        .join(job_table, job_table.c.id == generations.c.job_id)
        .where(generations.c.job_id == job_id, generations.c.state == BUILDING)
        .where(job_table.c.state.in_(_OPEN), ~held_back())
    ).one_or_none()
    if row is None:
        return None
    found = connection.execute(
        sa.select(chunks.c.id, chunks.c.document_id, chunks.c.heading_path, chunks.c.text)
        .join(documents, documents.c.id == chunks.c.document_id)
        .where(in_collection(row.collection_id), documents.c.id >= after, lacks_vector(row.generation))
        .order_by(documents.c.id, chunks.c.ordinal)
        .limit(limit)
    )
    lacking = tuple(
        Unembedded(each.id, each.document_id, indexed_text(from_json(each.heading_path), each.text)) for each in found
    )
    return ReembedStep(wanted=embedded_by(row), chunks=lacking)


def embedded_by(row: Row[Any]) -> EmbeddedBy:
    return EmbeddedBy(model=row.model, fingerprint=row.fingerprint, dimension=row.dimension, pinned=bool(row.pinned))


def _open(connection: Connection, job_id: str) -> tuple[Row[Any], Row[Any]] | None:
    """The job and its generation, locked, while the job may still be worked on."""
    held = sa.select(job_table).where(job_table.c.id == job_id, job_table.c.state.in_(_OPEN)).with_for_update()
    job = connection.execute(held).one_or_none()
    own = sa.and_(generations.c.job_id == job_id, generations.c.state == BUILDING)
    row = connection.execute(sa.select(generations).where(own).with_for_update()).one_or_none()
    return None if job is None or row is None else (job, row)


def _put(connection: Connection, job_id: str, given: Sequence[Unembedded], made: Mapping[str, bytes]) -> None:
    found = _open(connection, job_id)
    if found is None:
        return
    job, row = found
    ids = sorted({each.document_id for each in given})
    live = connection.execute(
        sa.select(documents.c.id, documents.c.acl_id)
        .where(documents.c.id.in_(ids), documents.c.deleted_at.is_(None))
        .order_by(documents.c.id)
        .with_for_update()
    ).all()
    there = set(
        connection.execute(sa.select(chunks.c.id).where(chunks.c.id.in_([c.chunk_id for c in given]))).scalars()
    )
    shared = {"generation": row.generation, "fingerprint": row.fingerprint}
    new = [
        {"chunk_id": c.chunk_id, "document_id": c.document_id, "vector": made.get(c.chunk_id, b"")} | shared
        for c in given
        if c.chunk_id in there
    ]
    insert_new(connection, vectors, new)
    lacking = sa.select(chunks.c.document_id).where(chunks.c.document_id.in_(ids), lacks_vector(row.generation))
    partly = set(connection.execute(lacking.distinct()).scalars())
    whole = [document for document in live if document.id not in partly]
    for document in whole:
        queue_change(connection, "index", row.tenant, document.id, row.collection_id, document.acl_id)
    progress = {"embedded": generations.c.embedded + len(whole), "reason": ""}
    connection.execute(sa.update(generations).where(generations.c.job_id == job_id).values(progress))
    if job.state == "queued":
        connection.execute(sa.update(job_table).where(job_table.c.id == job_id).values(state="running"))


def _switch(connection: Connection, principal: Principal, job_id: str) -> bool:
    held = sa.select(job_table).where(job_table.c.id == job_id, job_table.c.state.in_(_OPEN)).with_for_update()
    job = connection.execute(held).one_or_none()
    if job is None:
        return False
    query = sa.select(collections).where(collections.c.id == job.collection_id).with_for_update()
    target = connection.execute(query).one()
    own = sa.and_(generations.c.job_id == job_id, generations.c.state == BUILDING)
    row = connection.execute(sa.select(generations).where(own).with_for_update()).one_or_none()
    if row is None or _lacks_any(connection, target.id, row.generation) or _owes_index(connection, target.id):
        return False
    _retire_current(connection, target)
    number = _documents_with_chunks(connection, target.id)
    connection.execute(
        sa.update(generations).where(own).values(state=CURRENT, embedded=number, to_embed=number, reason="")
    )
    now = {"generation": row.generation, "fingerprint": row.fingerprint, "dimension": row.dimension, "declined": ""}
    named = {"model": row.model, "pin": row.model if row.pinned else ""}
    connection.execute(sa.update(collections).where(collections.c.id == target.id).values(now | named))
    end_job(connection, job_id, "done")
    facts = {"model": row.model, "fingerprint": row.fingerprint, "before": target.fingerprint}
    write_audit(connection, principal, "collection.switch", target.name, facts)
    return True


def _owes_index(connection: Connection, collection_id: str) -> bool:
    owed = sa.select(outbox.c.seq).where(outbox.c.collection_id == collection_id, outbox.c.kind == "index").limit(1)
    return connection.execute(owed).first() is not None


def _retire_current(connection: Connection, target: Row[Any]) -> None:
    """The very first generation has no row until now."""
    was = sa.and_(generations.c.collection_id == target.id, generations.c.generation == target.generation)
    ended = {"state": RETIRED, "retired_at": now_text()}
    if connection.execute(sa.update(generations).where(was).values(ended)).rowcount:
        return
    facts = {"collection_id": target.id, "generation": target.generation, "tenant": target.tenant}
    by = {"model": target.model, "fingerprint": target.fingerprint, "dimension": target.dimension}
    connection.execute(sa.insert(generations).values(**facts, **by, **ended))


def end_job(connection: Connection, job_id: str, state: str) -> None:
    ended = {"state": state, "finished_at": now_text()}
    connection.execute(sa.update(job_table).where(job_table.c.id == job_id).values(ended))


def _failed(connection: Connection, job_id: str, reason: str, give_up: bool) -> None:
    found = _open(connection, job_id)
    if found is None:
        return
    connection.execute(sa.update(generations).where(generations.c.job_id == job_id).values(reason=reason))
    if give_up:
        abandon(connection, job_id)
        end_job(connection, job_id, "failed")


def abandon(connection: Connection, job_id: str) -> None:
    """What was built is cleared away, and is not begun again by itself. The collection goes on as it was."""
    own = sa.and_(generations.c.job_id == job_id, generations.c.state == BUILDING)
    row = connection.execute(sa.select(generations).where(own).with_for_update()).one_or_none()
    if row is None:
        return
    connection.execute(sa.update(generations).where(own).values(state=RETIRED, retired_at=now_text()))
    of = collections.c.id == row.collection_id
    connection.execute(sa.update(collections).where(of).values(declined=row.fingerprint))


def _clear(connection: Connection, before: str, limit: int) -> int:
    row = connection.execute(
        sa.select(generations)
        .where(generations.c.state == RETIRED, generations.c.retired_at <= before)
        .order_by(generations.c.retired_at)
        .limit(1)
        .with_for_update(skip_locked=True)
    ).one_or_none()
    if row is None:
        return 0
    found = connection.execute(
        sa.select(documents.c.id, documents.c.acl_id)
        .where(in_collection(row.collection_id), documents.c.id > row.cleared)
        .order_by(documents.c.id)
        .limit(limit)
        .with_for_update()
    ).all()
    own = sa.and_(generations.c.collection_id == row.collection_id, generations.c.generation == row.generation)
    if not found:
        connection.execute(sa.delete(generations).where(own))
        return 0
    ids = [document.id for document in found]
    old = sa.and_(vectors.c.document_id.in_(ids), vectors.c.generation == row.generation)
    connection.execute(sa.delete(vectors).where(old))
    for document in found:
        queue_change(connection, "trim", row.tenant, document.id, row.collection_id, document.acl_id)
    connection.execute(sa.update(generations).where(own).values(cleared=ids[-1]))
    return len(ids)
