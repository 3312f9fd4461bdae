"""The second wall, on Postgres: questions and lists are read as a role that row-level security binds.

The queries themselves ask for tenant and rights (law 1, law 2). Here the database asks once more: a read for a principal gives up
the login's role for `bascule_reader`, for its transaction, and the policies (migration `wall`) show that role nothing but what the
transaction's principal may read. Whoever forgets a filter gets nothing that is not theirs. Background work keeps the login's own
role, which owns the tables; row-level security is forced (migration `forced`), so that the owner sees and writes nothing either
until its transaction says that this is our own work (`SET LOCAL bascule.work`). No such word opens the role of the reader.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from typing import Final, Literal

import sqlalchemy as sa
from sqlalchemy import Connection

from bascule.core.errors import StorageError
from bascule.core.principals import Principal
from bascule.db.engine import Database

log = logging.getLogger(__name__)

ROLE: Final = "bascule_reader"
TABLES: Final = ("acls", "acl_entries", "collections", "documents", "chunks")
WallState = Literal["none", "missing", "superuser", "stands"]
_ADVISORY_LOCK: Final = 0x77616C6C  # "wall": two sessions may not grant on one table at once

_ENTER: Final = sa.text(
    "SELECT set_config('bascule.tenant', :tenant, true), set_config('bascule.subject', :subject, true), "
    "set_config('bascule.marks', :marks, true), set_config('bascule.shutting', :shutting, true), "
    "set_config('bascule.admin', :admin, true), "
    f"set_config('role', '{ROLE}', true)"
)
_MAKE: Final = f"""DO $$ BEGIN
  IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = '{ROLE}') THEN CREATE ROLE {ROLE} NOLOGIN; END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$"""


def enter(connection: Connection, principal: Principal) -> None:
    """From here to its end, the transaction sees only what this principal may read."""
    values = {
        "tenant": _storable(principal.tenant),
        "subject": _storable(principal.subject),
        "marks": _listed(principal.marks()),
        "shutting": _listed(principal.shutting_marks()),
        "admin": "on" if principal.is_admin else "off",
    }
    connection.execute(_ENTER, values)


def _listed(marks: Iterable[str]) -> str:
    return json.dumps([_storable(mark) for mark in sorted(marks)], ensure_ascii=False)


def _storable(value: str) -> str:
    """As `tables.SafeText` keeps it: the policies compare with what is stored."""
    return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


async def raise_wall(database: Database) -> None:
    """Make the role and its rights where they are lacking and the login may; from then on `database` reads behind it.

    Without the right to, nothing changes and the log says so: `bascule doctor` names what to run.
    """
    if database.sqlite:
        return
    if not await database.read(_reaches):
        try:
            await database.write(_grant)
        except StorageError:
            log.warning("row-level security is not in force: this login may not make or use the role %s", ROLE)
            return
    database.walled = True


def _reaches(connection: Connection) -> bool:
    """The login may become the role, and the role may read the tables."""
    if not connection.execute(sa.text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": ROLE}).scalar():
        return False
    reads = " AND ".join(f"has_table_privilege('{ROLE}', '{table}', 'SELECT')" for table in TABLES)
    return bool(connection.execute(sa.text(f"SELECT {_may_become(connection)} AND {reads}")).scalar())


def _may_become(connection: Connection) -> str:
    # Since 16, whoever makes a role may administer it, and not yet become it.
    version = connection.dialect.server_version_info or (0,)
    return f"pg_has_role(current_user, '{ROLE}', '{'SET' if version >= (16,) else 'MEMBER'}')"


def _grant(connection: Connection) -> None:
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
    if _reaches(connection):
        return
    connection.execute(sa.text(_MAKE))
    if not connection.execute(sa.text(f"SELECT {_may_become(connection)}")).scalar():
        connection.execute(sa.text(f"GRANT {ROLE} TO CURRENT_USER"))
    schema = connection.execute(sa.text("SELECT quote_ident(current_schema())")).scalar_one()
    connection.execute(sa.text(f"GRANT USAGE ON SCHEMA {schema} TO {ROLE}"))
    connection.execute(sa.text(f"GRANT SELECT ON {', '.join(TABLES)} TO {ROLE}"))


async def wall_state(database: Database) -> WallState:
    """`none`: SQLite has no such thing. `superuser`: reads are walled, and any statement of that login could leave the wall."""
    if database.sqlite:
        return "none"
    return await database.read(_state)


def _state(connection: Connection) -> WallState:
    secured = sa.text(
        "SELECT count(*) FROM pg_class WHERE relrowsecurity AND relforcerowsecurity AND relname = ANY (:tables) "
        "AND relnamespace = current_schema()::regnamespace"
    )
    if connection.execute(secured, {"tables": list(TABLES)}).scalar() != len(TABLES) or not _reaches(connection):
        return "missing"
    above = sa.text("SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user")
    return "superuser" if connection.execute(above).scalar() else "stands"
