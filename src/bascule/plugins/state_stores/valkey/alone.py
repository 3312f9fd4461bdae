"""What this process decides by itself while the shared store is away: by its own share of each limit, a part in `replicas`.

What is used of a budget then is remembered and told to the store when it is back, once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from bascule.core.state import Admission, Claim
from bascule.plugins.state_stores._counters import Holds, Rates, window_end_s

ID: Final = "alone:"
MAX_OWED: Final = 10_000


class Alone:
    def __init__(
        self, replicas: int, clock: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time
    ) -> None:
        self._replicas = replicas
        self._wall = wall
        self._rates = Rates(clock)
        self._holds = Holds(clock, wall)
        self._places: dict[str, tuple[float, list[tuple[str, float]]]] = {}
        self._owed: dict[tuple[str, float], float] = {}

    def admit(self, key: str, limit: float, window_s: float, amount: float) -> Admission:
        share = limit / self._replicas
        if share < amount <= limit:  # less than one whole call: one, less often
            share, window_s = amount, window_s * amount / share
        return msgspec.structs.replace(self._rates.admit(key, share, window_s, amount), degraded=True)

    def reserve(self, claims: Sequence[Claim], lease_s: float) -> tuple[str, Admission]:
        shares = tuple(map(self._share, claims))
        held, admission = self._holds.reserve(shares, lease_s)
        admission = msgspec.structs.replace(admission, degraded=True)
        if not held:
            return "", admission
        now_s = self._wall()
        if len(self._places) >= MAX_OWED:
            self._places = {i: kept for i, kept in self._places.items() if kept[0] > now_s}
        self._places[held] = (now_s + lease_s, [(claim.key, window_end_s(claim, now_s)) for claim in claims])
        return ID + held, admission

    def settle(self, reservation_id: str, amounts: Sequence[float]) -> None:
        held = reservation_id.removeprefix(ID)
        lease_ends_s, places = self._places.pop(held, (0.0, []))
        self._holds.settle(held, amounts)
        if lease_ends_s <= self._wall():
            return
        for place, amount in zip(places, amounts, strict=False):
            if place[1] and amount > 0:  # a slot has no window
                self.owe(place, amount)

    def owe(self, place: tuple[str, float], amount: float) -> None:
        """`place`: a claim's key and the end of its window."""
        if len(self._owed) >= MAX_OWED:
            now_s = self._wall()
            self._owed = {p: owed for p, owed in self._owed.items() if p[1] > now_s}
        self._owed[place] = self._owed.get(place, 0.0) + amount

    def owed(self) -> list[tuple[str, float, float]]:
        """(key, end of its window in seconds since 1970, amount) of all that was used alone, which is then forgotten."""
        found = [(key, ends_s, amount) for (key, ends_s), amount in self._owed.items()]
        self._owed.clear()
        return found

    def _share(self, claim: Claim) -> Claim:
        share = claim.limit / self._replicas
        if claim.kind == "slot":
            share = max(1.0, share // 1)  # a limit of one call at once would else be none
        # A claim of the whole limit is what a call of unknown length makes: here it takes the whole share.
        amount = share if claim.amount == claim.limit else claim.amount
        return msgspec.structs.replace(claim, limit=share, amount=amount)
