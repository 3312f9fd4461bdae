"""How many calls a deployment carries, and who waits for room on it. One object per provider and model, whatever the route."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress


class Load:
    """`limit` None: only counted. Nothing awaits in the middle, so the count is exact. First come, first served."""

    __slots__ = ("_waiting", "busy", "limit")

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self.busy = 0
        self._waiting: deque[asyncio.Future[Load]] = deque()

    def take(self) -> bool:
        """A place, now; False when there is none."""
        if self.limit is not None and self.busy >= self.limit:
            return False
        self.busy += 1
        return True

    def release(self) -> None:
        """Give a place back: it goes straight to whoever has waited longest."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(self)
                return
        self.busy -= 1

    def join(self, waiter: asyncio.Future[Load]) -> None:
        self._waiting.append(waiter)

    def leave(self, waiter: asyncio.Future[Load]) -> None:
        with suppress(ValueError):
            self._waiting.remove(waiter)


async def first_place(loads: Sequence[Load], within_s: float) -> Load | None:
    """Wait for a place on any of these; it is taken when this returns. None when there was none in time."""
    waiter: asyncio.Future[Load] = asyncio.get_running_loop().create_future()
    for load in loads:
        load.join(waiter)
    try:
        await asyncio.wait((waiter,), timeout=within_s)
    except BaseException:
        if waiter.done():
            waiter.result().release()
        raise
    finally:
        for load in loads:
            load.leave(waiter)
        if not waiter.done():
            waiter.cancel()
    return None if waiter.cancelled() else waiter.result()
