"""Made-up chunks for `bench_search.py`, as many as wanted: words by number, unit vectors, rights by document, kept in files.

Words follow the interpreter's own documentation (pydoc topics) with a Zipfian tail, lengths a log-normal spread about 100 words.
Vectors are random, unit length, in clusters. Every block is made from its own seed, so memory does not grow with the size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np

from bascule.core.lexical import terms
from bascule.core.vectors import Candidate, Point

DIMENSION = 384
WORDS_MEAN, WORDS_SPREAD, WORDS_LEAST, WORDS_MOST = 100, 0.35, 12, 250
WORDS_PER_QUERY = 7
TAIL_WORDS = 200_000
TAIL_SHARE = 0.25
CLUSTERS_PER = 500  # chunks to a cluster, about
CHUNKS_PER_DOCUMENT = 20
BATCH = 512
BLOCK = 16_384
COLLECTION = "c"
TENANT = "t"
# acl 1 is on 1 % of the chunks, acl 2 on 9 %, acl 3 on the rest: so {1}, {1, 2}, {1, 2, 3} see 1, 10 and 100 %.
VISIBLE: dict[int, frozenset[int]] = {1: frozenset({1}), 10: frozenset({1, 2}), 100: frozenset({1, 2, 3})}

NO_WORD = -1
K1, B = 1.2, 0.75


class Corpus:
    def __init__(self, size: int, folder: Path, seed: int = 7) -> None:
        self.size = size
        self.words, self._weights = _vocabulary()
        self._number_of = {word: n for n, word in enumerate(self.words.tolist())}
        rng = np.random.default_rng(seed)
        self._centres = rng.standard_normal((max(20, size // CLUSTERS_PER), DIMENSION)).astype(np.float32)
        documents = rng.choice([1, 2, 3], size // CHUNKS_PER_DOCUMENT + 1, p=[0.01, 0.09, 0.9])
        self.acl = np.repeat(documents, CHUNKS_PER_DOCUMENT)[:size]
        whole = folder / f"whole-{size}"
        mode: Any = "r+" if whole.exists() else "w+"
        self.vectors: Any = np.memmap(folder / f"vectors-{size}", "<f4", mode, shape=(size, DIMENSION))
        self.numbers: Any = np.memmap(folder / f"words-{size}", "<i4", mode, shape=(size, WORDS_MOST))
        self.lengths: Any = np.memmap(folder / f"lengths-{size}", "<i4", mode, shape=(size,))
        if mode == "w+":
            for start in range(0, size, BLOCK):
                self._fill(slice(start, min(start + BLOCK, size)), np.random.default_rng((seed, start)))
            whole.touch()

    def _fill(self, block: slice, rng: np.random.Generator) -> None:
        count = block.stop - block.start
        near = self._centres[rng.integers(0, len(self._centres), count)]
        self.vectors[block] = _unit(near + rng.standard_normal((count, DIMENSION), np.float32))
        wished = rng.lognormal(np.log(WORDS_MEAN), WORDS_SPREAD, count)
        lengths = np.clip(wished, WORDS_LEAST, WORDS_MOST).astype(np.int32)
        numbers = np.full((count, WORDS_MOST), NO_WORD)
        numbers[np.arange(WORDS_MOST) < lengths[:, None]] = rng.choice(self.words.size, lengths.sum(), p=self._weights)
        self.numbers[block] = numbers
        self.lengths[block] = lengths

    def points(self, batch: int = BATCH) -> Iterator[list[Point]]:
        for start in range(0, self.size, batch):
            yield [self._point(n) for n in range(start, min(start + batch, self.size))]

    def _point(self, number: int) -> Point:
        return Point(
            chunk_id=f"{number:032x}",
            document_id=f"d{number // CHUNKS_PER_DOCUMENT}",
            tenant=TENANT,
            collection_id=COLLECTION,
            acl_id=int(self.acl[number]),
            vector=self.vectors[number].tobytes(),
            terms=tuple(self.words_of(number).tolist()),
        )

    def words_of(self, number: int) -> np.ndarray[Any, Any]:
        found: np.ndarray[Any, Any] = self.words[self.numbers[number, : self.lengths[number]]]
        return found

    def queries(self, count: int) -> list[tuple[np.ndarray[Any, Any], list[str]]]:
        """A vector near a chunk's, and seven of its words."""
        rng = np.random.default_rng(11)
        found = []
        for number in rng.integers(0, self.size, count):
            vector = _unit(self.vectors[number] + 0.03 * rng.standard_normal(DIMENSION).astype(np.float32))
            words = rng.choice(self.words_of(number), WORDS_PER_QUERY, replace=False)
            found.append((vector, words.tolist()))
        return found

    def hidden(self, percent: int) -> np.ndarray[Any, Any]:
        return ~np.isin(self.acl, list(VISIBLE[percent]))

    def cosines(self, vector: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """In float64, chunk by chunk."""
        wide = vector.astype(float)
        parts = [self.vectors[n : n + BLOCK].astype(float) @ wide for n in range(0, self.size, BLOCK)]
        return np.concatenate(parts)

    def bm25(self, words: list[str]) -> np.ndarray[Any, Any]:
        """The formula over the whole matrix; -inf where no word is."""
        numbers = [self._number_of[word] for word in words]
        tf = np.concatenate([self._times(numbers, n) for n in range(0, self.size, BLOCK)])
        norm = K1 * (1 - B + B * self.lengths / self.lengths.mean())
        scores = np.zeros(self.size)
        for column in tf.T:
            df = np.count_nonzero(column)
            scores += np.log(1 + (self.size - df + 0.5) / (df + 0.5)) * column * (K1 + 1) / (column + norm)
        return np.where(scores > 0, scores, -np.inf)

    def _times(self, numbers: list[int], start: int) -> np.ndarray[Any, Any]:
        block = np.asarray(self.numbers[start : start + BLOCK])
        return np.stack([(block == number).sum(axis=1) for number in numbers], axis=1)


def recall(found: list[Candidate], scores: np.ndarray[Any, Any], limit: int) -> float:
    """Share of the `limit` best scores that was found (a tie with the last counts as found)."""
    positive = np.sort(scores[np.isfinite(scores)])[::-1][:limit]
    if not positive.size:
        return 1.0
    good = sum(1 for c in found if scores[int(c.chunk_id, 16)] >= positive[-1] - 1e-6)
    return good / positive.size


def _vocabulary() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Words and how likely each is."""
    counted = Counter(word for text in topics.values() for word in terms(text))
    words = np.array([*counted, *(f"tail{n}" for n in range(TAIL_WORDS))])
    head = np.array(list(counted.values()), float)
    tail = 1 / np.arange(10, TAIL_WORDS + 10)
    return words, np.concatenate((head / head.sum() * (1 - TAIL_SHARE), tail / tail.sum() * TAIL_SHARE))


def _unit(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    unit: np.ndarray[Any, Any] = values / np.linalg.norm(values, axis=-1, keepdims=True)
    return unit.astype(np.float32)
