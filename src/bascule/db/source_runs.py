"""The last run of each source, replaced by the next."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa
from sqlalchemy import Column, Connection, Table

from bascule.core.principals import SCOPE_ADMIN, Principal
from bascule.core.sources import SourceOutcome, SourceRun
from bascule.db.engine import insert_new
from bascule.db.rights import need_scope
from bascule.db.store import Store, need_system
from bascule.db.tables import SafeText, metadata
from bascule.db.values import now_text, to_json

source_runs = Table(
    "source_runs",
    metadata,
    Column("tenant", SafeText, primary_key=True),
    Column("name", SafeText, primary_key=True),
    Column("started_at", SafeText, nullable=False),
    Column("finished_at", SafeText),
    Column("report", SafeText, nullable=False),
)


class SqlSourceRuns(Store):
    """Implements `core.sources.SourceRuns`."""

    async def begin_source_run(self, principal: Principal, name: str) -> None:
        need_system(principal)
        await self._write(lambda c: _begin(c, principal, name))

    async def end_source_run(self, principal: Principal, name: str, outcome: SourceOutcome) -> None:
        need_system(principal)
        ended = {"finished_at": now_text(), "report": to_json(outcome)}
        query = sa.update(source_runs).where(_own(principal, name)).values(ended)
        await self._write(lambda c: c.execute(query))

    async def source_runs(self, principal: Principal) -> dict[str, SourceRun]:
        need_scope(principal, SCOPE_ADMIN)
        query = sa.select(source_runs).where(source_runs.c.tenant == principal.tenant)
        return await self._read(
            lambda c: {
                row.name: SourceRun(
                    name=row.name,
                    started_at=row.started_at,
                    finished_at=row.finished_at,
                    outcome=msgspec.json.decode(row.report, type=SourceOutcome),
                )
                for row in c.execute(query)
            }
        )


def _own(principal: Principal, name: str) -> sa.ColumnElement[bool]:
    return sa.and_(source_runs.c.tenant == principal.tenant, source_runs.c.name == name)


def _begin(connection: Connection, principal: Principal, name: str) -> None:
    """What the run before said stays until this one has ended."""
    begun = {"started_at": now_text(), "finished_at": None}
    new = {"tenant": principal.tenant, "name": name, "report": "{}", **begun}
    insert_new(connection, source_runs, [new])
    connection.execute(sa.update(source_runs).where(_own(principal, name)).values(begun))
