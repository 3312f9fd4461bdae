"""Finds personal data and secrets in a text, whatever script or invisible characters it is written with.

Recognisers read a folded copy of the text (compatibility forms, every script's digits as ASCII, invisible characters
gone), and a map of offsets carries what they find back, so that a full-width or zero-width card number is still one.
Known misses, by choice: addresses spelled out ("john (at) acme dot com") or spaced letter by letter.
"""

from __future__ import annotations

import bisect
import unicodedata
from collections.abc import Collection, Sequence
from typing import Final

from bascule.core.digit_windows import digit_windows
from bascule.core.policies import Finding
from bascule.core.recognisers import RECOGNISERS

KINDS: Final = tuple(RECOGNISERS)
SECRET_KINDS: Final = ("private_key", "key")
PERSONAL_KINDS: Final = tuple(kind for kind in KINDS if kind not in SECRET_KINDS)
_DASHES: Final = frozenset("‐‑‒–—―−﹘﹣－")
_INVISIBLE: Final = frozenset(["Cf", "Mn"])


def find(text: str, *, context: str = "", kinds: Collection[str] = KINDS) -> list[Finding]:
    """Spans in `text`, in order and without overlaps. `context` is what stands above it (a table's column name)."""
    folded, offsets = _fold(text)
    windows = digit_windows(folded)
    taken: list[Finding] = []
    for kind, recogniser in RECOGNISERS.items():
        if kind in kinds:
            found = sorted(recogniser(folded, context, windows), key=lambda f: f.start)
            taken = _merged(taken, found)
    if offsets is None:
        return taken
    return [Finding(kind=f.kind, start=offsets[f.start], end=offsets[f.end - 1] + 1) for f in taken]


def _fold(text: str) -> tuple[str, list[int] | None]:
    """(folded text, offset in `text` of each of its characters); None when folding changes nothing."""
    if text.isascii():
        return text, None
    folded: list[str] = []
    offsets: list[int] = []
    known: dict[str, str] = {}
    for index, char in enumerate(text):
        plain = char if char < "\x80" else known.get(char)
        if plain is None:
            plain = known[char] = _fold_char(char)
        folded.append(plain)
        offsets.extend([index] * len(plain))
    return "".join(folded), offsets


def _fold_char(char: str) -> str:
    if unicodedata.category(char) in _INVISIBLE:
        return ""
    if char in _DASHES:
        return "-"
    digit = unicodedata.decimal(char, None)
    if digit is not None:
        return str(digit)
    plain = unicodedata.normalize("NFKC", char)
    return " " if plain.isspace() else plain


def _merged(taken: Sequence[Finding], found: Sequence[Finding]) -> list[Finding]:
    """Both in order; a finding that overlaps one of a kind ranked earlier, or one before it, is dropped."""
    merged = list(taken)
    for finding in found:
        at = bisect.bisect_left(merged, finding.end, key=lambda other: other.start)
        if at == 0 or merged[at - 1].end <= finding.start:
            merged.insert(at, finding)
    return merged
