"""A document's signature: enough of it to find others that say nearly the same, and too little to say what.

MinHash of 4-word shingles (Broder 1997) by one permutation, with empty bins filled from their neighbours (Li, Owen, Zhang 2012;
Shrivastava and Li 2014), so that a word is hashed once. The share of equal values estimates the resemblance: with 60 of them,
.9 is seen within .08 in nineteen cases of twenty.
"""

from __future__ import annotations

import re
import struct
from hashlib import blake2b
from typing import Final

from bascule.core.alike import VALUES

SHINGLE_WORDS: Final = 4
LEAST_WORDS: Final = 20  # below that, two documents are too easily the same
_WORD: Final = re.compile(r"\w+")
_EMPTY: Final = 1 << 32


def signature(text: str) -> bytes:
    """VALUES numbers of four bytes; empty for a text too short to be told from others."""
    words = [word.encode("utf-8", "surrogatepass") for word in _WORD.findall(text.lower())]
    if len(words) < LEAST_WORDS:
        return b""
    shingles = set(zip(*(words[at:] for at in range(SHINGLE_WORDS)), strict=False))
    bins = [_EMPTY] * VALUES
    for shingle in shingles:
        drawn = int.from_bytes(blake2b(b" ".join(shingle), digest_size=8).digest(), "big")
        place, value = drawn % VALUES, drawn >> 32
        if value < bins[place]:
            bins[place] = value
    return struct.pack(f"<{VALUES}I", *_filled(bins))


def _filled(bins: list[int]) -> list[int]:
    """Each empty bin takes the next filled one's value, changed by how far away it was."""
    filled = list(bins)
    from_here = next(place for place in range(VALUES) if bins[place] != _EMPTY)
    value, away = bins[from_here], 0
    for place in range(from_here - 1, from_here - 1 - VALUES, -1):  # backwards, once around
        value, away = (bins[place], 0) if bins[place] != _EMPTY else (value, away + 1)
        filled[place] = (value + away * 0x9E3779B1) & 0xFFFFFFFF
    return filled
