"""A breaker per deployment: consecutive faults of its own open it, and one probing call closes it again.

After Nygard, "Release It!" (circuit breaker). A caller's own 4xx is no fault, nor is a vendor's rate limit. A fault is a call that
failed with all its tries; while the breaker is not closed nobody tries again, so that a probe is one attempt.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from bascule.gateway.metrics import BREAKER_OPEN

REFUSED: Final = 0


class Breaker:
    """Each admitted call gets a ticket and gives it back with its verdict. Opening, probing and closing make older tickets
    void: what a call says that began before must not end the probe, nor pass for its verdict."""

    __slots__ = ("_clock", "_faults", "_gauge", "_limit", "_open_s", "_opened_until_s", "_probing", "_ticket")

    def __init__(
        self, failures: int, open_s: float, *, provider: str, model: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit = failures
        self._open_s = open_s
        self._clock = clock
        self._faults = 0
        self._opened_until_s = 0.0
        self._probing = False
        self._ticket = 1
        self._gauge = BREAKER_OPEN.labels(provider, model)

    @property
    def closed(self) -> bool:
        """Calls go through freely, and may be tried again."""
        return self._faults < self._limit

    def admit(self) -> int:
        """A ticket for one call, or REFUSED. While half-open the one ticket there is makes its call the probe."""
        if self._faults < self._limit:
            return self._ticket
        if not self.ready():
            return REFUSED
        self._probing = True
        self._ticket += 1
        return self._ticket

    def ready(self) -> bool:
        """Whether `admit` would let a call through now."""
        return self._faults < self._limit or not (self._probing or self._clock() < self._opened_until_s)

    def wait_s(self) -> float:
        """Until the next probe is allowed."""
        return max(0.0, self._opened_until_s - self._clock())

    def success(self, ticket: int) -> None:
        if self._faults and ticket == self._ticket:
            if self._probing:
                self._gauge.set(0)
                self._probing = False
                self._ticket += 1
            self._faults = 0

    def fault(self, ticket: int) -> None:
        if ticket != self._ticket:
            return
        self._probing = False
        self._faults += 1
        if self._faults >= self._limit:
            self._opened_until_s = self._clock() + self._open_s
            self._ticket += 1
            self._gauge.set(1)

    def unknown(self, ticket: int) -> None:
        """The call ended without a verdict (its caller left): the probe is free again."""
        if ticket == self._ticket:
            self._probing = False
