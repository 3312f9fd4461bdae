"""Jobs held back, let go, given up and tried again, by those who may.

Documents are locked before items, in the order of their ids, as a commit and a delete do: so that a commit under way either
ends first or finds its item ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, Row, Select

from bascule.core.documents import Job
from bascule.core.errors import Conflict, NotFound
from bascule.core.generations import REPROCESS
from bascule.core.jobs import ANY_JOB, JobFilter, JobPause, PauseKind, Quarantined
from bascule.core.principals import SCOPE_ADMIN, SCOPE_INGEST, Principal
from bascule.db.audit import write_audit
from bascule.db.engine import insert_new
from bascule.db.generations import abandon
from bascule.db.jobviews import job, own_jobs, progress, shown_document
from bascule.db.rights import need_scope
from bascule.db.store import Store
from bascule.db.tables import collections, documents, items, job_pauses
from bascule.db.tables import jobs as job_table
from bascule.db.values import now_text

OPEN_ITEMS: Final = ("queued", "running")
GIVEN_UP: Final = ("failed", "cancelled")
CANCELLED: Final = "Its job was cancelled. Retry the job, or send the document again."
_LOCKED_AT_ONCE: Final = 500


class SqlJobControl(Store):
    async def retry_job(self, principal: Principal, job_id: str) -> Job:
        return await self._act(principal, job_id, "retry")

    async def cancel_job(self, principal: Principal, job_id: str) -> Job:
        return await self._act(principal, job_id, "cancel")

    async def pause_job(self, principal: Principal, job_id: str) -> Job:
        return await self._act(principal, job_id, "pause")

    async def resume_job(self, principal: Principal, job_id: str) -> Job:
        return await self._act(principal, job_id, "resume")

    async def _act(self, principal: Principal, job_id: str, act: str) -> Job:
        need_scope(principal, SCOPE_INGEST)
        return await self._write(lambda c: _acted(c, principal, job_id, act))

    async def pause_jobs(self, principal: Principal, kind: PauseKind, name: str) -> None:
        """Those to come are held back as well. Pausing twice changes nothing.
        Raises ScopeMissing without admin, NotFound for a collection that does not exist."""
        need_scope(principal, SCOPE_ADMIN)
        await self._write(lambda c: _pause_all(c, principal, kind, name))

    async def resume_jobs(self, principal: Principal, kind: PauseKind, name: str) -> None:
        """Raises as `pause_jobs`."""
        need_scope(principal, SCOPE_ADMIN)
        await self._write(lambda c: _resume_all(c, principal, kind, name))

    async def job_pauses(self, principal: Principal) -> list[JobPause]:
        need_scope(principal, SCOPE_ADMIN)
        return await self._read(lambda c: _pauses(c, principal))

    async def quarantine(self, principal: Principal, limit: int, wanted: JobFilter = ANY_JOB) -> list[Quarantined]:
        return await self._read(lambda c: _quarantine(c, principal, limit, wanted))

    async def retry_quarantine(self, principal: Principal, wanted: JobFilter = ANY_JOB) -> int:
        need_scope(principal, SCOPE_INGEST)
        return await self._write(lambda c: _retry_quarantine(c, principal, wanted))

    async def job_progress(self, principal: Principal, limit: int, job_id: str = "") -> list[Job]:
        return await self._read(lambda c: progress(c, principal, limit, job_id))


def _acted(connection: Connection, principal: Principal, job_id: str, act: str) -> Job:
    query = sa.select(job_table).where(job_table.c.id == job_id, own_jobs(principal)).with_for_update()
    row = connection.execute(query).one_or_none()
    if row is None:
        raise NotFound("There is no such job.")
    _ACTS[act](connection, row)
    write_audit(connection, principal, f"job.{act}", job_id, {})
    return job(connection, principal, job_id)


def _pause(connection: Connection, row: Row[Any]) -> None:
    if row.finished_at is not None:
        raise Conflict("The job has ended.")
    _set(connection, row.id, state="paused")


def _resume(connection: Connection, row: Row[Any]) -> None:
    if row.finished_at is not None:
        raise Conflict("The job has ended. Retry it to work on what failed.")
    if row.state == "paused":
        _set(connection, row.id, state="queued")


def _cancel(connection: Connection, row: Row[Any]) -> None:
    if row.state == "cancelled":
        return
    if row.finished_at is not None:
        raise Conflict("The job has ended.")
    abandon(connection, row.id)
    held = _lock(connection, items.c.job_id == row.id, items.c.state.in_(OPEN_ITEMS))
    for part in _parts([item_id for _, item_id in held]):
        ended = {"state": "cancelled", "reason": CANCELLED, "code": "cancelled"}
        open_now = sa.and_(items.c.id.in_(part), items.c.state.in_(OPEN_ITEMS))
        connection.execute(sa.update(items).where(open_now).values(ended))
        # What was not begun is failed, so that the same content sent again is worked on; what was only to be prepared
        # again is searched as it was.
        given_up = sa.select(items.c.id).where(items.c.id.in_(part), items.c.state == "cancelled")
        connection.execute(
            sa.update(documents)
            .where(documents.c.item_id.in_(given_up), documents.c.deleted_at.is_(None))
            .values(_as_before() if row.kind == REPROCESS else {"state": "failed", "reason": CANCELLED})
        )
    _set(connection, row.id, state="cancelled", finished_at=now_text())


def _as_before() -> dict[str, Any]:
    return {"state": sa.case((documents.c.served_hash == documents.c.content_hash, "indexed"), else_="failed")}


def _retry(connection: Connection, row: Row[Any]) -> None:
    if not _requeue(connection, _lock(connection, items.c.job_id == row.id, items.c.state.in_(GIVEN_UP))):
        raise Conflict("None of the job's documents can be tried again: none failed, or newer versions have come.")


_ACTS: Final = {"retry": _retry, "cancel": _cancel, "pause": _pause, "resume": _resume}


def _requeue(connection: Connection, held: Sequence[tuple[str, str]]) -> int:
    """Back into the queue with what was given up: only of live documents of which nothing newer was accepted."""
    done = 0
    for part in _parts([item_id for _, item_id in held]):
        current = sa.select(documents.c.item_id).where(documents.c.item_id.in_(part), documents.c.deleted_at.is_(None))
        again = list(
            connection.execute(
                sa.select(items.c.id).where(items.c.id.in_(current), items.c.state.in_(GIVEN_UP))
            ).scalars()
        )
        fresh = {"state": "queued", "reason": "", "code": "", "attempts": 0}
        connection.execute(sa.update(items).where(items.c.id.in_(again)).values(fresh))
        waiting = {"state": "queued", "reason": "", "updated_at": now_text()}
        connection.execute(sa.update(documents).where(documents.c.item_id.in_(again)).values(waiting))
        jobs = sa.select(items.c.job_id).where(items.c.id.in_(again))
        open_again = {"state": "queued", "finished_at": None}
        ended = sa.and_(job_table.c.id.in_(jobs), job_table.c.finished_at.is_not(None))
        connection.execute(sa.update(job_table).where(ended).values(open_again))
        done += len(again)
    return done


def _lock(connection: Connection, *where: ColumnElement[bool]) -> list[tuple[str, str]]:
    """(document id, item id) of the items that match, their documents locked."""
    query = (
        sa.select(documents.c.id, items.c.id)
        .join(items, items.c.document_id == documents.c.id)
        .where(*where)
        .order_by(documents.c.id)
        .with_for_update(of=documents)
    )
    return [(document_id, item_id) for document_id, item_id in connection.execute(query)]


def _parts(ids: Sequence[str]) -> list[Sequence[str]]:
    return [ids[start : start + _LOCKED_AT_ONCE] for start in range(0, len(ids), _LOCKED_AT_ONCE)]


def _set(connection: Connection, job_id: str, **values: Any) -> None:
    connection.execute(sa.update(job_table).where(job_table.c.id == job_id).values(values))


def _target(connection: Connection, principal: Principal, kind: PauseKind, name: str) -> str:
    if kind == "source":
        return name
    query = sa.select(collections.c.id).where(collections.c.tenant == principal.tenant, collections.c.name == name)
    found = connection.execute(query).scalar()
    if found is None:
        raise NotFound("There is no such collection.")
    return str(found)


def _pause_all(connection: Connection, principal: Principal, kind: PauseKind, name: str) -> None:
    target = _target(connection, principal, kind, name)
    row = {"tenant": principal.tenant, "kind": kind, "target": target, "paused_at": now_text()}
    insert_new(connection, job_pauses, [row])
    write_audit(connection, principal, "jobs.pause", f"{kind}:{name}", {})


def _resume_all(connection: Connection, principal: Principal, kind: PauseKind, name: str) -> None:
    target = _target(connection, principal, kind, name)
    own = sa.and_(job_pauses.c.tenant == principal.tenant, job_pauses.c.kind == kind, job_pauses.c.target == target)
    connection.execute(sa.delete(job_pauses).where(own))
    write_audit(connection, principal, "jobs.resume", f"{kind}:{name}", {})


def _pauses(connection: Connection, principal: Principal) -> list[JobPause]:
    of = sa.and_(job_pauses.c.kind == "collection", collections.c.id == job_pauses.c.target)
    name = sa.func.coalesce(collections.c.name, job_pauses.c.target).label("name")
    query = sa.select(job_pauses.c.kind, name, job_pauses.c.paused_at).outerjoin(collections, of)
    query = query.where(job_pauses.c.tenant == principal.tenant).order_by(job_pauses.c.kind, name)
    return [JobPause(kind=row.kind, name=row.name, paused_at=row.paused_at) for row in connection.execute(query)]


def _given_up(principal: Principal, query: Select[Any], wanted: JobFilter) -> Select[Any]:
    query = (
        query.select_from(items)
        .join(job_table, job_table.c.id == items.c.job_id)
        .join(documents, sa.and_(documents.c.id == items.c.document_id, documents.c.item_id == items.c.id))
        .join(collections, collections.c.id == job_table.c.collection_id)
        .where(items.c.state == "failed", documents.c.deleted_at.is_(None), own_jobs(principal))
    )
    if wanted.source:
        query = query.where(job_table.c.source == wanted.source)
    if wanted.collection:
        query = query.where(collections.c.name == wanted.collection)
    return query.where(documents.c.id < wanted.after) if wanted.after else query


def _quarantine(connection: Connection, principal: Principal, limit: int, wanted: JobFilter) -> list[Quarantined]:
    shown = shown_document(principal)
    columns = sa.select(
        items.c.document_id,
        items.c.job_id,
        collections.c.name.label("collection"),
        job_table.c.source,
        sa.case((shown, items.c.name), else_="").label("name"),
        sa.case((shown, items.c.reason), else_="").label("reason"),
        items.c.code,
        items.c.attempts,
    )
    query = _given_up(principal, columns, wanted).order_by(documents.c.id.desc()).limit(limit)
    return [Quarantined(**row._mapping) for row in connection.execute(query)]


def _retry_quarantine(connection: Connection, principal: Principal, wanted: JobFilter) -> int:
    ids = list(connection.execute(_given_up(principal, sa.select(items.c.id), wanted)).scalars())
    done = 0
    for part in _parts(ids):
        done += _requeue(connection, _lock(connection, items.c.id.in_(part)))
    write_audit(connection, principal, "jobs.retry_quarantine", wanted.collection or wanted.source, {"documents": done})
    return done
