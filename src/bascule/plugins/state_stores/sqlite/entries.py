"""The cache's entries in SQLite. Each function is one step of a write transaction; times are microseconds since 1970."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

import msgspec

KEPT_US: Final = 900_000_000  # purges and tokens are remembered longer than any call takes
BATCH: Final = 200
OVERHEAD_BYTES: Final = 200  # of a row with its indexes


class Put(msgspec.Struct, frozen=True):
    key: str
    value: bytes
    ttl_us: int
    tags: Sequence[str]
    began_us: int
    fence: int


def put(db: sqlite3.Connection, now_us: int, new: Put, max_bytes: int) -> None:
    if new.fence and _outdated(db, new.key, new.fence):
        return
    db.execute("DELETE FROM entries WHERE key = ?", (new.key,))
    size_bytes = len(new.key) + len(new.value) + OVERHEAD_BYTES + sum(map(len, new.tags))
    if new.ttl_us <= 0 or size_bytes > max_bytes or any(_purged_since(db, tag, new.began_us) for tag in new.tags):
        return
    row = (new.key, new.value, now_us + new.ttl_us, now_us, size_bytes, new.fence)
    db.execute("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?)", row)
    db.executemany("INSERT OR IGNORE INTO tags VALUES (?, ?)", [(tag, new.key) for tag in new.tags])
    while _size_bytes(db) > max_bytes:
        db.execute("DELETE FROM entries WHERE rowid = (SELECT rowid FROM entries ORDER BY used_us, rowid LIMIT 1)")


def delete(db: sqlite3.Connection, key: str) -> None:
    db.execute("DELETE FROM entries WHERE key = ?", (key,))


def purge(db: sqlite3.Connection, now_us: int, tag: str) -> int:
    db.execute("INSERT OR REPLACE INTO purged VALUES (?, ?, ?)", (tag, now_us + KEPT_US, now_us))
    carrying = "key IN (SELECT key FROM tags WHERE tag = ?)"
    live = db.execute(f"SELECT count(*) FROM entries WHERE {carrying} AND expires_us > ?", (tag, now_us)).fetchone()
    db.execute(f"DELETE FROM entries WHERE {carrying}", (tag,))
    return int(live[0])


def touch(db: sqlite3.Connection, now_us: int, key: str) -> None:
    db.execute("UPDATE entries SET used_us = ? WHERE key = ?", (now_us, key))


def sweep(db: sqlite3.Connection, now_us: int) -> bool:
    """Drop what is over, at most BATCH rows of each kind. True when there may be more."""
    more = False
    for table, column in (("entries", "expires_us"), *((t, "ends_us") for t in ("purged", "rates", "leases", "held"))):
        over = (
            f"SELECT rowid FROM {table} WHERE {column} > 0 AND {column} <= ? LIMIT {BATCH}"  # 0: a slot, without an end
        )
        more |= db.execute(f"DELETE FROM {table} WHERE rowid IN ({over})", (now_us,)).rowcount >= BATCH
    return more


def _outdated(db: sqlite3.Connection, key: str, fence: int) -> bool:
    asked = (
        "SELECT 1 FROM leases WHERE key = ? AND token > ? UNION ALL SELECT 1 FROM entries WHERE key = ? AND fence > ?"
    )
    return db.execute(asked, (key, fence, key, fence)).fetchone() is not None


def _purged_since(db: sqlite3.Connection, tag: str, began_us: int) -> bool:
    return db.execute("SELECT 1 FROM purged WHERE tag = ? AND at_us >= ?", (tag, began_us)).fetchone() is not None


def _size_bytes(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT value FROM meta WHERE name = 'size_bytes'").fetchone()[0])
