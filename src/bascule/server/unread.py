"""Answers that nobody reads: how long one may wait for its reader, and how much may wait in all.

A stream holds back its vendor while it is not read (`gateway/flight.py`) and ends at its deadline. A whole answer is handed to the
connection at once and would lie in memory for as long as the client keeps the connection open.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from bascule.server.protocol import Protocol

UNREAD_S: Final = 60.0  # without a byte taken
MOST_UNREAD_BYTES: Final = 100_000_000  # over all connections; beyond it the largest go first
SPARED_S: Final = 2.0  # a reader who is only slow is spared so long, whatever there is in all


class Unread:
    """Sees every connection now and then. `sweep` closes those that do not read."""

    def __init__(self, most_bytes: int = MOST_UNREAD_BYTES, longest_s: float = UNREAD_S) -> None:
        self._most_bytes = most_bytes
        self._longest_s = longest_s
        self._waiting: dict[Any, tuple[int, float]] = {}  # connection -> bytes that wait, and since when none was taken

    def sweep(self, connections: Iterable[Any], now_s: float) -> int:
        """Abort whole answers that wait too long or are too much in all; how many there were. `now_s`: the loop's time."""
        before, self._waiting = self._waiting, {}
        for connection in connections:
            if isinstance(connection, Protocol) and (waits := connection.unread_bytes):
                size, since_s = before.get(connection, (0, now_s))
                self._waiting[connection] = (waits, since_s if waits >= size > 0 else now_s)
        gone = [c for c, (_, since_s) in self._waiting.items() if now_s - since_s > self._longest_s]
        gone += self._too_much(now_s, frozenset(gone))
        for connection in gone:
            del self._waiting[connection]
            connection.transport.abort()
        return len(gone)

    def _too_much(self, now_s: float, gone: frozenset[Any]) -> list[Any]:
        left = {c: found for c, found in self._waiting.items() if c not in gone}
        total, found = sum(size for size, _ in left.values()), []
        for connection, (size, since_s) in sorted(left.items(), key=lambda item: -item[1][0]):
            if total <= self._most_bytes:
                break
            if now_s - since_s > SPARED_S:
                found.append(connection)
                total -= size
        return found
