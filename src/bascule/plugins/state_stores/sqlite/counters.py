"""Rates, reservations and leases in SQLite. Each function is one step of a write transaction; times are microseconds since 1970."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Sequence
from typing import Final

from bascule.core.state import Admission, Claim, Lease
from bascule.plugins.state_stores._counters import SLACK, SLOT_RETRY_S, window_end_s
from bascule.plugins.state_stores.sqlite.entries import BATCH, KEPT_US

_ADMITTED: Final = Admission(True)
_RATE_SLACK: Final = 1e-6
_SECOND_US: Final = 1_000_000
LONGEST_LEASE_US: Final = 60 * _SECOND_US  # one that ends later was given before the clock was set back


def admit(db: sqlite3.Connection, now_us: int, key: str, limit: float, window_us: int, amount: float) -> Admission:
    """GCRA as ITU-T I.371's continuous-state leaky bucket: a level that sinks by `limit` in each window, never above it."""
    kept = db.execute("SELECT level, at_us FROM rates WHERE key = ?", (key,)).fetchone()
    level = max(0.0, kept[0] - max(0, now_us - kept[1]) * limit / window_us) if kept else 0.0
    if kept and kept[1] > now_us:  # the clock was set back: the level sinks from now on, not from then
        db.execute("UPDATE rates SET at_us = ? WHERE key = ?", (now_us, key))
    over = level + amount - limit
    if over > _RATE_SLACK:
        return Admission(False, math.ceil(over * window_us / limit) / 1e6, key)
    level += amount
    ends_us = now_us + math.ceil(level * window_us / limit) + _SECOND_US
    db.execute("INSERT OR REPLACE INTO rates VALUES (?, ?, ?, ?)", (key, level, now_us, ends_us))
    return _ADMITTED


def reserve(
    db: sqlite3.Connection, now_us: int, reservation_id: str, claims: Sequence[Claim], lease_us: int
) -> tuple[str, Admission]:
    _give_back(db, now_us)
    taken: dict[tuple[str, int], float] = {}
    rows = []
    for n, claim in enumerate(claims):
        place = (claim.key, round(window_end_s(claim, now_us / 1e6) * 1e6))
        held = db.execute("SELECT amount FROM held WHERE key = ? AND ends_us = ?", place).fetchone()
        before = taken.get(place, 0.0)
        if (held[0] if held else 0.0) + before + claim.amount > claim.limit + SLACK:
            wait_s = max(0.001, (place[1] - now_us) / 1e6) if place[1] else SLOT_RETRY_S
            return "", Admission(False, wait_s, claim.name)
        taken[place] = before + claim.amount
        rows.append((reservation_id, n, *place, claim.amount, now_us + lease_us))
    add = "INSERT INTO held VALUES (?, ?, ?) ON CONFLICT (key, ends_us) DO UPDATE SET amount = amount + excluded.amount"
    db.executemany(add, [(*place, amount) for place, amount in taken.items()])
    db.executemany("INSERT INTO reservations VALUES (?, ?, ?, ?, ?, ?)", rows)
    return reservation_id, _ADMITTED


def settle(db: sqlite3.Connection, now_us: int, reservation_id: str, amounts: Sequence[float]) -> None:
    """A lease that has ended was given back, or is now."""
    _give_back(db, now_us)
    asked = "SELECT key, ends_us, amount, lease_us FROM reservations WHERE id = ? ORDER BY place"
    rows = db.execute(asked, (reservation_id,)).fetchall()
    if not rows:
        return
    db.execute("DELETE FROM reservations WHERE id = ?", (reservation_id,))
    if rows[0][3] <= now_us:
        amounts = [0.0] * len(rows)
    for (key, ends_us, reserved, _), used in zip(rows, amounts, strict=False):
        _change(db, key, ends_us, used - reserved if ends_us else -reserved)


def _give_back(db: sqlite3.Connection, now_us: int) -> None:
    """What was reserved under leases that have ended, at most BATCH claims of them."""
    asked = "SELECT id, place, key, ends_us, amount FROM reservations WHERE lease_us <= ? LIMIT ?"
    for reservation_id, place, key, ends_us, reserved in db.execute(asked, (now_us, BATCH)).fetchall():
        db.execute("DELETE FROM reservations WHERE id = ? AND place = ?", (reservation_id, place))
        _change(db, key, ends_us, -reserved)


def _change(db: sqlite3.Connection, key: str, ends_us: int, by: float) -> None:
    db.execute("UPDATE held SET amount = max(0.0, amount + ?) WHERE key = ? AND ends_us = ?", (by, key, ends_us))
    if not ends_us:
        db.execute("DELETE FROM held WHERE key = ? AND ends_us = 0 AND amount <= ?", (key, SLACK))


def lease(db: sqlite3.Connection, now_us: int, key: str, ttl_us: int, began_us: int | None) -> Lease:
    """Tokens are at least the time, so that they grow also when the file was moved away. `began_us` None: never "done"."""
    found = db.execute("SELECT token, until_us, done_us, free FROM leases WHERE key = ?", (key,)).fetchone()
    if found and not found[3] and now_us < found[1] <= now_us + LONGEST_LEASE_US:
        if found[2] is None:
            return Lease("held", found[0])
        if began_us is not None and found[2] >= began_us:
            return Lease("done", found[0])
    last = db.execute("SELECT value FROM meta WHERE name = 'token'").fetchone()[0]
    token = max(now_us, last + 1)
    db.execute("UPDATE meta SET value = ? WHERE name = 'token'", (token,))
    row = (key, token, now_us + ttl_us, None, 0, now_us + max(ttl_us, KEPT_US))
    db.execute("INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?, ?, ?)", row)
    return Lease("mine", token)


def renew(db: sqlite3.Connection, now_us: int, key: str, token: int, ttl_us: int) -> bool:
    mine = "key = ? AND token = ? AND done_us IS NULL AND NOT free"
    values = (now_us + ttl_us, now_us + max(ttl_us, KEPT_US), key, token)
    return db.execute(f"UPDATE leases SET until_us = ?, ends_us = ? WHERE {mine}", values).rowcount > 0


def release(db: sqlite3.Connection, now_us: int, key: str, token: int, done_us: int) -> None:
    ends_us = now_us + max(done_us, KEPT_US)
    if done_us > 0:
        change, values = "done_us = ?, until_us = ?, ends_us = ?", (now_us, now_us + done_us, ends_us, key, token)
        db.execute(f"UPDATE leases SET {change} WHERE key = ? AND token = ?", values)
    else:
        db.execute("UPDATE leases SET free = 1, ends_us = ? WHERE key = ? AND token = ?", (ends_us, key, token))
