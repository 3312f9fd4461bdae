"""The index's tables, how to open them, and what their errors mean."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from bascule.core.errors import StorageError

FORMAT: Final = 1
FILE: Final = "index.sqlite"
BUSY_TIMEOUT_S: Final = 30.0
WRITER_PAGES_KB: Final = 16_000  # what a connection keeps in memory: the one that writes,
READER_PAGES_KB: Final = 4_000  # and each that reads; see docs/performance.md
BLOCK_BITS: Final = 14  # 16,384 slots share one posting row per term
TF_MAX: Final = (1 << (32 - BLOCK_BITS)) - 1

DAMAGED: Final = "The search index is damaged. Run `bascule doctor`: it can be rebuilt from the catalogue."

WAITING: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
UNREACHABLE: Final = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)

# A slot is a row of the vector files and a number in the postings. A free slot has no chunk_id; its `seq` tells readers that it
# was freed, `dirty` that its vector's bytes are still to be overwritten.
TABLES: Final = (
    "CREATE TABLE IF NOT EXISTS head (id INTEGER PRIMARY KEY CHECK (id = 1), format INTEGER NOT NULL,"
    " generation TEXT NOT NULL, seq INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS tenant (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
    "CREATE TABLE IF NOT EXISTS place (id INTEGER PRIMARY KEY, tenant INTEGER NOT NULL, collection_id TEXT NOT NULL,"
    " UNIQUE (tenant, collection_id))",
    "CREATE TABLE IF NOT EXISTS slot (slot INTEGER PRIMARY KEY, chunk_id TEXT, document_id TEXT,"
    " place INTEGER NOT NULL DEFAULT 0, acl_id INTEGER NOT NULL DEFAULT 0, dimension INTEGER NOT NULL DEFAULT 0,"
    " scale REAL NOT NULL DEFAULT 0, length INTEGER NOT NULL DEFAULT 0, freed_at REAL NOT NULL DEFAULT 0,"
    " dirty INTEGER NOT NULL DEFAULT 0, seq INTEGER NOT NULL)",
    "CREATE UNIQUE INDEX IF NOT EXISTS slot_chunk ON slot (chunk_id) WHERE chunk_id IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS slot_document ON slot (document_id) WHERE document_id IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS slot_free ON slot (freed_at) WHERE chunk_id IS NULL",
    "CREATE INDEX IF NOT EXISTS slot_dirty ON slot (slot) WHERE dirty = 1",
    "CREATE INDEX IF NOT EXISTS slot_seq ON slot (seq)",
    # What a chunk was made of, so that its postings can be found again and an upsert that changes nothing costs nothing.
    "CREATE TABLE IF NOT EXISTS source (slot INTEGER PRIMARY KEY, digest BLOB NOT NULL, vector_crc INTEGER,"
    " terms BLOB NOT NULL)",
    # data: little-endian uint32, tf << BLOCK_BITS | slot within the block, one for each chunk that has the term.
    "CREATE TABLE IF NOT EXISTS posting (tenant INTEGER NOT NULL, block INTEGER NOT NULL, term BLOB NOT NULL,"
    " data BLOB NOT NULL, PRIMARY KEY (tenant, block, term)) WITHOUT ROWID",
)


class Head(msgspec.Struct, frozen=True):
    """Which set of vector files belongs to the tables, and how many transactions have changed them."""

    generation: str
    seq: int


def read_head(connection: sqlite3.Connection) -> Head:
    row = connection.execute("SELECT format, generation, seq FROM head").fetchone()
    if row is None or row[0] != FORMAT:
        raise StorageError(DAMAGED)
    return Head(row[1], row[2])


def open_index(path: Path, *, timeout_s: float = BUSY_TIMEOUT_S) -> sqlite3.Connection:
    """A connection in autocommit mode with every table there. Usable from any one thread at a time."""
    _make(path)
    connection = sqlite3.connect(path, timeout=timeout_s, isolation_level=None, check_same_thread=False)
    try:
        _use_wal(connection, timeout_s)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute(f"PRAGMA cache_size = -{READER_PAGES_KB}")
        connection.execute("PRAGMA journal_size_limit = 67108864")
        if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'posting'").fetchone() is None:
            _create(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _make(path: Path) -> None:
    """What SQLite makes itself, all may read. Never opened where it is there: closing it again would drop the locks of every
    connection of this process, and another process, believing itself alone, would take the log away under them."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _use_wal(connection: sqlite3.Connection, timeout_s: float) -> None:
    """SQLite does not wait by itself when two processes switch a new file to WAL at once."""
    end_s = time.monotonic() + timeout_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end_s:
                raise
            time.sleep(0.005)


def _create(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for statement in TABLES:
        connection.execute(statement)
    connection.execute("INSERT OR IGNORE INTO head VALUES (1, ?, ?, 1)", (FORMAT, uuid.uuid4().hex))
    connection.execute("COMMIT")


@contextmanager
def writing(connection: sqlite3.Connection) -> Generator[Head]:
    """One write transaction, alone among all processes; yields the head with this transaction's own number.

    One that changes nothing takes no number and costs no flush.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        before = connection.total_changes
        head = read_head(connection)
        yield Head(head.generation, head.seq + 1)
        if connection.total_changes != before:
            connection.execute("UPDATE head SET seq = ?", (head.seq + 1,))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def reading(connection: sqlite3.Connection) -> Generator[Head]:
    """One consistent view of the tables."""
    connection.execute("BEGIN")
    try:
        yield read_head(connection)
    finally:
        if connection.in_transaction:
            connection.execute("COMMIT")


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file itself is bad; a busy, full or unreachable one is not."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF not in (*WAITING, *UNREACHABLE)


@contextmanager
def explained() -> Generator[None]:
    """Turn what SQLite and the file system say into a StorageError that says what to do. It names no path."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in WAITING:
            raise StorageError("The search index is busy: another process is writing to it. Try again.") from error
        if code in UNREACHABLE:
            raise StorageError(
                "The search index cannot be read or written. Check the disk's space and rights."
            ) from error
        raise StorageError(DAMAGED) from error
    except OSError as error:
        raise StorageError("The search index cannot be read or written. Check the disk's space and rights.") from error
