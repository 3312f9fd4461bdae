"""What a process keeps in memory of the tables: a few numbers for each slot, as arrays, refreshed by what has changed.

A View never changes: a query uses the one of its own snapshot, so tables and arrays always agree.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from bascule.core.vectors import Scope
from bascule.plugins.vector_stores.sqlite.schema import BLOCK_BITS, Head

Mask = np.ndarray[Any, np.dtype[np.bool_]]
Slots = np.ndarray[Any, np.dtype[np.int64]]

SCOPES_KEPT: Final = 16
ROWS_PER_FETCH: Final = 8192
ACL_TABLE_MAX: Final = 1 << 22


class Statistics(NamedTuple):
    """A tenant's word statistics: over all its chunks, whoever asks. `blocks`: where its postings are."""

    tenant_id: int
    chunks: int
    average_length: float
    blocks: tuple[int, ...]


class Columns(NamedTuple):
    """By slot. `place` is 0 and every other value meaningless where the slot is free."""

    place: np.ndarray[Any, np.dtype[np.int32]]
    acl_id: np.ndarray[Any, np.dtype[np.int64]]
    dimension: np.ndarray[Any, np.dtype[np.int32]]
    scale: np.ndarray[Any, np.dtype[np.float32]]
    length: np.ndarray[Any, np.dtype[np.int32]]

    def grown(self, count: int) -> Columns:
        """A copy with room for `count` slots."""
        more = max(0, count - self.place.size)
        return Columns(*(np.concatenate((column, np.zeros(more, column.dtype))) for column in self._each()))

    def put(self, slots: Slots, values: Sequence[np.ndarray[Any, Any]]) -> None:
        for column, value in zip(self._each(), values, strict=True):
            column[slots] = value

    def _each(self) -> tuple[np.ndarray[Any, Any], ...]:
        return self.place, self.acl_id, self.dimension, self.scale, self.length


EMPTY: Final = Columns(
    np.zeros(0, np.int32),
    np.zeros(0, np.int64),
    np.zeros(0, np.int32),
    np.zeros(0, np.float32),
    np.zeros(0, np.int32),
)


class View:
    """The arrays as of one transaction, with the answers already worked out from them."""

    def __init__(
        self, head: Head, columns: Columns, places: dict[tuple[str, str], int], tenants: dict[str, int]
    ) -> None:
        self.head = head
        self.columns = columns
        self.places = places
        self.tenants = tenants
        self._acl_range = int(columns.acl_id.max(initial=0)), int(columns.acl_id.min(initial=0))
        self._lock = threading.Lock()
        self._masks: OrderedDict[Scope, Mask] = OrderedDict()
        self._slots: OrderedDict[tuple[Scope, int], Slots] = OrderedDict()
        self._statistics: dict[str, Statistics | None] = {}

    @property
    def size(self) -> int:
        return int(self.columns.place.size)

    def mask(self, scope: Scope) -> Mask:
        """Which slots the scope may see."""
        with self._lock:
            found = self._masks.get(scope)
            if found is None:
                found = self._masks[scope] = self._make_mask(scope)
                _trim(self._masks)
            return found

    def slots(self, scope: Scope, dimension: int) -> Slots:
        """The slots the scope may see that hold a vector of this dimension, ascending."""
        key = (scope, dimension)
        mask = self.mask(scope)
        with self._lock:
            found = self._slots.get(key)
            if found is None:
                found = self._slots[key] = np.flatnonzero(mask & (self.columns.dimension == dimension))
                _trim(self._slots)
            return found

    def statistics(self, tenant: str) -> Statistics | None:
        """None when the tenant has no chunk with a term."""
        with self._lock:
            if tenant not in self._statistics:
                self._statistics[tenant] = self._count(tenant)
            return self._statistics[tenant]

    def _make_mask(self, scope: Scope) -> Mask:
        wanted = [self.places.get((scope.tenant, name), 0) for name in scope.collection_ids]
        inside = self._in_places([place for place in wanted if place])
        visible: Mask = inside & self._with_acl(np.fromiter(scope.allowed, np.int64, len(scope.allowed)))
        return visible

    def _with_acl(self, allowed: Slots) -> Mask:
        """By a table where the ids are as small as interned ids are: three times as fast as a search."""
        top, bottom = self._acl_range
        if bottom < 0 or top > ACL_TABLE_MAX:
            return np.isin(self.columns.acl_id, allowed)
        known = np.zeros(top + 1, np.bool_)
        known[allowed[(allowed >= 0) & (allowed <= top)]] = True
        return known.take(self.columns.acl_id)

    def _in_places(self, places: list[int]) -> Mask:
        known = np.zeros(max(self.places.values(), default=0) + 1, np.bool_)
        known[places] = True
        inside: Mask = known[self.columns.place]
        return inside

    def _count(self, tenant: str) -> Statistics | None:
        mine = self._in_places([place for (owner, _), place in self.places.items() if owner == tenant])
        slots = np.flatnonzero(mine)
        total = int(self.columns.length[slots].sum(dtype=np.int64))
        if not total:
            return None
        blocks = np.flatnonzero(np.bincount(slots >> BLOCK_BITS))
        return Statistics(self.tenants[tenant], int(slots.size), total / slots.size, tuple(blocks.tolist()))


def _trim(kept: OrderedDict[Any, Any]) -> None:
    while len(kept) > SCOPES_KEPT:
        kept.popitem(last=False)


def load(connection: sqlite3.Connection, head: Head, before: View | None) -> View:
    """The view of this snapshot: only what has changed since `before` is read, when it is of the same generation."""
    if before is None or before.head.generation != head.generation:
        before = View(Head(head.generation, 0), EMPTY, {}, {})
    places, tenants = _names(connection, before)
    top = connection.execute("SELECT max(slot) FROM slot").fetchone()[0]
    columns = before.columns.grown(0 if top is None else top + 1)
    changed = connection.execute(
        "SELECT slot, CASE WHEN chunk_id IS NULL THEN 0 ELSE place END, acl_id, dimension, scale, length FROM slot"
        " WHERE seq > ? ORDER BY slot",
        (before.head.seq,),
    )
    while rows := changed.fetchmany(ROWS_PER_FETCH):
        slots, *values = (np.array(column) for column in zip(*rows, strict=True))
        columns.put(slots, values)
    return View(head, columns, places, tenants)


def _names(connection: sqlite3.Connection, before: View) -> tuple[dict[tuple[str, str], int], dict[str, int]]:
    """Collections and tenants are only ever added, so the same counts mean the same names."""
    last = connection.execute("SELECT max(id) FROM place").fetchone()[0] or 0
    if last == max(before.places.values(), default=0):
        return before.places, before.tenants
    rows = connection.execute(
        "SELECT tenant.name, place.collection_id, place.id, tenant.id FROM place JOIN tenant ON tenant.id = place.tenant"
    ).fetchall()
    return {(name, collection): place for name, collection, place, _ in rows}, {row[0]: row[3] for row in rows}
