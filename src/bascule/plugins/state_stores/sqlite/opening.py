"""From a path to a connection whose tables are there."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path
from typing import Final

from bascule.core.errors import ConfigError

VERSION: Final = 1
RETRY_S: Final = 0.02
DAMAGED: Final = (
    "state_store: the file is damaged, or is no state file of this version. Stop every server that uses it, move it away with its "
    "-wal and -shm files (kept answers and counted use then begin anew), or set another state_store.path; then start again."
)
# Sizes and tags follow the entries by triggers, so that no way of removing one can forget them.
_TABLES: Final = (
    """CREATE TABLE entries (key TEXT PRIMARY KEY, value BLOB NOT NULL, expires_us INTEGER NOT NULL, used_us INTEGER NOT NULL,
                      size_bytes INTEGER NOT NULL, fence INTEGER NOT NULL)""",
    "CREATE INDEX entries_expires ON entries (expires_us)",
    "CREATE INDEX entries_used ON entries (used_us)",
    "CREATE TABLE tags (tag TEXT NOT NULL, key TEXT NOT NULL, PRIMARY KEY (tag, key)) WITHOUT ROWID",
    "CREATE INDEX tags_key ON tags (key)",
    "CREATE TABLE purged (tag TEXT PRIMARY KEY, ends_us INTEGER NOT NULL, at_us INTEGER NOT NULL)",
    "CREATE INDEX purged_ends ON purged (ends_us)",
    "CREATE TABLE rates (key TEXT PRIMARY KEY, level REAL NOT NULL, at_us INTEGER NOT NULL, ends_us INTEGER NOT NULL)",
    "CREATE INDEX rates_ends ON rates (ends_us)",
    "CREATE TABLE held (key TEXT NOT NULL, ends_us INTEGER NOT NULL, amount REAL NOT NULL, PRIMARY KEY (key, ends_us))",
    "CREATE INDEX held_ends ON held (ends_us)",
    """CREATE TABLE reservations (id TEXT NOT NULL, place INTEGER NOT NULL, key TEXT NOT NULL, ends_us INTEGER NOT NULL,
                           amount REAL NOT NULL, lease_us INTEGER NOT NULL, PRIMARY KEY (id, place)) WITHOUT ROWID""",
    "CREATE INDEX reservations_lease ON reservations (lease_us)",
    """CREATE TABLE leases (key TEXT PRIMARY KEY, token INTEGER NOT NULL, until_us INTEGER NOT NULL, done_us INTEGER,
                     free INTEGER NOT NULL DEFAULT 0, ends_us INTEGER NOT NULL)""",
    "CREATE INDEX leases_ends ON leases (ends_us)",
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    "INSERT INTO meta VALUES ('size_bytes', 0), ('token', 0)",
    """CREATE TRIGGER entries_added AFTER INSERT ON entries BEGIN
  UPDATE meta SET value = value + new.size_bytes WHERE name = 'size_bytes';
END;""",
    """CREATE TRIGGER entries_removed AFTER DELETE ON entries BEGIN
  UPDATE meta SET value = value - old.size_bytes WHERE name = 'size_bytes';
  DELETE FROM tags WHERE key = old.key;
END;""",
)


def open_file(path: Path, timeout_s: float) -> sqlite3.Connection:
    """Blocks. Usable from any one thread at a time. Raises ConfigError, without the path."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Only a new file: closing a descriptor of a file in use would drop SQLite's locks on it.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        pass
    except OSError as error:
        raise ConfigError(f"state_store.path: the file cannot be made ({error.strerror}): correct it") from None
    try:
        db = sqlite3.connect(path, timeout=timeout_s, isolation_level=None, check_same_thread=False)
    except sqlite3.Error:
        raise ConfigError(
            "state_store.path: the file cannot be opened: see that it is a file this user may write"
        ) from None
    try:
        _prepare(db, timeout_s)
    except sqlite3.OperationalError as error:
        db.close()
        raise ConfigError(
            f"state_store: the file cannot be used ({error}): see that it is writable, on a local disk"
        ) from None
    except sqlite3.DatabaseError:
        db.close()
        raise ConfigError(DAMAGED) from None
    except ConfigError:
        db.close()
        raise
    return db


def _prepare(db: sqlite3.Connection, timeout_s: float) -> None:
    _to_wal(db, time.monotonic() + timeout_s)
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute("PRAGMA secure_delete = ON")  # removed text is overwritten
    if _version(db):
        return
    db.execute("BEGIN IMMEDIATE")  # of several processes that start at once, one makes the tables
    try:
        if not _version(db):
            for statement in _TABLES:
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {VERSION}")
            db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


def _version(db: sqlite3.Connection) -> int:
    """0: a new file. Raises ConfigError for a file of something else."""
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if version not in (0, VERSION) or (version == 0 and tables) or (version and not {"entries", "leases"} <= tables):
        raise ConfigError(DAMAGED)
    return version


def _to_wal(db: sqlite3.Connection, until_s: float) -> None:
    """The change of mode does not wait for other processes by itself."""
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL").fetchone()
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until_s:
                raise
        time.sleep(RETRY_S)
