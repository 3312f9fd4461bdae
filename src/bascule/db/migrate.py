"""Bring a database to this code's schema, once, also when several processes start together."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Connection

from bascule.core.errors import ConfigError

FOLDER: Final = Path(__file__).parent / "migrations"
HEADS: Final = {"catalogue": "0015", "calls": "0002"}  # known here, so that a start without news needs no Alembic
_ONE_AT_A_TIME: Final = threading.Lock()  # migrations speak through Alembic's `op`, of which a process has one
_ADVISORY_LOCK: Final = 0x62617363  # "basc": any constant of our own


def is_current(connection: Connection, history: str) -> bool:
    table = f"schema_{history}"
    if not sa.inspect(connection).has_table(table):
        return False
    found = connection.execute(sa.select(sa.column("version_num")).select_from(sa.table(table))).scalar()
    return bool(found == HEADS[history])


def migrate(connection: Connection, history: str) -> None:
    """Run what is missing of `history` ("catalogue" or "calls"), inside the caller's write transaction.

    Raises ConfigError when the schema is newer than this code.
    """
    from alembic.operations import Operations
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
    script = ScriptDirectory(str(FOLDER / history))

    def steps(revision: Any, _context: MigrationContext) -> Any:
        return script._upgrade_revs("head", revision)

    context = MigrationContext.configure(
        connection, opts={"version_table": f"schema_{history}", "fn": steps, "transactional_ddl": False}
    )
    known = {revision.revision for revision in script.walk_revisions()}
    current = context.get_current_revision()
    if current is not None and current not in known:
        raise ConfigError(
            f"The catalogue's schema ({current}) is newer than this version of Bascule. "
            "Install the version that wrote it, or restore a backup made by this one."
        )
    with _ONE_AT_A_TIME, Operations.context(context):
        context.run_migrations()
