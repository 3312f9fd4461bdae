"""Does the passage say what the sentence says? Word alignment with hard checks, no model (law 8).

A sentence is held against its cited passage, window by window (one to three neighbouring sentences). It passes when enough of
its content words are there and nothing checkable differs: numbers with their units, dates, names, negation. This is a lower
bound on faithfulness, not proof: a true paraphrase in other words is dropped, and a false one made only of the passage's own
words may pass. bench_quality.py measures both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Final

import msgspec

from bascule.core.lexical import STOPWORDS, fold
from bascule.rag import sentences, words

COVERAGE: Final = 0.6  # least share of a sentence's content words found in the window
_WINDOW: Final = 3
_NUMBER: Final = re.compile(r"\d+(?:[.,:/\-]\d+)*")
_UNIT: Final = re.compile(r"[\s-]{0,2}(%|€|\$|£|[^\W\d_]+)")
_CURRENCY: Final = {
    "€": "eur",
    "$": "usd",
    "£": "gbp",
    "euro": "eur",
    "euros": "eur",
    "dollar": "usd",
    "dollars": "usd",
}
_ONES: Final = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
]  # fmt: skip
_TENS: Final = ["thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety", "hundred"]
_NUMERALS: Final = {w: str(n) for n, w in enumerate(_ONES)} | {w: str(n * 10) for n, w in enumerate(_TENS, start=3)}
_MONTHS: Final = frozenset([
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
])  # fmt: skip
_WEEKDAYS: Final = frozenset(["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"])
_UNITS: Final = frozenset([
    "%", "eur", "usd", "gbp", "percent", "day", "days", "week", "weeks", "month", "months", "year", "years", "hour",
    "hours", "minute", "minutes", "second", "seconds", "ms", "s", "min", "h", "kg", "g", "mg", "lb", "m", "cm", "mm",
    "km", "mile", "miles", "kb", "mb", "gb", "tb", "byte", "bytes", "people", "employees", "items", "pieces", "times",
])  # fmt: skip
_NEGATORS: Final = frozenset([
    "not", "no", "never", "cannot", "without", "neither", "nor", "none", "nobody", "nothing", "unable",
    "nunca", "sin", "ni", "jamas", "ningun", "ninguna", "nadie",
])  # fmt: skip
_CLAUSE: Final = re.compile(
    r"[,;:.!?()—–]|\b(?:but|although|though|however|whereas|unless|except|pero|aunque)\b", re.IGNORECASE
)


class Verdict(msgspec.Struct, frozen=True):
    """`reason` is "" when supported, else what differs: words, number, unit, date, name, negation. `span` within the passage."""

    supported: bool
    reason: str
    coverage: float
    span: tuple[int, int]


class Said:
    """A text with what can be checked of it, each worked out once, when it is first asked for: many sentences are held against
    the same few windows."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def plain(self) -> frozenset[str]:
        return frozenset(words.plain(self.text))

    @cached_property
    def roots(self) -> list[str]:
        return words.roots(self.text)

    @cached_property
    def content(self) -> frozenset[str]:
        return frozenset(self.roots)

    @cached_property
    def every_root(self) -> frozenset[str]:
        """Of stop words, too."""
        return frozenset(map(words.root, self.plain))

    @cached_property
    def numbers(self) -> dict[str, set[str]]:
        return numbers(self.text)

    @cached_property
    def names(self) -> list[str]:
        return names(self.text)

    @cached_property
    def polarity(self) -> tuple[set[str], set[str]]:
        return polarity(self.text)


class Evidence:
    """A passage ready to be held against sentences. `context` (title, headings) counts for words and names, never for numbers."""

    def __init__(self, text: str, spans: tuple[tuple[int, int], ...], context: str = "") -> None:
        self.spans = spans
        self._text = text
        self.context = Said(context)
        self._windows: dict[tuple[int, int], Said] = {}

    def window(self, start: int, end: int) -> Said:
        found = self._windows.get((start, end))
        if found is None:
            found = self._windows[start, end] = Said(self._text[start:end])
        return found


def evidence(text: str, context: str = "", kind: str = "text") -> Evidence:
    spans = [(s.start, s.end) for s in sentences.split(text, kind)]
    return Evidence(text, tuple(spans) or ((0, len(text)),), context)


def verify(sentence: str, against: Evidence) -> Verdict:
    """The best verdict over all windows: a supported one if there is any, else the one that came nearest."""
    claim = Said(sentence)
    if not claim.roots:
        return Verdict(False, "words", 0.0, against.spans[0])
    best: Verdict | None = None
    for start, end in _windows(against.spans):
        found = _judge(claim, against, start, end)
        if best is None or _rank(found) > _rank(best):
            best = found
    assert best is not None
    return best


def _windows(spans: Sequence[tuple[int, int]]) -> Iterable[tuple[int, int]]:
    for length in range(1, _WINDOW + 1):
        for first in range(len(spans) - length + 1):
            yield spans[first][0], spans[first + length - 1][1]


