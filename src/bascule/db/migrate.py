"""Bring a database to this code's schema, once, also when several processes start together."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection

from bascule.core.errors import ConfigError

FOLDER: Final = Path(__file__).parent / "migrations"
_ADVISORY_LOCK: Final = 0x62617363  # "basc": any constant of our own


def migrate(connection: Connection, history: str) -> None:
    """Run what is missing of `history` ("catalogue" or "calls"), inside the caller's write transaction.

    Raises ConfigError when the schema is newer than this code.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
    script = ScriptDirectory(str(FOLDER / history))

    def steps(revision: Any, _context: MigrationContext) -> Any:
        return script._upgrade_revs("head", revision)

    context = MigrationContext.configure(
        connection, opts={"version_table": f"schema_{history}", "fn": steps, "transactional_ddl": False}
    )
    current = context.get_current_revision()
    _refuse_newer(script, current)
    if current == script.get_current_head():
        return
    with Operations.context(context):
        context.run_migrations()


def _refuse_newer(script: ScriptDirectory, current: str | None) -> None:
    try:
        script.get_revision(current or "base")
    except CommandError:
        raise ConfigError(
            f"The catalogue's schema ({current}) is newer than this version of Bascule. "
            "Install the version that wrote it, or restore a backup made by this one."
        ) from None
