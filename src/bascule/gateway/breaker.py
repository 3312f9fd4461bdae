"""A breaker per deployment: consecutive faults of its own open it, and one probing call closes it again.

After Nygard, "Release It!" (circuit breaker). A caller's own 4xx is no fault, nor is a vendor's rate limit.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from bascule.gateway.metrics import BREAKER_OPEN


class Breaker:
    __slots__ = ("_clock", "_faults", "_gauge", "_limit", "_open_s", "_opened_until_s", "_probing")

    def __init__(
        self, failures: int, open_s: float, *, provider: str, model: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit = failures
        self._open_s = open_s
        self._clock = clock
        self._faults = 0
        self._opened_until_s = 0.0
        self._probing = False
        self._gauge = BREAKER_OPEN.labels(provider, model)

    def admits(self) -> bool:
        """Whether a call may go through now. True while half-open makes this call the one probe."""
        if self._faults < self._limit:
            return True
        if self._probing or self._clock() < self._opened_until_s:
            return False
        self._probing = True
        return True

    def wait_s(self) -> float:
        """Until the next probe is allowed."""
        return max(0.0, self._opened_until_s - self._clock())

    def success(self) -> None:
        if self._faults or self._probing:
            if self._faults >= self._limit:
                self._gauge.set(0)
            self._faults = 0
            self._probing = False

    def fault(self) -> None:
        self._probing = False
        self._faults += 1
        if self._faults >= self._limit:
            self._opened_until_s = self._clock() + self._open_s
            self._gauge.set(1)

    def unknown(self) -> None:
        """The call ended without a verdict (its caller left): the probe is free again."""
        self._probing = False
