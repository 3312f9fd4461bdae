"""How long a text is in tokens: by the embedding model's own tokenizer, or by an estimate where there is none."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

Count = Callable[[str], int]

_PIECES: Final = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]|[^\W_]+|[^\w\s]|_"
)
_CHARS_PER_PIECE: Final = 6
_ASCII_PIECES: Final = re.compile(rf"[^\W_]{{1,{_CHARS_PER_PIECE}}}|[^\w\s]|_", re.ASCII)


def estimate(text: str) -> int:
    """A tokenizer's length without the tokenizer.

    One per word of up to six characters and one more per further six, one per punctuation mark, one per character in
    scripts written without spaces. Against MiniLM's tokenizer it counts a sixth too many on English prose, a tenth on
    Python's reference, the same on code, and a quarter too few on Spanish.
    """
    if text.isascii():
        return len(_ASCII_PIECES.findall(text))  # the same, four times as fast
    return sum((len(piece) + _CHARS_PER_PIECE - 1) // _CHARS_PER_PIECE for piece in _PIECES.findall(text))


def load(tokenizer: str) -> tuple[Count, str]:
    """The counter for the `tokenizer.json` at this path and its name for the report: "tokenizer" or "estimate".

    An absent file means the estimate. Raises Exception (the library's only one) when the file is there and damaged.
    """
    if not tokenizer or not Path(tokenizer).is_file():
        return estimate, "estimate"
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # a pool of threads would outlive the confinement
    from tokenizers import Tokenizer

    loaded = Tokenizer.from_str(Path(tokenizer).read_text(encoding="utf-8"))
    loaded.no_truncation()
    loaded.no_padding()

    def count(text: str) -> int:
        return len(loaded.encode(text, add_special_tokens=False).ids)

    return count, "tokenizer"
