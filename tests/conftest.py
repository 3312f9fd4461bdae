"""What every test shares: a new SQLite catalogue is made by the migrations once per process, and as they left it from then on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection

from bascule.db import catalogue
from bascule.db.migrate import migrate

_MADE: dict[str, list[str]] = {}


@pytest.fixture(scope="session", autouse=True)
def migrated_once() -> Iterator[None]:
    """The migrations take a fifth of a second of CPU, their statements hundreds of tests do again a hundredth."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(catalogue, "migrate", _bring_up)
        yield


def _bring_up(connection: Connection, history: str) -> None:
    """What is not empty, or no SQLite, is migrated as ever."""
    if connection.dialect.name != "sqlite" or connection.exec_driver_sql("SELECT 1 FROM sqlite_master").first():
        migrate(connection, history)
    elif history in _MADE:
        for statement in _MADE[history]:
            connection.exec_driver_sql(statement)
    else:
        migrate(connection, history)
        raw = connection.connection.dbapi_connection
        assert raw is not None
        _MADE[history] = [line for line in raw.iterdump() if line not in ("BEGIN TRANSACTION;", "COMMIT;")]
