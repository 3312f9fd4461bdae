"""An answer without a model: the best sentences of the best passages, quoted and cited, or an honest refusal.

Two questions are kept apart. *Is there evidence?* is asked of the passages (`Support`: coverage of the question's telling
words, similarity, agreement of the two methods) against a threshold calibrated on real questions, docs/decisions/refusal.md.
*Which sentences?* is asked only then.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from bascule.core.documents import Hit, VisibleChunk
from bascule.core.lexical import STOPWORDS
from bascule.rag import asked, rerank, sentences, verify, words
from bascule.rag.sentences import Sentence

_YEAR: Final = re.compile(r"\b(?:1\d{3}|20\d{2})\b|\b\d{1,2}(?:st|nd|rd|th)\b|\bcentur(?:y|ies)\b|\bsiglo\b")
_LEANS: Final = re.compile(
    r"^\W*(?:it|its|this|that|these|those|they|their|he|she|his|her|such|however|but|also|therefore|thus|then|so|and|otherwise|instead|see|note)\b",
    re.IGNORECASE,
)
_SAYS_WHAT: Final = re.compile(
    r"\b(?:is|are|was|were|means|refers|denotes|defines?|specif\w+|provides?|allows?|lets?|returns?|executes?|creates?)\b",
    re.IGNORECASE,
)
SIMILARITY: Final = 1.2  # weight of a sentence's cosine with the question
SUPPORT_MIN: Final = 0.45
_READ: Final = 5  # passages looked at for evidence
MORE_MIN: Final = 0.9  # a further sentence must score this share of the best one
MORE_MIN_NEARBY: Final = 0.75  # the next or the one before


class Support(msgspec.Struct, frozen=True):
    """What speaks for an answer being there, each 0..1, and the probability that follows.

    covered    share of the question's content words in the best passage, its title and headings
    nearness   the same, weighted by how telling they are, within one sentence and its neighbour
    named      share of the names in the question that the best passage has; 0.8 when it has no name
    phrases    share of the question's word pairs that stand in a passage as they are
    cosine     of the passage nearest in meaning; None when the search was by words alone, or the model's scale is not known
    agreement  how far the two methods name the same passages
    """

    covered: float
    nearness: float
    named: float
    phrases: float
    cosine: float | None
    agreement: float
    probability: float

    @property
    def enough(self) -> bool:
        return self.probability >= SUPPORT_MIN


class Pick(msgspec.Struct, frozen=True):
    """A sentence chosen, where it stands, and what it scored."""

    hit: Hit
    sentence: Sentence
    score: float


class Scored(msgspec.Struct, frozen=True):
    """A sentence that could be chosen; `coverage` counts its neighbours and headings for half."""

    hit: Hit
    sentence: Sentence
    position: int
    coverage: float
    score: float


def support(question: str, hits: Sequence[Hit], *, scaled: bool = True) -> Support:
    """Of the reranked hits, best first. `scaled`: their cosines are of a model whose scale the threshold was calibrated on."""
    if not hits:
        return Support(0.0, 0.0, 0.0, 0.0, None, 0.0, 0.0)
    reading = rerank.read(question, [h.chunk for h in hits])
    names = [words.root(n) for n in verify.names(question)]
    found = [_evidence(reading, names, h.chunk) for h in hits[:_READ]]
    covered, nearness, named, phrases = (max(column) for column in zip(*found, strict=True))
    cosines = [h.parts["cosine"] for h in hits if "cosine" in h.parts] if scaled else []
    cosine = max(cosines) if cosines else None
    agreement = _agreement(hits)
    probability = _probability(covered, nearness, named, phrases, cosine, agreement)
    return Support(covered, nearness, named, phrases, cosine, agreement, probability)


def _evidence(reading: rerank.Reading, names: Sequence[str], chunk: VisibleChunk) -> tuple[float, float, float, float]:
    body = reading.bodies[chunk.id]
    there = body.all
    covered = sum(t in there for t in reading.content) / max(1, len(reading.content))
    named = sum(n in there for n in names) / len(names) if names else 0.8
    return covered, _nearest(reading, chunk, body.heading), named, rerank.phrases(reading, chunk.text)


def _nearest(reading: rerank.Reading, chunk: VisibleChunk, heading: Sequence[str]) -> float:
    best = 0.0
    before: list[str] = []
    for sentence in sentences.split(chunk.text, chunk.kind):
        own = reading.roots(sentence.text)
        best = max(best, words.cover(reading.weights, [*own, *before, *heading]))
        before = own
    return best


def _agreement(hits: Sequence[Hit]) -> float:
    """Share of the three best of each method that are among the other's."""
    tops = [
        {h.chunk.id for h in sorted((h for h in hits if name in h.parts), key=lambda h: -h.parts[name])[:3]}
        for name in ("dense", "lexical")
    ]
    if not tops[0] or not tops[1]:
        return 0.0
    return len(tops[0] & tops[1]) / 3


def _probability(
    covered: float, nearness: float, named: float, phrases: float, cosine: float | None, agreement: float
) -> float:
    """Logistic regressions on 500 answerable questions, each asked with its article and without: docs/decisions/refusal.md."""
    if cosine is None:
        z = -7.2 + 4.4 * covered + 3.6 * nearness + 2.9 * named + 3.8 * phrases
    else:
        z = -8.0 + 1.7 * covered + 3.0 * nearness + 1.9 * named + 2.8 * phrases + 3.0 * agreement + 7.1 * cosine
    return 1 / (1 + math.exp(-z))


