"""Names, places and addresses by a token-classification model in ONNX: a folder of model.onnx, tokenizer.json and config.json.

The text is read in overlapping windows, and a word is a name when any of its tokens says so in any window: of a name that is masked
by half, half is shown. Words that follow each other make one finding.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from bascule.core.policies import Finding

LEAST: Final = 0.4  # probability of a word; docs/decisions/parsers.md has what others find
WINDOW: Final = 126  # tokens: what such models were trained on is short
OVERLAP: Final = 24

_KINDS: Final = {
    **dict.fromkeys(("GIVEN_NAME", "SURNAME", "PER", "PERSON"), "name"),
    **dict.fromkeys(("BUILDING_NUMBER", "STREET_NAME", "SECONDARY_ADDRESS", "CITY", "STATE", "ZIP_CODE"), "place"),
    **dict.fromkeys(("LOC", "LOCATION", "GPE"), "place"),
}
_BETWEEN: Final = {
    "name": re.compile(r"[ \u00a0]{0,2}|\.? |[-'\u2019]"),  # two lines are two names
    "place": re.compile(r"[ \u00a0]{0,2}|[.,]? {0,2}\n? {0,2}|[-'\u2019]"),
}

Floats = np.ndarray[Any, np.dtype[np.float32]]
Ids = np.ndarray[Any, np.dtype[np.int64]]


class Word(NamedTuple):
    start: int
    end: int
    kind: str


class Tagger:
    """Text to findings. Loads the model; runs on one thread."""

    def __init__(self, folder: Path) -> None:
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        import onnxruntime
        from tokenizers import Tokenizer

        labels = json.loads((folder / "config.json").read_bytes())["id2label"]
        kinds = [_KINDS.get(str(labels[str(number)]).upper().partition("-")[2]) for number in range(len(labels))]
        self._kinds = tuple(dict.fromkeys(kind for kind in kinds if kind))
        self._of_kind = np.array([[kind == each for each in self._kinds] for kind in kinds], np.float32)
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._first, self._last = (
            np.array([self._tokenizer.token_to_id(mark)], np.int64) for mark in ("[CLS]", "[SEP]")
        )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self._inputs = {each.name for each in self._session.get_inputs()}

    def __call__(self, text: str) -> list[Finding]:
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        if not encoding.ids or not self._kinds:
            return []
        words = _words(text, encoding.offsets, encoding.word_ids, self._kinds, self._shares(encoding))
        return [Finding(kind=word.kind, start=word.start, end=word.end) for word in _joined(text, words)]

    def _shares(self, encoding: Any) -> Floats:
        """For each token and kind the probability, the highest of its windows."""
        ids, count = np.array(encoding.ids, np.int64), len(encoding.ids)
        found = np.zeros((count, len(self._kinds)), np.float32)
        for start, end in _windows(encoding.word_ids):
            part = found[start:end]
            np.maximum(part, self._run(ids[start:end]) @ self._of_kind, out=part)
        return found

    def _run(self, ids: Ids) -> Floats:
        framed = np.concatenate((self._first, ids, self._last)).reshape(1, -1)
        given = {"input_ids": framed, "attention_mask": np.ones_like(framed), "token_type_ids": np.zeros_like(framed)}
        logits = self._session.run(None, {name: given[name] for name in self._inputs})[0][0, 1:-1]
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares: Floats = powers / powers.sum(axis=1, keepdims=True)
        return shares


def _windows(word_ids: Sequence[int | None]) -> Iterator[tuple[int, int]]:
    """[start, end) of the tokens, each from the beginning of a word where it can be."""
    start, count = 0, len(word_ids)
    while True:
        end = min(start + WINDOW, count)
        yield start, end
        if end == count:
            return
        following = end - OVERLAP
        while following - 1 > start and word_ids[following] == word_ids[following - 1]:
            following -= 1
        start = following


def _words(
    text: str, offsets: Sequence[tuple[int, int]], word_ids: Sequence[int | None], kinds: Sequence[str], shares: Floats
) -> Iterator[Word]:
    """Those that are of a kind, in order."""
    at = 0
    while at < len(offsets):
        end = at + 1
        while end < len(offsets) and word_ids[end] is not None and word_ids[end] == word_ids[at]:
            end += 1
        best = shares[at:end].max(axis=0)
        if best.max() >= LEAST:
            yield Word(offsets[at][0], offsets[end - 1][1], kinds[int(best.argmax())])
        at = end


def _joined(text: str, words: Iterator[Word]) -> Iterator[Word]:
    """Neighbours of one kind as one; marks alone are none."""
    held: Word | None = None
    for word in words:
        if not any(letter.isalnum() for letter in text[word.start : word.end]):
            continue
        if held and word.kind == held.kind and _BETWEEN[word.kind].fullmatch(text, held.end, word.start):
            held = Word(held.start, word.end, word.kind)
            continue
        if held:
            yield held
        held = word
    if held:
        yield held
