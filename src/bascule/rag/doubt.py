"""Does the passage say what is asked, or does it only use the same words? What speaks against it, as plain figures.

`Support` asks whether the topic is there. Here the sentence that covers most of the question is held against it: a negation
that only the question has, a word that means the contrary, a name or a number that is not there, a telling word left over.
Each is a figure 0..1; a logistic regression makes one probability of them. Its weights are in doubt.json, made by
`bench/bench_refusal.py --weights`: docs/decisions/refusal.md says on what, and what it cannot see.

English only: for a question in another language there is no doubt, and `Support` alone decides.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Final

import msgspec

from bascule.core.documents import Hit
from bascule.rag import extract, language, opposites, rerank, sentences, verify, words

READ: Final = 4  # passages looked at
_WEIGHED: Final = 10  # hits that say how telling a word is
_NEGATED: Final = re.compile(r"\b(?:not|never|no|cannot|without|neither|nor|none|nobody|nothing|non)\b|n['’]t\b", re.I)
_DEGREES: Final = frozenset([
    "least", "most", "fewest", "less", "more", "fewer", "smallest", "largest", "biggest", "highest", "lowest", "best",
    "worst", "greatest", "oldest", "youngest", "newest", "earliest", "latest", "longest", "shortest", "strongest",
    "weakest", "hardest", "easiest", "only", "always", "never", "all", "every", "entire", "before", "after", "until",
    "since", "during", "exact", "exactly", "approximately",
])  # fmt: skip


class Doubt(msgspec.Struct, frozen=True):
    """The figures that speak against an answer, or for it, and the probability that the question is not answered."""

    figures: Mapping[str, float]
    probability: float


class Weights(msgspec.Struct, frozen=True):
    bias: float
    weights: Mapping[str, float]

    def probability(self, figures: Mapping[str, float]) -> float:
        z = self.bias + sum(weight * figures[name] for name, weight in self.weights.items())
        return 1 / (1 + math.exp(-z))


class _Unit(msgspec.Struct, frozen=True):
    """A sentence, with the one before it and the headings as `near`, and its passage."""

    text: str
    wide: str
    own: frozenset[str]
    near: frozenset[str]
    body: rerank.Body
    passage: str
    score: float


def judge(question: str, hits: Sequence[Hit], support: extract.Support, *, cosine: float | None = None) -> Doubt | None:
    """Of the reranked hits, best first. `cosine`: of the sentence nearest in meaning, where it was computed.

    None when there is nothing to judge, or the question is in a language whose words are not known here.
    """
    if not hits or not language.asks_in_english(question):
        return None
    reading = rerank.read(question, [h.chunk for h in hits[:_WEIGHED]])
    unit = _best(reading, hits[: min(READ, _WEIGHED)])
    if unit is None:
        return None
    found = _left_over(reading, unit) | _names_and_numbers(question, unit) | _contrary(question, unit)
    found |= {"nearness": support.nearness, "named": support.named}
    by = "words"
    if cosine is not None and support.cosine is not None:
        found |= {"cosine": support.cosine, "sentence_cosine": cosine}
        by = "vectors"
    return Doubt({name: round(value, 4) for name, value in found.items()}, _fitted()[by].probability(found))


@cache
def _fitted() -> dict[str, Weights]:
    """`words`, and `vectors` with the two cosines."""
    raw = resources.files("bascule.rag").joinpath("doubt.json").read_bytes()
    return msgspec.json.decode(raw, type=dict[str, Weights])


def _best(reading: rerank.Reading, hits: Sequence[Hit]) -> _Unit | None:
    units = [unit for place, hit in enumerate(hits) for unit in _units(reading, hit, place)]
    return max(units, key=lambda u: u.score, default=None)


def _units(reading: rerank.Reading, hit: Hit, place: int) -> list[_Unit]:
    body = reading.bodies[hit.chunk.id]
    heading, before, before_text = frozenset(body.heading), frozenset[str](), ""
    bonus = 0.1 * words.cover(reading.weights, body.all) - 0.01 * place
    found = []
    for sentence in sentences.split(hit.chunk.text, hit.chunk.kind):
        own = frozenset(reading.roots(sentence.text))
        near = own | before | heading
        score = (words.cover(reading.weights, own) + words.cover(reading.weights, near)) / 2 + bonus
        wide = f"{before_text} {sentence.text}"
        found.append(_Unit(sentence.text, wide, own, near, body, hit.chunk.text, score))
        before, before_text = own, sentence.text
    return found


def _left_over(reading: rerank.Reading, unit: _Unit) -> dict[str, float]:
    """Telling words of the question that the sentence and the passage lack."""
    return {
        "lost": 1 - words.cover(reading.weights, unit.near),
        "gone": 1 - words.cover(reading.weights, unit.body.all),
        "lost_sentence": 1 - words.cover(reading.weights, unit.own),
    }


def _names_and_numbers(question: str, unit: _Unit) -> dict[str, float]:
    asked = [words.root(name) for name in verify.names(question)]
    there, near = unit.body.all, {words.root(w) for w in words.plain(unit.wide)}
    numbers = verify.numbers(question)
    shown, shown_near = (verify.numbers(unit.passage), verify.numbers(unit.wide)) if numbers else ({}, {})
    return {
        "name_gone": float(any(n not in there for n in asked)),
        "names_lost": sum(n not in near for n in asked) / len(asked) if asked else 0.0,
        "number_gone": float(any(n not in shown for n in numbers)),
        "number_lost": float(any(n not in shown_near for n in numbers)),
    }


def _contrary(question: str, unit: _Unit) -> dict[str, float]:
    negated = bool(_NEGATED.search(question))
    denied, _ = verify.polarity(unit.text) if negated else (set[str](), set[str]())
    of_question, _ = verify.polarity(question) if negated else (set[str](), set[str]())
    asked, said = set(words.plain(question)), set(words.plain(unit.wide))
    roots = frozenset(map(words.root, said))
    return {
        "negated": float(negated),
        "negated_alone": float(negated and not denied),
        "negated_other": float(negated and bool(denied) and not of_question & denied),
        "opposite": float(opposites.opposed(map(words.root, asked), roots)),
        "degree": float(bool((asked & _DEGREES) - said)),
    }
