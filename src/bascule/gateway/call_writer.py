"""Writes call records in batches, off the path of the calls themselves. Bounded, and loses nothing: when full, callers wait."""

from __future__ import annotations

import asyncio
import logging
from collections import deque

from bascule.core.calls import CallRecord
from bascule.core.catalogue import CallLog
from bascule.core.errors import StorageError

log = logging.getLogger(__name__)

FLUSH_EVERY_S = 0.25
BATCH = 500
HIGH_WATER = 20_000


class CallWriter:
    """`sink` is called once for every call that ends; `run` is the one task that writes."""

    def __init__(self, calls: CallLog) -> None:
        self._calls = calls
        self._waiting: deque[CallRecord] = deque()
        self._room = asyncio.Event()
        self._room.set()
        self._closing = False

    def sink(self, record: CallRecord) -> None:
        self._waiting.append(record)
        if len(self._waiting) >= HIGH_WATER:
            self._room.clear()

    async def room(self) -> None:
        """Returns at once unless the writer has fallen behind: then new calls wait here rather than lose a record."""
        await self._room.wait()

    async def run(self) -> None:
        while not self._closing:
            await asyncio.sleep(FLUSH_EVERY_S)
            await self.flush()

    async def flush(self) -> None:
        while self._waiting:
            batch = [self._waiting[i] for i in range(min(BATCH, len(self._waiting)))]
            try:
                await self._calls.add_calls(batch)
            except StorageError as error:
                log.error("call records wait, the store refused them: %s", error.message)
                return
            for _ in batch:
                self._waiting.popleft()
            if len(self._waiting) < HIGH_WATER // 2:
                self._room.set()

    async def close(self) -> None:
        self._closing = True
        await self.flush()
