"""Writes call records in batches, off the path of the calls themselves. None is dropped: a record the store refuses waits, and
when too many wait, calls wait too."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from itertools import islice

from bascule.core.calls import CallRecord
from bascule.core.catalogue import CallLog
from bascule.core.deadlines import Deadline
from bascule.core.errors import StorageError
from bascule.gateway.metrics import RECORDS_WAITING

log = logging.getLogger(__name__)

FLUSH_EVERY_S = 0.25
BATCH = 500
MOST_WAITING = 20_000
SAY_AGAIN_S = 60.0


class CallWriter:
    """`sink` is called once for every call that ends; `run` is the task that writes. `also` sees each record too and must not
    block.

    `full`: while `most_waiting` records wait, `wait` makes new calls wait with them (calls under way still leave theirs, so a
    few more than that can wait).
    """

    def __init__(
        self,
        calls: CallLog,
        most_waiting: int = MOST_WAITING,
        also: Callable[[CallRecord], None] | None = None,
    ) -> None:
        self._calls = calls
        self._most_waiting = most_waiting
        self._also = also
        self._waiting: deque[CallRecord] = deque()
        self._turn = asyncio.Lock()
        self._written = asyncio.Event()
        self._said_s = -SAY_AGAIN_S

    def sink(self, record: CallRecord) -> None:
        self._waiting.append(record)
        if self._also is not None:
            self._also(record)

    @property
    def full(self) -> bool:
        return len(self._waiting) >= self._most_waiting

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    async def wait(self, deadline: Deadline) -> None:
        """Until there is room. Raises StorageError when there is none before the deadline."""
        try:
            async with asyncio.timeout(max(0.0, deadline.left_s())):
                while self.full:
                    self._written.clear()
                    await self._written.wait()
        except TimeoutError:
            raise StorageError("Call records cannot be written now, and no call goes without one. Try again.") from None

    async def run(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_EVERY_S)
            await self.flush()

    async def flush(self) -> None:
        async with self._turn:  # two at once would write one batch twice
            while self._waiting:
                batch = list(islice(self._waiting, BATCH))
                try:
                    await self._calls.add_calls(batch)
                except StorageError as error:
                    self._say(error)
                    break
                for _ in batch:
                    self._waiting.popleft()
                self._written.set()
            RECORDS_WAITING.set(len(self._waiting))

    def _say(self, error: StorageError) -> None:
        now_s = time.monotonic()
        if now_s - self._said_s >= SAY_AGAIN_S:
            self._said_s = now_s
            log.error("%d call records wait, the store refused them: %s", len(self._waiting), error.message)
