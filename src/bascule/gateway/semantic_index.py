"""Where a question that was answered is found again by one that is worded nearly the same. In memory, bounded, never text of an
answer: what it proposes is only the key of an entry in the state store, which decides.
"""

from __future__ import annotations

import time
from array import array
from collections import OrderedDict
from collections.abc import Callable
from operator import mul
from typing import Final

import msgspec

from bascule.gateway.alike import Question

SHELF: Final = 8  # wordings kept of one question


class Asked(msgspec.Struct):
    """A question whose answer was kept under `key`. `vector` is filled in when it is first compared."""

    key: str
    text: str
    question: Question
    expires_s: float  # on the index's clock
    vector: bytes | None = None
    fingerprint: str = ""


class Index:
    """At most `max_entries`, the oldest go first. A `place` stands for everything that must be identical.

    What has expired is dropped at the next call; a purge takes effect through the state store.
    """

    __slots__ = ("_clock", "_max_entries", "_shelves", "_size")

    def __init__(self, max_entries: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_entries = max_entries
        self._clock = clock
        self._shelves: OrderedDict[bytes, list[Asked]] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def find(self, place: bytes) -> list[Asked]:
        """The newest first."""
        self._sweep()
        now_s = self._clock()
        return [asked for asked in reversed(self._shelves.get(place, ())) if asked.expires_s > now_s]

    def add(self, place: bytes, key: str, text: str, question: Question, lived_s: float) -> None:
        self.drop(place, key)
        shelf = self._shelves.setdefault(place, [])
        shelf.append(Asked(key, text, question, self._clock() + lived_s))
        self._shelves.move_to_end(place)
        self._size += 1
        if len(shelf) > SHELF:
            del shelf[0]
            self._size -= 1
        self._sweep()
        while self._size > self._max_entries:
            self._size -= len(self._shelves.popitem(last=False)[1])

    def drop(self, place: bytes, key: str) -> None:
        shelf = self._shelves.get(place)
        if shelf is None:
            return
        kept = [asked for asked in shelf if asked.key != key]
        self._size -= len(shelf) - len(kept)
        if kept:
            self._shelves[place] = kept
        else:
            del self._shelves[place]

    def _sweep(self) -> None:
        """Shelves stand in the order of their newest entry, so those that have expired whole are at the front."""
        now_s = self._clock()
        while self._shelves:
            place = next(iter(self._shelves))
            if self._shelves[place][-1].expires_s > now_s:
                return
            self._size -= len(self._shelves.pop(place))


def cosine(one: bytes, other: bytes) -> float:
    """Of two vectors of unit length (float32, little-endian); -1 for what does not compare, NaN included."""
    if len(one) != len(other):
        return -1.0
    product = sum(map(mul, array("f", one), array("f", other)))
    return product if -1.01 <= product <= 1.01 else -1.0