def choose(
    question: str, hits: Sequence[Hit], *, most: int, similarity: Mapping[tuple[str, int], float] | None = None
) -> list[Pick]:
    """One to `most` sentences, in the order to read them. `similarity`: cosine by (chunk id, start), where it was computed."""
    scored = rank(question, hits, similarity=similarity)
    if not scored:
        return []
    best = scored[0]
    chosen = [best]
    for other in scored[1:]:
        if len(chosen) == most:
            break
        if _adds(other, best) and not _repeats(other, chosen):
            chosen.append(other)
    order = {s.hit.chunk.id: i for i, s in reversed(list(enumerate(chosen)))}
    chosen.sort(key=lambda s: (order[s.hit.chunk.id], s.position))
    return [Pick(s.hit, s.sentence, s.score) for s in chosen]


def rank(
    question: str, hits: Sequence[Hit], *, similarity: Mapping[tuple[str, int], float] | None = None
) -> list[Scored]:
    """Every whole sentence of the hits, best first."""
    reading = rerank.read(question, [h.chunk for h in hits])
    found = [s for h in hits for s in _scored(question, reading, h, similarity or {})]
    return sorted(found, key=lambda s: (-s.score, s.hit.chunk.id, s.position))


def _scored(
    question: str, reading: rerank.Reading, hit: Hit, similarity: Mapping[tuple[str, int], float]
) -> list[Scored]:
    heading = set(reading.bodies[hit.chunk.id].heading)
    all_ = sentences.split(hit.chunk.text, hit.chunk.kind)
    own = [set(reading.roots(s.text)) for s in all_]
    kinds = asked.kinds(question)
    found = []
    for position, sentence in enumerate(all_):
        if not sentences.whole(sentence) or not _readable(sentence):
            continue
        near = heading | (own[position - 1] if position else set())
        coverage = _covered(reading, own[position], near)
        cosine = similarity.get((hit.chunk.id, sentence.start))
        score = coverage + _fitting(question, kinds, reading, sentence, position) + 0.35 * hit.score
        score += 0.0 if cosine is None else SIMILARITY * cosine
        found.append(Scored(hit, sentence, position, coverage, score))
    return found


def _covered(reading: rerank.Reading, own: set[str], near: set[str]) -> float:
    total = sum(reading.weights.values()) or 1.0
    return sum(w * (1.0 if t in own else 0.5 if t in near else 0.0) for t, w in reading.weights.items()) / total


def _readable(sentence: Sentence) -> bool:
    count = len(sentence.text.split())
    ends_open = sentence.text.endswith((":", "?", "…"))
    return 3 <= count <= 90 and len(sentence.text) <= 600 and not ends_open


def _fitting(question: str, kinds: frozenset[str], reading: rerank.Reading, sentence: Sentence, position: int) -> float:
    """Does it look like an answer to this kind of question?"""
    text = sentence.text
    score = 0.25 * rerank.phrases(reading, text)
    if "count" in kinds:
        score += 0.25 if verify.numbers(text) else -0.1
    if "when" in kinds:
        score += 0.2 if _YEAR.search(text) or verify.numbers(text) else -0.1
    if kinds & {"who", "where"}:
        score += 0.1 if set(verify.names(text)) - set(words.plain(question)) else 0.0
    if "what" in kinds:
        score += 0.4 * _defines(reading, text) + (0.05 if position == 0 else 0.0)
    if "how" in kinds and sentence.kind in ("entry", "row"):
        score += 0.1 + (0.35 if _names_it(question, text) else 0.0)
    if _LEANS.match(text) or text.startswith("("):
        score -= 0.12
    if text.startswith("__") and "__" not in question:
        score -= 0.3
    count = len(text.split())
    return score - (0.15 if count < 5 else 0.1 if count > 50 else 0.0)


def _defines(reading: rerank.Reading, text: str) -> float:
    """The thing asked about is the subject: it stands before the first verb that says what something is."""
    verb = _SAYS_WHAT.search(text)
    subject = reading.roots(text[: verb.start()]) if verb is not None and verb.start() <= 80 else []
    if not subject or subject[0] not in reading.weights:
        return 0.0
    return words.cover(reading.weights, subject)


def _names_it(question: str, text: str) -> bool:
    """The entry or row is of the very thing asked for: `reverse(self, /): ...` for "reverse a list"."""
    named = words.plain(re.split(r"[:(]", text, maxsplit=1)[0])
    return bool(named) and named[-1] in set(words.plain(question)) - STOPWORDS


def _adds(other: Scored, best: Scored) -> bool:
    """Is a further sentence worth reading? Nearly as good as the best, and about the same words of the question."""
    nearby = other.hit.chunk.id == best.hit.chunk.id and abs(other.position - best.position) == 1
    nearby = nearby and other.sentence.kind == best.sentence.kind == "prose"
    least = MORE_MIN_NEARBY if nearby else MORE_MIN
    return other.score >= least * best.score and other.coverage >= 0.7 * best.coverage


def _repeats(one: Scored, chosen: Sequence[Scored]) -> bool:
    mine = set(words.roots(one.sentence.text))
    for other in chosen:
        theirs = set(words.roots(other.sentence.text))
        if mine and len(mine & theirs) / len(mine | theirs) > 0.6:
            return True
    return False
