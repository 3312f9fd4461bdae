"""Jobs as the people who started them see them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, Row, Select

from bascule.core.documents import Job, JobItem
from bascule.core.errors import NotFound
from bascule.core.generations import REEMBED
from bascule.core.jobs import ANY_JOB, JobFilter
from bascule.core.principals import Principal
from bascule.db.generation_rows import generations
from bascule.db.rights import visible
from bascule.db.tables import collections, documents, items, job_pauses
from bascule.db.tables import jobs as job_table
from bascule.db.values import job_of

MAX_FAILED_SHOWN = 100  # per job in a list of jobs

_OPEN = ("queued", "running")


def held_back() -> ColumnElement[bool]:
    """Of `jobs`: its collection or its source is paused."""
    by_collection = sa.and_(job_pauses.c.kind == "collection", job_pauses.c.target == job_table.c.collection_id)
    by_source = sa.and_(job_pauses.c.kind == "source", job_pauses.c.target == job_table.c.source)
    same = job_pauses.c.tenant == job_table.c.tenant
    return sa.exists().where(same, sa.or_(by_collection, by_source)).correlate(job_table)


_state = sa.case((sa.and_(job_table.c.state.in_(_OPEN), held_back()), "paused"), else_=job_table.c.state)
_ROWS = sa.select(job_table, _state.label("shown_state"), collections.c.name.label("collection")).join(
    collections, collections.c.id == job_table.c.collection_id
)


def own_jobs(principal: Principal) -> ColumnElement[bool]:
    tenant = job_table.c.tenant == principal.tenant
    if principal.is_admin:
        return tenant
    if principal.subject:
        return sa.and_(tenant, job_table.c.subject == principal.subject)
    return sa.and_(tenant, job_table.c.subject == "", job_table.c.key_id == principal.key_id, job_table.c.key_id != "")


def jobs(connection: Connection, principal: Principal, limit: int, wanted: JobFilter = ANY_JOB) -> list[Job]:
    """Newest first, each with its failed items only."""
    query = _ROWS.where(own_jobs(principal), *_wanted(wanted)).order_by(job_table.c.id.desc()).limit(limit)
    rows = connection.execute(query).all()
    failed = items.c.state == "failed"
    return [_job(connection, row, _items(principal).where(failed).limit(MAX_FAILED_SHOWN)) for row in rows]


def _wanted(wanted: JobFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.state:
        found.append(_state == wanted.state)
    if wanted.source:
        found.append(job_table.c.source == wanted.source)
    if wanted.collection:
        found.append(collections.c.name == wanted.collection)
    if wanted.after:
        found.append(job_table.c.id < wanted.after)
    return found


def progress(connection: Connection, principal: Principal, limit: int, job_id: str = "") -> list[Job]:
    """Newest first, with counts and without items, in two queries; only the one named, if one is."""
    query = _ROWS.where(own_jobs(principal)).order_by(job_table.c.id.desc()).limit(limit)
    rows = connection.execute(query.where(job_table.c.id == job_id) if job_id else query).all()
    counted = sa.select(items.c.job_id, items.c.state, sa.func.count()).group_by(items.c.job_id, items.c.state)
    counts: dict[str, dict[str, int]] = {row.id: {} for row in rows}
    for key, state, number in connection.execute(counted.where(items.c.job_id.in_(list(counts)))):
        counts[key][state] = number
    built = _built(connection, [row.id for row in rows if row.kind == REEMBED])
    return [job_of(row, *_with(built.get(row.id), counts[row.id]), ()) for row in rows]


def job(connection: Connection, principal: Principal, job_id: str) -> Job:
    """With every item. Raises NotFound."""
    row = connection.execute(_ROWS.where(job_table.c.id == job_id, own_jobs(principal))).one_or_none()
    if row is None:
        raise NotFound("There is no such job.")
    return _job(connection, row, _items(principal))


def job_row(connection: Connection, principal: Principal, job_id: str) -> Job:
    """The same for its own maker, whoever that is."""
    row = connection.execute(_ROWS.where(job_table.c.id == job_id, job_table.c.tenant == principal.tenant)).one()
    return _job(connection, row, _items(principal))


def shown_document(principal: Principal) -> ColumnElement[bool]:
    """Of `documents`: the principal may read it, or brought it itself."""
    shown = visible(principal)
    if principal.key_id and not principal.subject:
        return sa.or_(shown, documents.c.key_id == principal.key_id)
    return shown


def _items(principal: Principal) -> Select[Any]:
    """Names and reasons only of documents that `shown_document` shows; a deleted document's name is gone."""
    shown = shown_document(principal)
    name = sa.case((shown, items.c.name), else_="").label("shown_name")
    ours = items.c.state.in_(("superseded", "cancelled"))  # said in words of our own, whatever the document
    reason = sa.case((sa.or_(shown, ours), items.c.reason), else_="").label("shown_reason")
    return (
        sa.select(items, name, reason).join(documents, documents.c.id == items.c.document_id).order_by(items.c.ordinal)
    )


def _job(connection: Connection, row: Row[Any], query: Select[Any]) -> Job:
    counted = sa.select(items.c.state, sa.func.count()).where(items.c.job_id == row.id).group_by(items.c.state)
    counts = {state: number for state, number in connection.execute(counted)}
    built = _built(connection, [row.id] if row.kind == REEMBED else [])
    found = connection.execute(query.where(items.c.job_id == row.id))
    return job_of(row, *_with(built.get(row.id), counts), tuple(_item(item) for item in found))


def _built(connection: Connection, job_ids: list[str]) -> dict[str, Row[Any]]:
    """The generations of vectors that these jobs build: such a job has no items."""
    if not job_ids:
        return {}
    return {
        row.job_id: row for row in connection.execute(sa.select(generations).where(generations.c.job_id.in_(job_ids)))
    }


def _with(built: Row[Any] | None, counts: dict[str, int]) -> tuple[dict[str, int], str]:
    if built is None:
        return counts, ""
    done, left = built.embedded, max(0, built.to_embed - built.embedded)
    return {state: number for state, number in (("indexed", done), ("queued", left)) if number}, built.reason


def _item(row: Row[Any]) -> JobItem:
    return JobItem(
        id=row.id,
        job_id=row.job_id,
        document_id=row.document_id,
        name=row.shown_name,
        state=row.state,
        reason=row.shown_reason,
        attempts=row.attempts,
    )
