"""Writes call records in batches, off the path of the calls themselves. A record the store refuses waits for the next flush."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from itertools import islice

from bascule.core.calls import CallRecord
from bascule.core.catalogue import CallLog
from bascule.core.errors import StorageError

log = logging.getLogger(__name__)

FLUSH_EVERY_S = 0.25
BATCH = 500


class CallWriter:
    """`sink` is called once for every call that ends; `run` is the task that writes. While the store does not answer,
    records are kept in memory: none is dropped."""

    def __init__(self, calls: CallLog) -> None:
        self._calls = calls
        self._waiting: deque[CallRecord] = deque()
        self._turn = asyncio.Lock()

    def sink(self, record: CallRecord) -> None:
        self._waiting.append(record)

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
                    log.error("call records wait, the store refused them: %s", error.message)
                    return
                for _ in batch:
                    self._waiting.popleft()
