"""What a generation is on the disk and what it can be asked, without the engine: the service itself never loads it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import msgspec
import numpy as np

from bascule.core.errors import StorageError

SHARD: Final = "shard"
WORDS: Final = "words.sqlite"
ROWS: Final = "rows.u64"  # for each slot, where its words begin in the next file
TERMS: Final = "terms.u32"  # pairs: number of a word, how often the chunk has it
FACTS: Final = "facts.json"

PASSED_ON: Final = ("PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH")  # where code lies; never a secret

Slots = np.ndarray[Any, np.dtype[np.int64]]
Doubles = np.ndarray[Any, np.dtype[np.float64]]
Floats = np.ndarray[Any, np.dtype[np.float32]]
Times = np.ndarray[Any, np.dtype[np.uint32]]


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """index     the index's own generation, whose slots these are
    seq       the last transaction it has seen
    averages  tenant -> average length the stored weights were made with
    counts    (place, acl_id, chunks)
    """

    index: str
    seq: int
    built_at: float
    dimensions: tuple[int, ...]
    averages: dict[int, float]
    counts: tuple[tuple[int, int, int], ...]

    @property
    def chunks(self) -> int:
        return sum(each for _, _, each in self.counts)

    def visible(self, places: Iterable[int], allowed: frozenset[int]) -> int:
        """How many of its chunks were in these places with these acl_ids."""
        wanted = frozenset(places)
        return sum(chunks for place, acl_id, chunks in self.counts if place in wanted and acl_id in allowed)


def read_facts(folder: Path) -> Facts:
    """Raises OSError or ValueError when the generation is not whole."""
    return msgspec.json.decode((folder / FACTS).read_bytes(), type=Facts)


class Within(NamedTuple):
    """Whose chunks may be proposed."""

    places: Sequence[int]
    allowed: frozenset[int]


class Proposed(NamedTuple):
    """`last`: the lowest score proposed, 0 when nothing else could have been. `times`: how often each chunk has each word asked."""

    slots: Slots
    last: float
    times: Times


class Proposer(Protocol):
    """A generation that can be asked, from any thread. What it proposes is as old as the generation is."""

    @property
    def folder(self) -> Path: ...

    @property
    def facts(self) -> Facts: ...

    @property
    def alive(self) -> bool: ...

    def dense(self, query: Floats, within: Within, limit: int, ef: int) -> Slots:
        """About the `limit` nearest it knows. Raises EngineRefused, as `lexical` does."""
        ...

    def lexical(self, tenant_id: int, weights: Mapping[bytes, float], within: Within, limit: int) -> Proposed:
        """The `limit` best by the sum of the words' weights times the weights stored with each chunk."""
        ...

    def close(self) -> None: ...


class EngineRefused(StorageError):
    """The engine failed. The answer can be had without it."""


def clean_environment() -> dict[str, str]:
    """For the engine's processes: nothing of the service's own but where its code lies."""
    return {name: os.environ[name] for name in PASSED_ON if name in os.environ} | {"LC_ALL": "C.UTF-8"}
