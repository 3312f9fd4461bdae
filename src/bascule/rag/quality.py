"""How much a text reads like text: 1 for prose in any language, near 0 for noise. For thresholds, not for ranking.

Three shares, multiplied: characters that texts are made of, tokens that could be words or numbers, and how far the text compresses
(what is random does not, and one line a thousand times does too well).
"""

from __future__ import annotations

import re
import zlib
from functools import lru_cache
from typing import Final

from bascule.rag.clean import is_plain

SAMPLE_CHARS: Final = 50_000
_SHORT_CHARS: Final = 1500  # too little to say anything by compressing it
_TRIM: Final = re.compile(r"^\W+|\W+$")
_STRANGE: Final = re.compile(r"[\ufffd\x00-\x08\x0b-\x1f\x7f\ue000-\uf8ff]")
_LATIN: Final = re.compile(r"[A-Za-zÀ-ɏ]+(?:['’\-./_][A-Za-zÀ-ɏ]+)*")
_NUMBER: Final = re.compile(r"[+\-]?\d[\d.,:/%\-]*")
_VOWEL: Final = re.compile(r"[aeiouyàáâãäåæèéêëìíîïòóôõöøùúûüýÿœąęıőű]", re.IGNORECASE)
_LONGEST_WORD: Final = 40
_MIXED: Final = re.compile(r"[a-z][A-Z]")
_RANDOM: Final = 0.75  # compressed share from which a text is as good as random
_USUAL: Final = 0.62
_REPEATED: Final = 0.03  # and below which it says the same again and again


def quality(text: str) -> float:
    """0..1, rounded to hundredths."""
    sample = text[:SAMPLE_CHARS]
    tokens = sample.split()
    if not tokens:
        return 0.0
    strange = 0 if is_plain(sample) else len(_STRANGE.findall(sample))
    clean = 1 - min(1.0, 10 * strange / len(sample))
    wordlike = sum(map(_is_wordlike, tokens)) / len(tokens)
    return round(clean * min(1.0, wordlike / 0.7) * _order(sample), 2)


@lru_cache(maxsize=16_384)  # most words of a document are in the one before it too
def _is_wordlike(token: str) -> bool:
    core = _TRIM.sub("", token)
    if not core:
        return False
    if _NUMBER.fullmatch(core):
        return True
    if _LATIN.fullmatch(core):
        long = len(core) > 3 and not core.isupper()
        return len(core) <= _LONGEST_WORD and not (long and not _VOWEL.search(core)) and len(_MIXED.findall(core)) <= 2
    return core.isascii() is False and any(char.isalpha() for char in core)


def _order(sample: str) -> float:
    """1 where a text compresses as texts do."""
    if len(sample) < _SHORT_CHARS:
        return 1.0
    data = sample.encode("utf-8", "replace")
    share = len(zlib.compress(data, 1)) / len(data)
    if share > _USUAL:
        return max(0.1, 1 - (share - _USUAL) / (_RANDOM - _USUAL))
    return 0.3 if share < _REPEATED else 1.0
