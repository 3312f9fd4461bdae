"""The catalogue: every port of `core.catalogue` over one SQL database, and the call log over another."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from sqlalchemy import Connection

from bascule.core.errors import StorageError
from bascule.db.alike import SqlAlikes
from bascule.db.audit import SqlAudit
from bascule.db.calls import SqlCalls
from bascule.db.directory import SqlDirectory
from bascule.db.documents import SqlDocuments
from bascule.db.engine import Database
from bascule.db.evaluations import SqlEvaluations
from bascule.db.feedback import SqlFeedback
from bascule.db.generations import SqlGenerations
from bascule.db.jobcontrol import SqlJobControl
from bascule.db.keys import SqlKeys
from bascule.db.migrate import is_current, migrate
from bascule.db.named import SqlNamed
from bascule.db.passages import SqlPassages
from bascule.db.remains import SqlRemains
from bascule.db.reprocess import SqlReprocess
from bascule.db.retention import SqlRetention
from bascule.db.rights_admin import SqlLevels
from bascule.db.routes import SqlRoutes
from bascule.db.scim import SqlScimUsers
from bascule.db.scim_groups import SqlScimGroups
from bascule.db.source_runs import SqlSourceRuns
from bascule.db.sources import SqlSources
from bascule.db.traces import SqlTraces
from bascule.db.usage import SqlUsage
from bascule.db.wall import WallState, raise_wall, wall_state
from bascule.db.work import SqlWork


class SqlCatalogue(
    SqlPassages,
    SqlTraces,
    SqlEvaluations,
    SqlFeedback,
    SqlDocuments,
    SqlAlikes,
    SqlNamed,
    SqlSources,
    SqlSourceRuns,
    SqlJobControl,
    SqlWork,
    SqlGenerations,
    SqlReprocess,
    SqlRetention,
    SqlKeys,
    SqlDirectory,
    SqlScimUsers,
    SqlScimGroups,
    SqlLevels,
    SqlRoutes,
    SqlRemains,
    SqlAudit,
    SqlCalls,
    SqlUsage,
):
    """Implements `core.catalogue.Catalogue` and `CallLog` on SQLite or Postgres. Made by `connect`."""

    def __init__(self, database: Database, call_database: Database) -> None:
        super().__init__(database)
        self._call_database = call_database

    async def wall(self) -> WallState:
        """Whether the database's own row-level security stands behind the reads for a principal."""
        return await wall_state(self._database)


@asynccontextmanager
async def connect(url: str, calls_url: str) -> AsyncGenerator[SqlCatalogue]:
    """Open (and create or migrate) both databases. The URLs are SQLAlchemy's, `sqlite:///PATH` or `postgresql://...`; they
    may be the same one on Postgres.

    Raises ConfigError for a URL, a place or a schema this code cannot use, StorageError when a database does not answer.
    """
    database = Database(url)
    try:
        call_database = Database(calls_url, durable=False)
        try:
            await _prepare(database, "catalogue")
            await _prepare(call_database, "calls")
            await raise_wall(database)
            yield SqlCatalogue(database, call_database)
        finally:
            await call_database.close()
    finally:
        await database.close()


async def _prepare(database: Database, history: str) -> None:
    def bring_up(connection: Connection) -> None:
        migrate(connection, history)

    try:
        if not await database.read(lambda c: is_current(c, history)):
            await database.write(bring_up)
    except StorageError as error:
        raise StorageError(
            f"The {history} database cannot be opened. Check that it exists, is not damaged, and that its URL is right."
        ) from error
