"""Where finished calls are told to an outside observer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from bascule.core.calls import CallRecord


class CallExporter(Protocol):
    def export(self, records: Sequence[CallRecord]) -> None:
        """Hand these on. Runs on a thread of its own, may block it, and keeps its failures to itself."""
        ...
