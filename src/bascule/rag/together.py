"""Which documents share a message to a parsing child: a message costs as much as a small document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bascule.rag.wire import Work

_AT_MOST: Final = 64
_BYTES: Final = (
    64_000  # of all in a message: so little text that a child which is slow over it has met something unusual
)
_SMALL_BYTES: Final = 16_000
_GROWS: Final = (b"\x1f\x8b", b"%PDF")  # what is packed may be large all the same


def together(works: Sequence[Work]) -> list[list[int]]:
    """Their places, each in one group. What is large or no plain text stays alone."""
    groups: list[list[int]] = []
    open_group: list[int] = []
    size = 0
    for place, work in enumerate(works):
        if not _is_small_text(work.data):
            groups.append([place])
            continue
        if open_group and (len(open_group) == _AT_MOST or size + len(work.data) > _BYTES):
            groups.append(open_group)
            open_group, size = [], 0
        open_group.append(place)
        size += len(work.data)
    return [*groups, open_group] if open_group else groups


def _is_small_text(data: bytes) -> bool:
    return len(data) <= _SMALL_BYTES and b"\0" not in data and not data.startswith(_GROWS)
