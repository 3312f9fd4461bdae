"""The state store of one process: everything in memory, bounded, exact because nothing awaits in the middle."""

from __future__ import annotations

import heapq
import itertools
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from bascule.core.resources import Resources
from bascule.core.state import Admission, Claim

ENTRY_OVERHEAD_BYTES: Final = 400  # what an entry costs beside its key and value, measured with tracemalloc
MAX_COUNTERS: Final = 100_000
PURGES_KEPT_S: Final = 900.0  # longer than any call takes
_ADMITTED: Final = Admission(True)


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


class _Reservation(msgspec.Struct):
    holds: tuple[tuple[tuple[str, int], float], ...]  # ((key, window), amount)


class MemoryState:
    """`clock` is monotonic and times entries, rates and leases; `wall` is UTC and places calendar windows."""

    def __init__(
        self,
        max_bytes: int = 64_000_000,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._max_bytes = max_bytes
        self._clock = clock
        self._wall = wall
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._size_bytes = 0
        self._tagged: dict[str, set[str]] = {}
        self._purged: OrderedDict[str, float] = OrderedDict()
        self._arrivals_ns: dict[str, int] = {}
        self._held: dict[tuple[str, int], float] = {}
        self._window_ends: list[tuple[float, tuple[str, int]]] = []
        self._reservations: dict[str, _Reservation] = {}
        self._leases: list[tuple[float, str]] = []
        self._ids = itertools.count(1)

    # ------------------------------------------------------------ entries

    async def get(self, key: str) -> bytes | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.expires_s <= self._clock():
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return entry.value

    async def put(self, key: str, value: bytes, ttl_s: float, tags: Sequence[str] = (), age_s: float = 0.0) -> None:
        now_s = self._clock()
        if key in self._entries:
            self._drop(key)
        size_bytes = len(key) + len(value) + ENTRY_OVERHEAD_BYTES + sum(map(len, tags))
        purged_since = any(self._purged.get(tag, float("-inf")) >= now_s - age_s for tag in tags)
        if ttl_s <= 0 or size_bytes > self._max_bytes or purged_since:
            return
        self._entries[key] = _Entry(value, now_s + ttl_s, tuple(tags), size_bytes)
        self._size_bytes += size_bytes
        for tag in tags:
            self._tagged.setdefault(tag, set()).add(key)
        while self._size_bytes > self._max_bytes:
            self._drop(next(iter(self._entries)))

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

    # ------------------------------------------------------------ rates

    async def admit(self, key: str, limit: float, window_s: float, amount: float = 1.0) -> Admission:
        # Whole nanoseconds: sums of fractions of a second would admit one too few.
        now_ns = int(self._clock() * 1e9)
        window_ns = int(window_s * 1e9)
        arrival_ns = max(self._arrivals_ns.get(key, 0), now_ns) + int(window_ns * amount / limit)
        wait_ns = arrival_ns - window_ns - now_ns
        if wait_ns > 0:
            return Admission(False, wait_ns / 1e9, key)
        if len(self._arrivals_ns) >= MAX_COUNTERS and key not in self._arrivals_ns:
            self._arrivals_ns = {k: at for k, at in self._arrivals_ns.items() if at > now_ns}
        self._arrivals_ns[key] = arrival_ns
        return _ADMITTED

    # ------------------------------------------------------------ reservations

    async def reserve(self, claims: Sequence[Claim], lease_s: float) -> tuple[str, Admission]:
        now_s, wall_s = self._clock(), self._wall()
        self._forget(now_s, wall_s)
        holds = []
        for claim in claims:
            window = int(wall_s // claim.window_s)
            place = (claim.key, window)
            if self._held.get(place, 0.0) + claim.amount > claim.limit + 1e-9:
                return "", Admission(False, max(0.001, (window + 1) * claim.window_s - wall_s), claim.name)
            holds.append((place, claim.amount))
        for (place, amount), claim in zip(holds, claims, strict=True):
            if place not in self._held:
                heapq.heappush(self._window_ends, ((place[1] + 1) * claim.window_s, place))
            self._held[place] = self._held.get(place, 0.0) + amount
        reservation_id = str(next(self._ids))
        self._reservations[reservation_id] = _Reservation(tuple(holds))
        heapq.heappush(self._leases, (now_s + lease_s, reservation_id))
        return reservation_id, _ADMITTED

    async def settle(self, reservation_id: str, amounts: Sequence[float]) -> None:
        self._forget(self._clock(), self._wall())
        reservation = self._reservations.pop(reservation_id, None)
        if reservation is None:
            return
        for (place, reserved), used in zip(reservation.holds, amounts, strict=True):
            if place in self._held:
                self._held[place] = max(0.0, self._held[place] - reserved + used)

    def _forget(self, now_s: float, wall_s: float) -> None:
        """Give back leases that ran out and drop windows that are over."""
        while self._leases and self._leases[0][0] <= now_s:
            _, reservation_id = heapq.heappop(self._leases)
            reservation = self._reservations.pop(reservation_id, None)
            for place, amount in reservation.holds if reservation else ():
                if place in self._held:
                    self._held[place] = max(0.0, self._held[place] - amount)
        while self._window_ends and self._window_ends[0][0] <= wall_s:
            self._held.pop(heapq.heappop(self._window_ends)[1], None)


@asynccontextmanager
async def connect(settings: Settings, resources: Resources) -> AsyncGenerator[MemoryState]:
    yield MemoryState(settings.max_bytes)
