"""Passages that say the same in nearly the same words: one of them is enough for an answer.

Resemblance of shingles (Broder 1997), counted exactly: there are at most some dozens of passages, all of which this reader may
read, so that nothing need be estimated, stored or compared across rights. Two versions that differ in a number, a name or a
negation are not the same, however alike they look: an answer must see both.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from bascule.core.documents import Hit

SHINGLE_WORDS: Final = 4
LEAST_RESEMBLANCE: Final = 0.8
COMPARED: Final = 60  # of the best hits
_WORD: Final = re.compile(r"\w+(?:[.,:/\-]\w+)*")
_INSIDE: Final = re.compile(r"(?<=[\w,;)] )([^\W\d_]\w+)")
_SHORT_NOT: Final = re.compile(r"n['’]t\b", re.IGNORECASE)
_NEGATIONS: Final = frozenset({
    "no", "not", "never", "none", "nor", "neither", "without", "except", "unless", "cannot", "kein", "keine", "keinen",
    "nicht", "nie", "ohne", "ne", "pas", "jamais", "sans", "sin", "nunca", "ni", "non", "senza", "mai", "nao", "não",
    "sem", "niet", "geen", "zonder",
})  # fmt: skip


class Reading(msgspec.Struct, frozen=True):
    """`telling`: what must be the same in both: words with digits, negations, and words in capitals within a sentence."""

    shingles: frozenset[tuple[str, ...]]
    telling: tuple[str, ...]
    plain: str


def read(text: str) -> Reading:
    words = _WORD.findall(text)
    plain = [word.lower() for word in words]
    shingles = {tuple(plain[at : at + SHINGLE_WORDS]) for at in range(max(1, len(plain) - SHINGLE_WORDS + 1))}
    telling = [word for word in plain if word in _NEGATIONS or any(char.isdigit() for char in word)]
    telling += _names(text) + _SHORT_NOT.findall(text)
    return Reading(frozenset(shingles), tuple(sorted(telling)), " ".join(plain))


def _names(text: str) -> list[str]:
    """Words that begin with a capital where no sentence does."""
    return [word for word in _INSIDE.findall(text) if word[0].isupper()]


def same(one: Reading, other: Reading) -> bool:
    if one.plain == other.plain:
        return True
    if one.telling != other.telling or not one.shingles or not other.shingles:
        return False
    return len(one.shingles & other.shingles) >= LEAST_RESEMBLANCE * len(one.shingles | other.shingles)


def without_repeats(hits: Sequence[Hit]) -> list[Hit]:
    """In order, each kept that is not the same as one kept before it."""
    kept: list[Hit] = []
    readings: list[Reading] = []
    for number, hit in enumerate(hits):
        reading = read(hit.chunk.text) if number < COMPARED else None
        if reading is not None and any(same(reading, before) for before in readings):
            continue
        kept.append(hit)
        if reading is not None:
            readings.append(reading)
    return kept
