"""Do two questions ask the very same thing in nearly the same words? Refuses when in doubt (law 3).

A question is read into its words. Only what cannot change the answer is folded away: lazy capitals, contractions, British
spelling, small numerals, polite words around it, marks at its end. Every other word must be there in both, in the same order:
so a number, a name, a negation, a quoted string, a comparison, a tense, a preposition, an article or an asking word that differs
is a refusal ("Amazon" is no river), and so is a synonym, another order ("who beat whom") and a typing error ("Iran" and "Iraq" are
one letter apart, "complaint" and "compliant" one swap). A few words may stand in one of the two only ("in what year").

What is folded is English. In another language only white space and marks at the ends are.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Final

import msgspec

from bascule.gateway.alike_words import (
    ASKING,
    CAPITONYMS,
    CLOSINGS,
    ENGLISH,
    FOREIGN,
    FOREIGN_ASKING,
    GREETINGS,
    OPENINGS,
    SAME,
    SMALL,
    SPLIT,
    WH,
    WORDING,
)

MAX_CHARS: Final = 400
LEAST_WORDS: Final = 3  # one of them no asking word: "why?" and "go on" mean what was said before
# Code, markup, formulas and tables: there every character counts.
_CODE: Final = re.compile(r"[`{}\[\]<>|\\^~=_\r\n\t\x00-\x1f]|//|::|->")
_PLAIN: Final = str.maketrans({"“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "‘": "'", "’": "'", "\u00a0": " "})
_TOKEN: Final = re.compile(
    r"""\"[^\"]*\"                                  # a quoted string
    | (?<![^\s(])'[^']+'(?=[\s.,;:?!)]|$)           # the same in single marks
    | \d+(?:[.,:/-]\d+)*                            # a number, a date, a time
    | [^\W\d_]+(?:['-][^\W\d_]+)*(?=[\s.,;:?!()"]|$) # a word
    | [.,;:?!()](?=[\s.,;:?!()"]|$)                 # a mark
    | [^\s",;:()?!]*[^\s",;:()?!.]                  # anything else, whole: C++, $5, ann@example.com, v2.1
    | \S""",
    re.VERBOSE,
)
_THOUSANDS: Final = re.compile(r"\d{1,3}(?:,\d{3})+")
_YEAR: Final = re.compile(r"\d{4}")
_MARKS: Final = frozenset(".?!,;:")
_STOPS: Final = frozenset(".?!")
_ENDINGS: Final = (("n't", "not"), ("'re", "are"), ("'ll", "will"), ("'ve", "have"), ("'m", "am"))
_IS: Final = frozenset(
    ["what's", "who's", "where's", "when's", "how's", "why's", "it's", "that's", "there's", "here's"]
)

Words = Sequence[tuple[str, bool]]  # each with whether it has a capital that is not merely its sentence's first


class Question(msgspec.Struct, frozen=True):
    """A text as it is compared.

    core      the words that must be the same in both, in order; the last is a mark: asked or said
    light     words that may stand in one only, each before its place in the core
    capitals  places in the core of words with capitals; None in a text that uses none, or nothing else
    """

    core: tuple[str, ...]
    light: tuple[tuple[int, str], ...] = ()
    capitals: tuple[int, ...] | None = None


def read(text: str) -> Question | None:
    """None for a text that is no plain question or request, short and in words, or asks about words: it may be like no other."""
    text = unicodedata.normalize("NFC", text.translate(_PLAIN)).strip().lstrip("¿¡")
    if not text or len(text) > MAX_CHARS or _CODE.search(text):
        return None
    raw = _TOKEN.findall(text)
    asked = text.endswith("?")
    while raw and raw[-1] in _MARKS:
        raw.pop()
    folded = {token.lower() for token in raw}
    if not WORDING.isdisjoint(folded):
        return None
    if not ENGLISH.isdisjoint(folded) and FOREIGN.isdisjoint(folded):
        return _english(raw, shouts=not any(c.islower() for c in text), asked=asked)
    return _foreign(raw, asked=asked)


def alike(one: Question, other: Question) -> bool:
    """Whether an answer to one is an answer to the other."""
    if one.core != other.core:
        return False
    if one.light and other.light and one.light != other.light:
        return False
    return one.capitals is None or other.capitals is None or one.capitals == other.capitals


def _foreign(raw: list[str], *, asked: bool) -> Question | None:
    if len(raw) < LEAST_WORDS:
        return None
    if raw[0].lower() in FOREIGN_ASKING:
        raw[0], asked = raw[0].lower(), True
    return Question((*raw, "?" if asked else "."), capitals=())


def _english(raw: Sequence[str], *, shouts: bool, asked: bool) -> Question | None:
    words: list[tuple[str, bool]] = []
    for place, token in enumerate(raw):
        # "WHO" and "iPhone" have a capital at the beginning of a sentence too; "Who" has not.
        capital = not shouts and any(c.isupper() for c in (token if place else token[1:]))
        words += [(word, capital) for word in _fold(token, place == 0, shouts, capital)]
    found = _without_politeness(words)
    plain = [word for word, _ in found]
    if len(plain) < LEAST_WORDS or ASKING.issuperset(plain):
        return None
    core: list[str] = []
    light: list[tuple[int, str]] = []
    capitals: list[int] = []
    for place, (word, capital) in enumerate(found):
        if not capital and _is_light(plain, place):
            light.append((len(core), word))
            continue
        if capital:
            capitals.append(len(core))
        core.append("what" if word == "which" and _noun_follows(plain, place) else word)
    core.append("?" if asked or _asks(plain) else ".")
    return Question(tuple(core), tuple(light), tuple(capitals) or None)


def _is_light(plain: Sequence[str], place: int) -> bool:
    word, after = plain[place], plain[place + 1] if place + 1 < len(plain) else ""
    if place == 0:
        return word == "please" or _leads(plain)
    if word == "in":
        return _YEAR.fullmatch(after) is not None
    if word == "exactly":
        return place > 0 and plain[place - 1] in WH
    if word == "please":
        return place > 1 and plain[place - 1] == "you" and plain[place - 2] in ASKING
    return word in ("located", "situated") and plain[0] == "where"


def _noun_follows(plain: Sequence[str], place: int) -> bool:
    """Before a noun "which" and "what" ask the same."""
    return place + 1 < len(plain) and plain[place + 1] not in ASKING and plain[place + 1] not in _MARKS


def _leads(plain: Sequence[str]) -> bool:
    """ "In what year": the first word may be left out."""
    return plain[0] in ("in", "on", "at") and plain[1:2] in (["what"], ["which"]) and _noun_follows(plain, 1)


def _asks(plain: Sequence[str]) -> bool:
    return bool(plain) and (plain[0] in ASKING or _leads(plain))


def _fold(token: str, first: bool, shouts: bool, capital: bool) -> Sequence[str]:
    """One word as it is compared; several where it is a contraction. A word with a star is another than the one without."""
    if len(token) > 1 and token[0] in "\"'" and token[-1] == token[0]:
        return (token if '"' in token else token.replace("'", '"'),)
    if token[0].isdigit():
        return (token.replace(",", "") if _THOUSANDS.fullmatch(token) else token,)
    if not all(c.isalpha() or c in "'-" for c in token):
        return (token,)  # a mark, an identifier, an address, C++: as it is written
    word = token.lower()
    if _is_another(token, word, first, shouts):
        return (f"{word}*",)
    if word in SPLIT and not capital:
        return SPLIT[word]
    if word in _IS:
        return (word[:-2], "is")
    for ending, whole in _ENDINGS:
        if word.endswith(ending) and len(word) > len(ending) + 1:
            return (word.removesuffix(ending), whole)
    return (word if capital else SAME.get(word, word),)


def _is_another(token: str, word: str, first: bool, shouts: bool) -> bool:
    """Whether its capitals make it another word: Turkey and turkey, WHO and who. In a text all in capitals nobody can tell."""
    if word in CAPITONYMS:
        return token != word and not (first and token.istitle() and word in SMALL)
    return not shouts and token.isupper() and len(token) > 1 and word in SMALL


def _without_politeness(words: Words) -> Words:
    before = -1
    while before != len(words):
        before = len(words)
        plain = [word for word, _ in words]
        head, tail = _polite_head(plain), _polite_tail(plain)
        if head + tail < len(words):
            words = words[head : len(words) - tail]
        while words and words[0][0] in _MARKS:
            words = words[1:]
        while words and words[-1][0] in _MARKS:
            words = words[:-1]
    return words


def _polite_head(plain: Sequence[str]) -> int:
    """How many words of politeness come first: a greeting before a mark ("Hello Kitty" is none), or an opening such as "can you
    tell me" before an asking word."""
    for polite in GREETINGS:
        if plain[: len(polite)] == polite and plain[len(polite) : len(polite) + 1] != []:
            after = plain[len(polite) :]
            if after[0] in _MARKS or _asks(after) or _opening(after):
                return len(polite)
    return _opening(plain)


def _opening(plain: Sequence[str]) -> int:
    return next((len(o) for o in OPENINGS if plain[: len(o)] == o and _asks(plain[len(o) :])), 0)


def _polite_tail(plain: Sequence[str]) -> int:
    """How many come last: after the end of a sentence, for "how do I say thank you" asks for it; "please" also after a comma."""
    for polite in CLOSINGS:
        mark = plain[-len(polite) - 1 : -len(polite)]
        if (
            plain[-len(polite) :] == polite
            and mark
            and (mark[0] in _STOPS or (mark[0] == "," and polite == ["please"]))
        ):
            return len(polite)
    return 0
