"""The state store in one SQLite file, shared by the processes of one machine."""

from __future__ import annotations

import asyncio
import itertools
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Self

from bascule.core.state import Admission, Claim, Lease
from bascule.plugins.state_stores.sqlite import counters, entries
from bascule.plugins.state_stores.sqlite.opening import open_file
from bascule.plugins.state_stores.sqlite.worker import Worker

USED_STALE_US: Final = 10_000_000  # a read writes no oftener than this that its entry is in use
SWEEP_EVERY_S: Final = 1.0


class SqliteState:
    """Every method but `get` is one step of a write transaction, by the machine's clock. `get` reads beside the writers.

    Raises StorageError where the file cannot be used, or another process writes for longer than `timeout_s`.
    """

    shared = True

    def __init__(self, reader: Worker, writer: Worker, max_bytes: int, clock: Callable[[], float]) -> None:
        self._reader = reader
        self._writer = writer
        self._max_bytes = max_bytes
        self._clock = clock
        self._sweep_s = 0.0
        self._ids = (f"{nonce}-{n}" for nonce in [os.urandom(8).hex()] for n in itertools.count(1))

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        timeout_s: float = 5.0,
        max_bytes: int = 64_000_000,
        clock: Callable[[], float] | None = None,
    ) -> Self:
        """Raises ConfigError."""
        writing = await asyncio.to_thread(open_file, path, timeout_s)
        try:
            reading = await asyncio.to_thread(open_file, path, timeout_s)
        except BaseException:
            writing.close()
            raise
        return cls(Worker(reading, writes=False), Worker(writing, writes=True), max_bytes, clock or time.time)

    async def aclose(self) -> None:
        await self._reader.aclose()
        await self._writer.aclose()

    def _now_us(self) -> int:
        return round(self._clock() * 1e6)

    # ------------------------------------------------------------ entries

    async def get(self, key: str) -> bytes | None:
        now_us = self._now_us()
        asked = "SELECT value, used_us FROM entries WHERE key = ? AND expires_us > ?"
        found = await self._reader.send(lambda db: db.execute(asked, (key, now_us)).fetchone())
        if found is None:
            return None
        if found[1] < now_us - USED_STALE_US:
            self._writer.send(lambda db: entries.touch(db, now_us, key)).add_done_callback(_unheard)
        value: bytes = found[0]
        return value

    async def put(
        self, key: str, value: bytes, ttl_s: float, tags: Sequence[str] = (), age_s: float = 0.0, fence: int = 0
    ) -> None:
        new = entries.Put(key, value, _us(ttl_s), tuple(tags), self._now_us() - _us(age_s), fence)

        def work(db: sqlite3.Connection) -> None:
            self._sweep(db)
            entries.put(db, self._now_us(), new, self._max_bytes)

        await self._writer.send(work)

    async def delete(self, key: str) -> None:
        await self._writer.send(lambda db: entries.delete(db, key), durable=True)

    async def purge(self, tag: str) -> int:
        return await self._writer.send(lambda db: entries.purge(db, self._now_us(), tag), durable=True)

    def _sweep(self, db: sqlite3.Connection) -> None:
        if time.monotonic() >= self._sweep_s:
            more = entries.sweep(db, self._now_us())
            self._sweep_s = 0.0 if more else time.monotonic() + SWEEP_EVERY_S

    # ------------------------------------------------------------ rates and reservations

    async def admit(self, key: str, limit: float, window_s: float, amount: float = 1.0) -> Admission:
        return await self._writer.send(lambda db: counters.admit(db, self._now_us(), key, limit, _us(window_s), amount))

    async def reserve(self, claims: Sequence[Claim], lease_s: float) -> tuple[str, Admission]:
        reservation_id = next(self._ids)

        def work(db: sqlite3.Connection) -> tuple[str, Admission]:
            self._sweep(db)
            return counters.reserve(db, self._now_us(), reservation_id, claims, _us(lease_s))

        try:
            return await self._writer.send(work)
        except asyncio.CancelledError:  # its caller left while it was on its way: this is carried out after it
            nothing = [0.0] * len(claims)
            self._settle(reservation_id, nothing).add_done_callback(_unheard)
            raise

    async def settle(self, reservation_id: str, amounts: Sequence[float]) -> None:
        if reservation_id:
            await self._settle(reservation_id, amounts)

    def _settle(self, reservation_id: str, amounts: Sequence[float]) -> asyncio.Future[None]:
        return self._writer.send(lambda db: counters.settle(db, self._now_us(), reservation_id, amounts))

    # ------------------------------------------------------------ leases

    async def lease(self, key: str, ttl_s: float, age_s: float = 0.0) -> Lease:
        began_us = self._now_us() - _us(age_s) if age_s > 0 else None
        return await self._writer.send(lambda db: counters.lease(db, self._now_us(), key, _us(ttl_s), began_us))

    async def renew(self, key: str, token: int, ttl_s: float) -> bool:
        return await self._writer.send(lambda db: counters.renew(db, self._now_us(), key, token, _us(ttl_s)))

    async def release(self, key: str, token: int, done_s: float = 0.0) -> None:
        await self._writer.send(lambda db: counters.release(db, self._now_us(), key, token, _us(done_s)))


def _us(seconds: float) -> int:
    return round(seconds * 1e6)


def _unheard(future: asyncio.Future[None]) -> None:
    if not future.cancelled():
        future.exception()
