"""One total deadline per request. Everything that waits asks it how long is left."""

from __future__ import annotations

import time

import msgspec

from bascule.core.errors import UpstreamTimeout


class Deadline(msgspec.Struct, frozen=True):
    """An instant on the monotonic clock, in seconds."""

    at_s: float

    @classmethod
    def after(cls, timeout_s: float) -> Deadline:
        return cls(time.monotonic() + timeout_s)

    def left_s(self) -> float:
        """Seconds left; never negative."""
        return max(0.0, self.at_s - time.monotonic())

    def check(self) -> float:
        """Seconds left. Raises UpstreamTimeout when there are none."""
        left = self.at_s - time.monotonic()
        if left <= 0:
            raise UpstreamTimeout("The request's deadline ran out.")
        return left
