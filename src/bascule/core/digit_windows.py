"""Where in a text numbers of any length stand: all that recognisers of numbers need to read.

Most text has no such place, and a regular expression that tries every character of it costs far more than one that looks for
digits first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

Window = tuple[int, int]  # [start, end) in the text

_NUMBER: Final = re.compile(r"\d(?:\D{0,3}\d){5,}+")
_BEFORE: Final = 16  # letters and signs that belong to a number and stand before its digits
_AFTER: Final = 40


def has_numbers(text: str) -> bool:
    """Is there any window?"""
    return _NUMBER.search(text) is not None


def digit_windows(text: str) -> Sequence[Window]:
    """In order, apart from each other: around each six or more digits that are at most three characters apart."""
    found: list[Window] = []
    for match in _NUMBER.finditer(text):
        start, end = max(0, match.start() - _BEFORE), min(len(text), match.end() + _AFTER)
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    return found
