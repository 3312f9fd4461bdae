"""Rates, reservations and leases of one process: exact because nothing awaits in the middle, bounded, no I/O.

The memory store is made of these; the Valkey store falls back to them while its server is away.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from bascule.core.state import Admission, Claim, Lease

MAX_COUNTERS: Final = 100_000
SLOT_RETRY_S: Final = 1.0  # when a slot comes free is not known
SLACK: Final = 1e-9  # sums of fractions
_ADMITTED: Final = Admission(True)
_FOREVER: Final = 0.0


def window_end_s(claim: Claim, wall_s: float) -> float:
    """When the claim's window ends (seconds since 1970); 0 for a slot, which has none."""
    if claim.kind == "window":
        return (wall_s // claim.window_s + 1) * claim.window_s
    if claim.kind == "slot":
        return _FOREVER
    now = datetime.fromtimestamp(wall_s, UTC)
    year, month = now.year + now.month // 12, now.month % 12 + 1
    return datetime(year, month, 1, tzinfo=UTC).timestamp()


class Rates:
    """GCRA (generic cell rate algorithm, ITU-T I.371). `clock` is monotonic seconds."""

    __slots__ = ("_arrivals_ns", "_clock")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._arrivals_ns: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._arrivals_ns)

    def admit(self, key: str, limit: float, window_s: float, amount: float) -> Admission:
        # Whole nanoseconds: sums of fractions of a second would admit one too few.
        now_ns = int(self._clock() * 1e9)
        window_ns = int(window_s * 1e9)
        arrival_ns = max(self._arrivals_ns.get(key, 0), now_ns) + int(window_ns * amount / limit)
        wait_ns = arrival_ns - window_ns - now_ns
        if wait_ns > 0:
            return Admission(False, wait_ns / 1e9, key)
        self._count(key, arrival_ns, now_ns)
        return _ADMITTED

    def admit_all(self, gates: Sequence[tuple[str, float]], window_s: float) -> bool:
        """One of each (key, limit), or of none: keys must differ."""
        now_ns = int(self._clock() * 1e9)
        window_ns = int(window_s * 1e9)
        found: list[tuple[str, int]] = []
        for key, limit in gates:
            arrival_ns = max(self._arrivals_ns.get(key, 0), now_ns) + int(window_ns / limit)
            if arrival_ns - window_ns > now_ns:
                return False
            found.append((key, arrival_ns))
        for key, arrival_ns in found:
            self._count(key, arrival_ns, now_ns)
        return True

    def _count(self, key: str, arrival_ns: int, now_ns: int) -> None:
        if len(self._arrivals_ns) >= MAX_COUNTERS and key not in self._arrivals_ns:
            self._arrivals_ns = {k: at for k, at in self._arrivals_ns.items() if at > now_ns}
        self._arrivals_ns[key] = arrival_ns


_Place = tuple[str, float]  # (key, end of its window)


class Holds:
    """What is reserved and used. `clock` is monotonic and times leases; `wall` is UTC and places calendar windows."""

    __slots__ = ("_clock", "_held", "_ids", "_leases", "_reservations", "_wall", "_window_ends")

    def __init__(self, clock: Callable[[], float], wall: Callable[[], float]) -> None:
        self._clock = clock
        self._wall = wall
        self._held: dict[_Place, float] = {}
        self._window_ends: list[tuple[float, _Place]] = []
        self._reservations: dict[str, tuple[tuple[_Place, float], ...]] = {}
        self._leases: list[tuple[float, str]] = []
        self._ids = itertools.count(1)

    def __len__(self) -> int:
        return len(self._held)

    def reserve(self, claims: Sequence[Claim], lease_s: float) -> tuple[str, Admission]:
        now_s, wall_s = self._clock(), self._wall()
        self._forget(now_s, wall_s)
        holds = []
        for claim in claims:
            end_s = window_end_s(claim, wall_s)
            place = (claim.key, end_s)
            if self._held.get(place, 0.0) + claim.amount > claim.limit + SLACK:
                wait_s = max(0.001, end_s - wall_s) if end_s else SLOT_RETRY_S
                return "", Admission(False, wait_s, claim.name)
            holds.append((place, claim.amount))
        for place, amount in holds:
            if place not in self._held:
                self._held[place] = 0.0
                if place[1]:
                    heapq.heappush(self._window_ends, (place[1], place))
            self._held[place] += amount
        reservation_id = str(next(self._ids))
        self._reservations[reservation_id] = tuple(holds)
        heapq.heappush(self._leases, (now_s + lease_s, reservation_id))
        return reservation_id, _ADMITTED

    def settle(self, reservation_id: str, amounts: Sequence[float]) -> None:
        self._forget(self._clock(), self._wall())
        for (place, reserved), used in zip(self._reservations.pop(reservation_id, ()), amounts, strict=False):
            self._change(place, used - reserved if place[1] else -reserved)

    def _change(self, place: _Place, by: float) -> None:
        held = self._held.get(place)
        if held is None:
            return
        held = max(0.0, held + by)
        if held <= SLACK and not place[1]:
            del self._held[place]
        else:
            self._held[place] = held

    def _forget(self, now_s: float, wall_s: float) -> None:
        """Give back leases that ran out and drop windows that are over."""
        while self._leases and self._leases[0][0] <= now_s:
            _, reservation_id = heapq.heappop(self._leases)
            for place, amount in self._reservations.pop(reservation_id, ()):
                self._change(place, -amount)
        while self._window_ends and self._window_ends[0][0] <= wall_s:
            self._held.pop(heapq.heappop(self._window_ends)[1], None)


class _Held(msgspec.Struct):
    token: int
    until_s: float
    done_at_s: float | None = None


class Leases:
    """Who leads what. Tokens only grow, so that a newer holder is told from an older one."""

    __slots__ = ("_clock", "_held", "_tokens")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._held: dict[str, _Held] = {}
        self._tokens = itertools.count(1)

    def lease(self, key: str, ttl_s: float, age_s: float) -> Lease:
        now_s = self._clock()
        held = self._held.get(key)
        if held is not None and held.until_s > now_s:
            if held.done_at_s is None:
                return Lease("held", held.token)
            if age_s > 0 and held.done_at_s >= now_s - age_s:
                return Lease("done", held.token)
        if len(self._held) >= MAX_COUNTERS:
            self._held = {k: h for k, h in self._held.items() if h.until_s > now_s}
        token = next(self._tokens)
        self._held[key] = _Held(token, now_s + ttl_s)
        return Lease("mine", token)

    def renew(self, key: str, token: int, ttl_s: float) -> bool:
        held = self._held.get(key)
        if held is None or held.token != token or held.done_at_s is not None:
            return False
        held.until_s = self._clock() + ttl_s
        return True

    def release(self, key: str, token: int, done_s: float) -> None:
        held = self._held.get(key)
        if held is None or held.token != token:
            return
        if done_s <= 0:
            del self._held[key]
            return
        held.done_at_s = self._clock()
        held.until_s = held.done_at_s + done_s

    def newest(self, key: str) -> int:
        """The newest token that is remembered for the key; 0 when there is none."""
        held = self._held.get(key)
        return 0 if held is None else held.token
