"""Finds personal data and secrets in a text, whatever script or invisible characters it is written with.

Recognisers read a folded copy of the text (compatibility forms, every script's digits as ASCII, invisible characters
gone), and a map of offsets carries what they find back, so that a full-width or zero-width card number is still one.
Known misses, by choice: addresses spelled out ("john (at) acme dot com") or spaced letter by letter.
"""

from __future__ import annotations

import bisect
import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from typing import Final

from bascule.core.digit_windows import digit_windows
from bascule.core.glance import glance
from bascule.core.policies import Finding
from bascule.core.recognisers import OF_DIGITS, RECOGNISERS

KINDS: Final = tuple(RECOGNISERS)
SECRET_KINDS: Final = ("private_key", "key")
PERSONAL_KINDS: Final = tuple(kind for kind in KINDS if kind not in SECRET_KINDS)
_READ_WINDOWS: Final = OF_DIGITS | {"national_id"}
_DASHES: Final = frozenset("‐‑‒–—―−﹘﹣－")
_BEYOND_ASCII: Final = re.compile(r"[^\x00-\x7f]")
_INVISIBLE: Final = frozenset(["Cf", "Mn"])


def find(text: str, *, context: str = "", kinds: Collection[str] = KINDS) -> list[Finding]:
    """Spans in `text`, in order and without overlaps. `context` is what stands above it (a table's column name)."""
    folded, offsets = _fold(text)
    windows = digit_windows(folded) if any(kind in _READ_WINDOWS for kind in kinds) else ()
    taken: list[Finding] = []
    for kind, recogniser in RECOGNISERS.items():
        if kind not in kinds or (not windows and kind in OF_DIGITS):
            continue
        if found := list(recogniser(folded, context, windows)):
            taken = merged(taken, sorted(found, key=lambda f: f.start))
    if offsets is None:
        return taken
    return [Finding(kind=f.kind, start=offsets[f.start], end=offsets[f.end - 1] + 1) for f in taken]


def possible(texts: Iterable[str], kinds: Collection[str]) -> list[str]:
    """Those of `kinds` that `find` could see in any of the texts, whatever their contexts, which must be among the texts too.

    Cheaper than asking `find` of each. A kind that is not of `KINDS` is left in.
    """
    folded, _ = _fold("\n".join(texts))
    found = glance(folded)
    return [kind for kind in kinds if kind in found or kind not in RECOGNISERS]


def _fold(text: str) -> tuple[str, list[int] | None]:
    """(folded text, offset in `text` of each of its characters); None when folding moves nothing."""
    if text.isascii():
        return text, None
    plain: dict[str, str] = {char: _fold_char(char) for char in set(_BEYOND_ASCII.findall(text))}
    if all(len(folded) == 1 for folded in plain.values()):
        changed = {ord(char): folded for char, folded in plain.items() if folded != char}
        return text.translate(changed) if changed else text, None
    parts: list[str] = []
    offsets: list[int] = []
    for index, char in enumerate(text):
        new = plain.get(char, char)
        parts.append(new)
        offsets.extend([index] * len(new))
    return "".join(parts), offsets


@lru_cache(maxsize=2048)
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


def merged(taken: Sequence[Finding], found: Sequence[Finding]) -> list[Finding]:
    """Both in order; a finding that overlaps one of a kind ranked earlier, or one before it, is dropped."""
    merged = list(taken)
    for finding in found:
        at = bisect.bisect_left(merged, finding.end, key=lambda other: other.start)
        if at == 0 or merged[at - 1].end <= finding.start:
            merged.insert(at, finding)
    return merged