def _rank(verdict: Verdict) -> tuple[bool, float, int]:
    return verdict.supported, round(verdict.coverage, 3), verdict.span[0] - verdict.span[1]


def _judge(claim: Said, against: Evidence, start: int, end: int) -> Verdict:
    window = against.window(start, end)
    there = window.content | against.context.content
    coverage = sum(w in there or w in _NUMERALS for w in claim.roots) / len(claim.roots)
    reason = "words" if coverage < COVERAGE else difference(claim, window, against.context)
    return Verdict(reason == "", reason, coverage, (start, end))


def difference(claim: Said, window: Said, context: Said) -> str:
    """What the sentence says that the window does not, or "": number, unit, date, name, negation."""
    for value, units in claim.numbers.items():
        if value not in window.numbers:
            return "number"
        if units and window.numbers[value] and not units & window.numbers[value]:
            return "unit"
    seen = window.plain | context.plain
    if (claim.plain & (_WEEKDAYS | _MONTHS) - {"may", "march"}) - seen:
        return "date"
    rooted = window.every_root | context.every_root
    if any(n not in seen and words.root(n) not in rooted for n in claim.names):
        return "name"
    return "" if _same_polarity(claim, window) else "negation"


def numbers(text: str) -> dict[str, set[str]]:
    """Each number, canonical, with the units beside it: "1,000 EUR" -> {"1000": {"eur"}}; numerals count ("thirty days")."""
    found: dict[str, set[str]] = {}
    for match in _NUMBER.finditer(text):
        value = _canonical(match.group())
        units = found.setdefault(value, set())
        after = _UNIT.match(text, match.end())
        before = text[match.start() - 1 : match.start()]
        units.update(u for u in (_unit(after.group(1)) if after else "", _CURRENCY.get(before, "")) if u)
    for match in words.WORD.finditer(text):
        word = fold(match.group())
        if word in _NUMERALS and word != "one":
            after = _UNIT.match(text, match.end())
            units = found.setdefault(_NUMERALS[word], set())
            units.update(u for u in (_unit(after.group(1)) if after else "",) if u)
    return found


def _canonical(digits: str) -> str:
    """1,000 and 1000 and 1.000,00 are one number; 3.5 and 3,5 too; dates and times stay as they are."""
    if re.fullmatch(r"\d{1,3}(?:[.,]\d{3})+(?:[.,]\d{1,2})?", digits):
        head = re.match(r"\d{1,3}(?:[.,]\d{3})+", digits)
        assert head is not None
        digits = re.sub(r"[.,]", "", head.group()) + digits[head.end() :].replace(",", ".")
    elif re.fullmatch(r"\d+,\d+", digits):
        digits = digits.replace(",", ".")
    if re.fullmatch(r"\d+\.\d+", digits):
        digits = digits.rstrip("0").rstrip(".")
    return digits


def _unit(word: str) -> str:
    plain = fold(word)
    plain = _CURRENCY.get(plain, plain)
    if plain == "percent":
        return "%"
    return plain.removesuffix("s") if plain in _UNITS and len(plain) > 2 else plain if plain in _UNITS else ""


def names(sentence: str) -> list[str]:
    """Capitalised words that do not merely begin a sentence, and words with capitals or digits inside, folded."""
    found = []
    for match in words.WORD.finditer(sentence):
        raw = match.group().removesuffix("'s").removesuffix("’s")
        opens = not re.search(r"\w", re.split(r"[.!?:]\s", sentence[: match.start()])[-1])
        inner = any(c.isupper() for c in raw[1:])
        word = fold(raw)
        if (
            (inner or (raw[:1].isupper() and not opens))
            and word not in STOPWORDS
            and len(raw) > 1
            and word not in _NUMERALS
        ):
            found.append(word)
    return found


def _same_polarity(claim: Said, window: Said) -> bool:
    """No content word they share may be negated in one and only plain in the other."""
    said_no, said_yes = claim.polarity
    shown_no, shown_yes = window.polarity
    claimed_against = {w for w in said_no if w in shown_yes and w not in shown_no}
    denied = {w for w in said_yes - said_no if w in shown_no and w not in shown_yes}
    if said_no and not shown_no:
        return False
    return not claimed_against and not denied


def polarity(text: str) -> tuple[set[str], set[str]]:
    """Content roots within reach of a negator (up to five words on, same clause), and the others."""
    negated: set[str] = set()
    plain: set[str] = set()
    for clause in _CLAUSE.split(text):
        reach = 0
        for match in words.WORD.finditer(clause):
            word = fold(match.group()).replace("’", "'")
            if word in _NEGATORS or word.endswith("n't"):
                reach = 5
                continue
            for base in words.roots(match.group()):
                (negated if reach else plain).add(base)
            reach = max(0, reach - 1)
    return negated, plain
