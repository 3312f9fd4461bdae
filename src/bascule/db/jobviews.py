"""Jobs as the people who started them see them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, Row, Select

from bascule.core.documents import Job, JobItem
from bascule.core.errors import NotFound
from bascule.core.principals import Principal
from bascule.db.rights import visible
from bascule.db.tables import collections, documents, items
from bascule.db.tables import jobs as job_table
from bascule.db.values import job_of

MAX_FAILED_SHOWN = 100  # per job in a list of jobs

_ROWS = sa.select(job_table, collections.c.name.label("collection")).join(
    collections, collections.c.id == job_table.c.collection_id
)


def _own(principal: Principal) -> ColumnElement[bool]:
    tenant = job_table.c.tenant == principal.tenant
    if principal.is_admin:
        return tenant
    if principal.subject:
        return sa.and_(tenant, job_table.c.subject == principal.subject)
    return sa.and_(tenant, job_table.c.subject == "", job_table.c.key_id == principal.key_id, job_table.c.key_id != "")


def jobs(connection: Connection, principal: Principal, limit: int) -> list[Job]:
    """Newest first, each with its failed items only."""
    rows = connection.execute(_ROWS.where(_own(principal)).order_by(job_table.c.id.desc()).limit(limit)).all()
    failed = items.c.state == "failed"
    return [_job(connection, row, _items(principal).where(failed).limit(MAX_FAILED_SHOWN)) for row in rows]


def job(connection: Connection, principal: Principal, job_id: str) -> Job:
    """With every item. Raises NotFound."""
    row = connection.execute(_ROWS.where(job_table.c.id == job_id, _own(principal))).one_or_none()
    if row is None:
        raise NotFound("There is no such job.")
    return _job(connection, row, _items(principal))


def job_row(connection: Connection, principal: Principal, job_id: str) -> Job:
    """The same for its own maker, whoever that is."""
    row = connection.execute(_ROWS.where(job_table.c.id == job_id, job_table.c.tenant == principal.tenant)).one()
    return _job(connection, row, _items(principal))


def _items(principal: Principal) -> Select[Any]:
    """Names only of documents the principal may read, or brought itself; a deleted document's name is gone."""
    shown = visible(principal)
    if principal.key_id and not principal.subject:
        shown = sa.or_(shown, documents.c.key_id == principal.key_id)
    name = sa.case((shown, items.c.name), else_="").label("shown_name")
    return sa.select(items, name).join(documents, documents.c.id == items.c.document_id).order_by(items.c.ordinal)


def _job(connection: Connection, row: Row[Any], query: Select[Any]) -> Job:
    counted = sa.select(items.c.state, sa.func.count()).where(items.c.job_id == row.id).group_by(items.c.state)
    counts = {state: number for state, number in connection.execute(counted)}
    found = connection.execute(query.where(items.c.job_id == row.id))
    return job_of(row, counts, tuple(_item(item) for item in found))


def _item(row: Row[Any]) -> JobItem:
    return JobItem(
        id=row.id,
        job_id=row.job_id,
        document_id=row.document_id,
        name=row.shown_name,
        state=row.state,
        reason=row.reason,
        attempts=row.attempts,
    )
