"""Entries this process has seen, so that a hit asks nobody. Used only while it is certain to hear what others remove."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

ENTRY_OVERHEAD_BYTES: Final = 400  # what an entry costs beside its key and value


class _Entry(msgspec.Struct):
    value: bytes
    expires_s: float
    tags: Sequence[str]
    size_bytes: int


class Near:
    """Bounded by `max_bytes`; the least recently used goes first. An entry lives at most as long as in the shared store.

    Another process's purge, delete or put takes effect here when its message arrives. `extend` says until when it is certain
    that none is late; after that nothing is given from here, so that what is removed elsewhere is given at most that long.
    """

    def __init__(self, max_bytes: int, clock: Callable[[], float]) -> None:
        self._max_bytes = max_bytes
        self._clock = clock
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._tagged: dict[str, set[str]] = {}
        self._size_bytes = 0
        self._certain_until_s = 0.0
        self._changes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def healthy(self) -> bool:
        return time.monotonic() < self._certain_until_s

    @property
    def changes(self) -> int:
        """How much has been removed so far. What was asked for before a removal may be what was removed."""
        return self._changes

    def extend(self, until_s: float) -> None:
        """`until_s`: as time.monotonic() counts."""
        self._certain_until_s = until_s

    def get(self, key: str) -> bytes | None:
        entry = self._entries.get(key)
        if entry is None or time.monotonic() >= self._certain_until_s:
            return None
        if entry.expires_s <= self._clock():
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return entry.value

    def keep(self, key: str, value: bytes, tags: Sequence[str], expires_s: float, changes: int) -> None:
        """`changes`: what they were when the entry was asked for."""
        size_bytes = len(key) + len(value) + ENTRY_OVERHEAD_BYTES + sum(map(len, tags))
        if changes != self._changes or not self.healthy or size_bytes > self._max_bytes:
            return
        if key in self._entries:
            self._drop(key)
        self._entries[key] = _Entry(value, expires_s, tags, size_bytes)
        self._size_bytes += size_bytes
        for tag in tags:
            self._tagged.setdefault(tag, set()).add(key)
        while self._size_bytes > self._max_bytes:
            self._drop(next(iter(self._entries)))

    def remove(self, key: str) -> None:
        self._changes += 1
        if key in self._entries:
            self._drop(key)

    def purge(self, tag: str) -> None:
        self._changes += 1
        for key in list(self._tagged.get(tag, ())):
            self._drop(key)

    def clear(self) -> None:
        self._changes += 1
        self._entries.clear()
        self._tagged.clear()
        self._size_bytes = 0

    def shut(self) -> None:
        """Empty, and give nothing until `extend`."""
        self._certain_until_s = 0.0
        self.clear()

    def _drop(self, key: str) -> None:
        entry = self._entries.pop(key)
        self._size_bytes -= entry.size_bytes
        for tag in entry.tags:
            keys = self._tagged.get(tag)
            if keys is not None:
                keys.discard(key)
                if not keys:
                    del self._tagged[tag]
