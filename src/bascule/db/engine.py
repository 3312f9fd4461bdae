"""One database: its engine, its threads and its transactions. The same for SQLite and Postgres.

SQLAlchemy Core runs synchronously on a small thread pool: measured, that costs less than an async driver on both engines. On
SQLite every write goes through one thread and `BEGIN IMMEDIATE`, so that processes on one folder wait for each other instead of
failing; readers have their own threads and see a snapshot (WAL).
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, event, exc, make_url
from sqlalchemy.engine import URL

from bascule.core.errors import ConfigError, StorageError
from bascule.db.filesystem import refuse_network_folder

log = logging.getLogger(__name__)
T = TypeVar("T")

BUSY_TIMEOUT_S = 20.0
READERS = 3
POSTGRES_THREADS = 8
RETRIES = 4
WRITER_PAGES_KB = 16_000  # what a connection of SQLite's keeps in memory: the one that writes,
READER_PAGES_KB = 2_000  # and each that reads; see docs/performance.md
_WRITE = {"bascule_write": True}
_WALLED = {"bascule_walled": True}
_RETRYABLE = {"40001", "40P01"}  # serialization failure, deadlock: the transaction did nothing


class Database:
    """Transactions by function: `read(fn)` and `write(fn)` call `fn(connection)` on a thread, commit or roll back."""

    def __init__(self, url: str, *, durable: bool = True) -> None:
        """`durable`: an acknowledged commit survives loss of power (SQLite `synchronous=FULL`).

        Raises ConfigError for a URL of another engine or a SQLite file on a network file system.
        """
        parsed = _parse(url)
        self.sqlite = parsed.get_backend_name() == "sqlite"
        self.walled = False  # see db/wall.py
        self.engine = _sqlite_engine(parsed, durable, READER_PAGES_KB) if self.sqlite else _postgres_engine(parsed)
        # One connection writes, so that one alone keeps many pages; from a pool for all, each would come to.
        self._writing = _sqlite_engine(parsed, durable, WRITER_PAGES_KB) if self.sqlite else self.engine
        threads = READERS if self.sqlite else POSTGRES_THREADS
        self._readers = ThreadPoolExecutor(threads, thread_name_prefix="catalogue-read")
        self._writers = ThreadPoolExecutor(1, thread_name_prefix="catalogue-write") if self.sqlite else self._readers

    async def read(self, work: Callable[[Connection], T], *, walled: bool = False) -> T:
        """`work` in one read transaction (one snapshot). Raises StorageError when the database does not answer. `walled`: on
        Postgres it sees nothing until it says for whom it reads (db/wall.py)."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self.read_now, work, walled)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """`work` in one write transaction, again from its start after a deadlock. Raises StorageError."""
        return await asyncio.get_running_loop().run_in_executor(self._writers, self.write_now, work)

    def read_now(self, work: Callable[[Connection], T], walled: bool = False) -> T:
        level: dict[str, Any] = {} if self.sqlite else {"isolation_level": "REPEATABLE READ"}
        return self._attempt(self.engine, work, level | (_WALLED if walled else {}))

    def write_now(self, work: Callable[[Connection], T]) -> T:
        for attempt in range(RETRIES):
            try:
                return self._attempt(self._writing, work, _WRITE)
            except _Retry:
                time.sleep(random.uniform(0.005, 0.02) * 2**attempt)
        raise StorageError("The catalogue is too busy. Try again.")

    def _attempt(self, engine: Engine, work: Callable[[Connection], T], options: dict[str, Any]) -> T:
        try:
            with engine.connect().execution_options(**options) as connection, connection.begin():
                return work(connection)
        except exc.DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) in _RETRYABLE:
                raise _Retry from error
            log.warning("catalogue: %s", type(error.orig).__name__)
            raise StorageError("The catalogue did not answer.") from error
        except exc.SQLAlchemyError as error:
            log.warning("catalogue: %s", type(error).__name__)
            raise StorageError("The catalogue did not answer.") from error

    async def close(self) -> None:
        """Waits for transactions under way."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._readers.shutdown()
        self._writers.shutdown()
        self.engine.dispose()
        self._writing.dispose()


class _Retry(Exception):
    """The transaction was rolled back whole and may be run again."""


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except exc.ArgumentError:
        raise ConfigError("catalogue.url is not a database URL. Example: postgresql+psycopg://user@host/name") from None
    if parsed.get_backend_name() == "sqlite":
        return parsed.set(drivername="sqlite")
    if parsed.get_backend_name() == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    raise ConfigError("catalogue.url must be a SQLite or a Postgres URL.")


def _sqlite_engine(url: URL, durable: bool, pages_kb: int) -> Engine:
    if not url.database or url.database == ":memory:":
        raise ConfigError("catalogue.url: a SQLite catalogue needs a file.")
    _create_private(Path(url.database).absolute())
    engine = sa.create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None  # BEGIN is ours: the driver's own begins too late and never IMMEDIATE
        cursor = connection.cursor()
        _enter_wal(cursor)
        cursor.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute(f"PRAGMA cache_size = -{pages_kb}")
        cursor.execute("PRAGMA secure_delete = ON")  # law 4: a deleted text leaves no bytes in the file's free pages
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        write = connection.get_execution_options().get("bascule_write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


def _create_private(file: Path) -> None:
    """Nobody but the owner may read it, whatever the umask; SQLite gives its companion files the same mode."""
    refuse_network_folder(file.parent)
    try:
        # Only a new file: closing a descriptor of a file in use would drop SQLite's locks on it.
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        if not (file.is_file() and os.access(file, os.R_OK | os.W_OK)):
            raise ConfigError("The catalogue's file cannot be opened for writing.") from None
    except OSError as error:
        raise ConfigError(f"The catalogue's file cannot be opened for writing: {error.strerror}.") from error


def _enter_wal(cursor: sqlite3.Cursor) -> None:
    """The switch of a new file does not wait for other processes by itself, whatever the busy timeout."""
    last = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > last:
                raise
            time.sleep(0.02)


def _postgres_engine(url: URL) -> Engine:
    try:
        engine = sa.create_engine(
            url, pool_size=POSTGRES_THREADS, max_overflow=0, pool_pre_ping=True, connect_args={"connect_timeout": 10}
        )
    except ModuleNotFoundError:
        raise ConfigError("A Postgres catalogue needs its driver: pip install 'bascule[postgres]'") from None

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # Row-level security is forced: without this word the tables' owner sees nothing either.
        if not connection.get_execution_options().get("bascule_walled"):
            connection.exec_driver_sql("SET LOCAL bascule.work = 'on'")

    return engine


def insert_new(connection: Connection, table: sa.Table, rows: list[dict[str, Any]]) -> None:
    """Insert the rows that are not there yet; a row that collides with any unique key is left out."""
    if not rows:
        return
    dialect = connection.dialect.name
    if dialect == "sqlite":
        from sqlalchemy.dialects.sqlite import insert as sqlite_insert

        connection.execute(sqlite_insert(table).on_conflict_do_nothing(), rows)
    else:
        from sqlalchemy.dialects.postgresql import insert as postgres_insert

        connection.execute(postgres_insert(table).on_conflict_do_nothing(), rows)
