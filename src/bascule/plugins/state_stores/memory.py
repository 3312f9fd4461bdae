"""The state store of one process: everything in memory, bounded, exact because nothing awaits in the middle."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from bascule.core.resources import Resources
from bascule.core.state import Admission, Claim, Lease
from bascule.plugins.state_stores._counters import Holds, Leases, Rates

ENTRY_OVERHEAD_BYTES: Final = 400  # what an entry costs beside its key and value, measured with tracemalloc
PURGES_KEPT_S: Final = 900.0  # longer than any call takes


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    max_bytes: int = Field(
        64_000_000, ge=0, description="Memory the cache may hold; the least recently used goes first."
    )


class _Entry(msgspec.Struct):
    value: bytes
    expires_s: float
    tags: tuple[str, ...]
    size_bytes: int
    fence: int


class MemoryState:
    """`clock` is monotonic and times entries, rates and leases; `wall` is UTC and places calendar windows."""

    shared = False

    def __init__(
        self,
        max_bytes: int = 64_000_000,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._max_bytes = max_bytes
        self._clock = clock
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._size_bytes = 0
        self._tagged: dict[str, set[str]] = {}
        self._purged: OrderedDict[str, float] = OrderedDict()
        self._rates = Rates(clock)
        self._holds = Holds(clock, wall)
        self._leases = Leases(clock)

    # ------------------------------------------------------------ entries

    async def get(self, key: str) -> bytes | None:
        return self.look(key)

    def look(self, key: str) -> bytes | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.expires_s <= self._clock():
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return entry.value

    async def put(
        self, key: str, value: bytes, ttl_s: float, tags: Sequence[str] = (), age_s: float = 0.0, fence: int = 0
    ) -> None:
        if fence and self._outdated(key, fence):
            return
        now_s = self._clock()
        if key in self._entries:
            self._drop(key)
        size_bytes = len(key) + len(value) + ENTRY_OVERHEAD_BYTES + sum(map(len, tags))
        purged_since = any(self._purged.get(tag, float("-inf")) >= now_s - age_s for tag in tags)
        if ttl_s <= 0 or size_bytes > self._max_bytes or purged_since:
            return
        self._entries[key] = _Entry(value, now_s + ttl_s, tuple(tags), size_bytes, fence)
        self._size_bytes += size_bytes
        for tag in tags:
            self._tagged.setdefault(tag, set()).add(key)
        while self._size_bytes > self._max_bytes:
            self._drop(next(iter(self._entries)))

    def _outdated(self, key: str, fence: int) -> bool:
        entry = self._entries.get(key)
        return self._leases.newest(key) > fence or (entry is not None and entry.fence > fence)

    async def delete(self, key: str) -> None:
        if key in self._entries:
            self._drop(key)

    async def purge(self, tag: str) -> int:
        now_s = self._clock()
        self._purged[tag] = now_s
        self._purged.move_to_end(tag)
        while next(iter(self._purged.values())) < now_s - PURGES_KEPT_S:
            self._purged.popitem(last=False)
        keys = list(self._tagged.get(tag, ()))
        for key in keys:
            self._drop(key)
        return len(keys)

    def _drop(self, key: str) -> None:
        entry = self._entries.pop(key)
        self._size_bytes -= entry.size_bytes
        for tag in entry.tags:
            keys = self._tagged.get(tag)
            if keys is not None:
                keys.discard(key)
                if not keys:
                    del self._tagged[tag]

    # ------------------------------------------------------------ rates, reservations, leases

    async def admit(self, key: str, limit: float, window_s: float, amount: float = 1.0) -> Admission:
        return self._rates.admit(key, limit, window_s, amount)

    def admit_at_once(self, gates: Sequence[tuple[str, float]], window_s: float) -> bool:
        return self._rates.admit_all(gates, window_s)

    async def reserve(self, claims: Sequence[Claim], lease_s: float) -> tuple[str, Admission]:
        return self._holds.reserve(claims, lease_s)

    async def settle(self, reservation_id: str, amounts: Sequence[float]) -> None:
        self._holds.settle(reservation_id, amounts)

    async def lease(self, key: str, ttl_s: float, age_s: float = 0.0) -> Lease:
        return self._leases.lease(key, ttl_s, age_s)

    async def renew(self, key: str, token: int, ttl_s: float) -> bool:
        return self._leases.renew(key, token, ttl_s)

    async def release(self, key: str, token: int, done_s: float = 0.0) -> None:
        self._leases.release(key, token, done_s)


@asynccontextmanager
async def connect(
    settings: Settings, resources: Resources, *, clock: Callable[[], float] | None = None
) -> AsyncGenerator[MemoryState]:
    """`clock` (seconds since 1970) takes the place of the machine's clocks: for tests."""
    yield MemoryState(settings.max_bytes, clock=clock or time.monotonic, wall=clock or time.time)
