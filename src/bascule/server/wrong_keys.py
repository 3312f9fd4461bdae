"""Wrong keys slow down whoever sends them: after some from one address, each further refusal takes longer.

A right key is answered at once, whatever its neighbours behind the same address send: only a refusal waits. No key can be
guessed from 256 random bits; this keeps a client that tries, or that lost its key and goes on, from taking the server's time.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Final

import msgspec

from bascule.core.errors import LimitExceeded

FREE: Final = 10  # refused at once, as by a typing error in somebody's configuration
WINDOW_S: Final = 300.0  # without one for so long, an address is forgotten
FIRST_S: Final = 0.05
MOST_S: Final = 2.0
ADDRESSES: Final = 4_096
WAITING_EACH: Final = 8
WAITING_ALL: Final = 256


class _Seen(msgspec.Struct):
    count: int
    last_s: float


class WrongKeys:
    """Memory is bounded: so many addresses, the longest silent forgotten first, and so many refusals that wait."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, addresses: int = ADDRESSES, most_s: float = MOST_S
    ) -> None:
        self._clock = clock
        self._addresses = addresses
        self._most_s = most_s
        self._seen: OrderedDict[str, _Seen] = OrderedDict()
        self._waiting: Counter[str] = Counter()

    async def hold(self, address: str) -> None:
        """Wait before a wrong key is refused. Raises LimitExceeded, at once, while too many of this address wait already."""
        place = network(address)
        delay_s = self.count(place)
        if not delay_s:
            return
        if self._waiting[place] >= WAITING_EACH or self._waiting.total() >= WAITING_ALL:
            raise LimitExceeded(
                "Too many wrong API keys came from this address.", limit="wrong_keys", retry_after_s=self._most_s
            )
        self._waiting[place] += 1
        try:
            await asyncio.sleep(delay_s)
        finally:
            self._waiting[place] -= 1
            if not self._waiting[place]:
                del self._waiting[place]

    def count(self, place: str) -> float:
        """One more wrong key; how long its refusal waits."""
        now = self._clock()
        seen = self._seen.pop(place, None)
        if seen is None or now - seen.last_s > WINDOW_S:
            seen = _Seen(0, now)
        seen.count, seen.last_s = seen.count + 1, now
        self._seen[place] = seen
        while len(self._seen) > self._addresses:
            self._seen.popitem(last=False)
        over = seen.count - FREE
        return 0.0 if over <= 0 else min(self._most_s, FIRST_S * 2.0 ** min(over - 1, 30))

    def known(self) -> tuple[int, int]:
        """(addresses remembered, refusals waiting)."""
        return len(self._seen), self._waiting.total()


def network(address: str) -> str:
    """Whose address it is: of IPv6 the /64, as one customer has at least that many."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed.packed[:8] + bytes(8), 64)))
