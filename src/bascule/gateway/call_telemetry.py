"""Hands finished calls to an exporter, in batches and off the event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from bascule.core.calls import CallRecord
from bascule.core.telemetry import CallExporter
from bascule.gateway.metrics import SPANS_DROPPED

EVERY_S: Final = 0.5
MOST_WAITING: Final = 10_000


class CallTelemetry:
    """`sink` never blocks. Spans are a view, not the books: when the exporter is slower than calls come, the oldest are
    dropped and counted."""

    def __init__(self, exporter: CallExporter) -> None:
        self._exporter = exporter
        self._waiting: deque[CallRecord] = deque()

    def sink(self, record: CallRecord) -> None:
        if len(self._waiting) >= MOST_WAITING:
            self._waiting.popleft()
            SPANS_DROPPED.inc()
        self._waiting.append(record)

    async def run(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            await self.flush()

    async def flush(self) -> None:
        records = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if records:
            await asyncio.to_thread(self._exporter.export, records)
