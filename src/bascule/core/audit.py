"""How acts are told to the audit log."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

MOST_NAMES: Final = 100


def listed_names(fact: str, names: Iterable[str]) -> dict[str, Any]:
    """As facts: in their order, the first hundred, and above that how many there were: an entry is kept for ever."""
    found = sorted(names)
    facts: dict[str, Any] = {fact: found[:MOST_NAMES]}
    return facts if len(found) <= MOST_NAMES else facts | {f"{fact}_count": len(found)}
