"""Words as questions and evidence are compared: roots, content words, and how telling each is.

Search has its own terms (`core.lexical`), which merge little so that ranking stays sharp. Here "returned", "returning" and
"returns" must meet, because a question and its answer seldom use one form; the cost of a wrong meeting is small, since it
only adds to other evidence.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final

from bascule.core.lexical import STOPWORDS, fold, stem, terms

WORD: Final = re.compile(r"[^\W_]+(?:['’][^\W_]+)*", re.UNICODE)
_SUFFIXES: Final = (
    "ations", "ation", "ements", "ement", "ments", "ment", "ingly", "ings", "ing", "edly", "ed", "ers", "er", "ors", "or",
    "ions", "ion", "ness", "ably", "able", "ible", "ally", "ly", "es", "al", "e", "s",
)  # fmt: skip
# Words that shape a question and are not what it is about, in the languages the defaults know.
_SCAFFOLD: Final = frozenset([
    "about", "many", "much", "mean", "meaning", "means", "called", "call", "kind", "type", "name", "tell", "me", "explain",
    "describe", "give", "get", "us", "my", "mine", "am", "any", "some", "please", "happen", "happened", "been", "being",
    "also", "than", "them", "just", "only", "there", "one", "use", "used", "make", "made", "let", "long",
    "que", "cual", "cuales", "como", "cuando", "donde", "quien", "quienes", "cuanto", "cuantos", "cuanta", "cuantas",
    "por", "para", "de", "el", "la", "los", "las", "un", "una", "unos", "unas", "en", "y", "o", "del", "al", "se", "su",
    "sus", "es", "son", "fue", "era", "con", "lo", "le", "les", "ha", "han", "habia",
])  # fmt: skip


_STEMMED_SCAFFOLD: Final = _SCAFFOLD | frozenset(stem(w) for w in _SCAFFOLD)


@lru_cache(maxsize=16384)
def root(word: str) -> str:
    """A folded word, stemmed as search does and then more bluntly: "returned", "generators" and "generation" lose their ends."""
    return _blunt(stem(word))


def _blunt(term: str) -> str:
    """One suffix off, then a doubled consonant or a final i or y. Never below four characters."""
    if not term.isalpha() or len(term) < 5:
        return term
    for suffix in _SUFFIXES:
        if term.endswith(suffix) and len(term) - len(suffix) >= 4:
            term = term[: -len(suffix)]
            break
    if len(term) > 4 and (term[-1] in "iy" or (term[-1] == term[-2] and term[-1] not in "sl")):
        return term[:-1]
    return term


def roots(text: str) -> list[str]:
    """Roots of the content words, in order, repeats kept. Stop words are left out."""
    return [root(w) for w in plain(text) if w not in STOPWORDS]


def mentioned_roots(text: str) -> list[str]:
    """The same with stop words that are talked about (the "with" statement): several times slower, needed by few questions."""
    return [_blunt(t) for t in terms(text)]


def content(question: str) -> tuple[str, ...]:
    """The distinct roots a question is about, in order, without its scaffolding ("how many") unless nothing else is there."""
    found = [t for t in terms(question) if t not in _STEMMED_SCAFFOLD]
    kept = found or list(terms(question))
    return tuple(dict.fromkeys(_blunt(t) for t in kept))


def plain(text: str) -> list[str]:
    """Every word, folded, stop words and order kept: what phrases are matched on."""
    return [w.removesuffix("'s") for w in WORD.findall(fold(text).replace("’", "'"))]


def weigh(wanted: Sequence[str], texts: Iterable[frozenset[str]]) -> dict[str, float]:
    """How telling each wanted root is: ln(1 + (N - df + 0.5) / (df + 0.5)) over the asker's own visible hits.

    The asker's hits, not the corpus: no count of what they may not read gets in. A root none of them has weighs most.
    """
    sets = list(texts)
    count = len(sets)
    weights: dict[str, float] = {}
    for term in wanted:
        df = sum(term in s for s in sets)
        weights[term] = math.log1p((count - df + 0.5) / (df + 0.5)) + 0.3
    return weights


def cover(weights: Mapping[str, float], present: Iterable[str]) -> float:
    """The weighted share of the wanted roots that are present, 0..1."""
    total = sum(weights.values())
    if not total:
        return 0.0
    there = set(present)
    return sum(w for t, w in weights.items() if t in there) / total
