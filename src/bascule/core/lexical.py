"""Terms for BM25, made once, here, outside every store, so that all stores index the same words."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final

_WORD: Final = re.compile(r"[^\W_]+(?:['’][^\W_]+)*", re.UNICODE)
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
# From the start of a word only, and never giving back what it took: linear in the text, whatever the text is.
_IDENTIFIER: Final = re.compile(r"(?<!\w)[^\W\d_]\w*+(?:[._/:\-]\w++)+", re.UNICODE)
_VOWEL: Final = re.compile(r"[aeiouy]")
_LOST_E: Final = re.compile(r"[^aeiou][aeiou][^aeiouwxy]")
MAX_TERM_CHARS: Final = 64
KNOWN_WORDS: Final = 8192  # whose terms are remembered: most of a text

# English, and the Spanish ones that are no English word ("son" and "sin" stay).
STOPWORDS: Final = frozenset(
    [
        "a",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "but",
        "by",
        "for",
        "from",
        "had",
        "has",
        "have",
        "he",
        "her",
        "his",
        "i",
        "if",
        "in",
        "into",
        "is",
        "it",
        "its",
        "no",
        "not",
        "of",
        "on",
        "or",
        "our",
        "she",
        "so",
        "such",
        "that",
        "the",
        "their",
        "then",
        "there",
        "these",
        "they",
        "this",
        "to",
        "was",
        "we",
        "were",
        "what",
        "when",
        "where",
        "which",
        "who",
        "will",
        "with",
        "you",
        "your",
        "do",
        "does",
        "did",
        "how",
        "why",
        "can",
        "could",
        "would",
        "should",
        "may",
        "might",
        "al",
        "como",
        "con",
        "cual",
        "cuales",
        "cuando",
        "cuanta",
        "cuantas",
        "cuanto",
        "cuantos",
        "de",
        "del",
        "donde",
        "el",
        "ella",
        "en",
        "entre",
        "era",
        "es",
        "esa",
        "ese",
        "esta",
        "estas",
        "este",
        "estos",
        "fue",
        "fueron",
        "la",
        "las",
        "le",
        "lo",
        "los",
        "mas",
        "muy",
        "o",
        "para",
        "pero",
        "por",
        "porque",
        "que",
        "quien",
        "quienes",
        "se",
        "ser",
        "si",
        "sobre",
        "su",
        "sus",
        "un",
        "una",
        "unas",
        "uno",
        "unos",
        "y",
    ]
)


_QUOTES: Final = frozenset("\"'`“”‘’*«»")
_DETERMINERS: Final = frozenset(["the", "a", "an"])
_QUOTE: Final = "[\"'`“”‘’*«»]"
_IN_QUOTES: Final = re.compile(rf"{_QUOTE}([^\W_]+(?:['’][^\W_]+)*)(?={_QUOTE})")  # a word, or a part of one
_APOSTROPHE: Final = re.compile("['’]")
_NEXT_WORD: Final = re.compile(r"[\s\"'`“”‘’*]{1,3}([^\W_]+)")


def fold(text: str) -> str:
    """NFKD without combining marks, lower case: how a word is compared."""
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(c for c in decomposed if not unicodedata.combining(c)).casefold()


def stem(word: str) -> str:
    """A light stemmer for a folded word, the same for every language written in Latin letters.

    Plurals, -ed and -ing as in the first step of Porter (1980), then a final vowel, which carries gender or number in Spanish
    and its sisters (Savoy 2006, "Light stemming approaches"). Derivation (-ation, -ness) is left alone: it merges meanings.
    """
    if len(word) < 4 or not (word.isascii() and word.isalpha()):
        return word
    word = _without_participle(_singular(word))
    return word[:-1] if len(word) > 4 and word[-1] in "aeoiy" else word


def _singular(word: str) -> str:
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith("sses"):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def _without_participle(word: str) -> str:
    """`stopped`: stop, `caring`: care; but `string` and `speed` are whole words."""
    for ending in ("ing", "ed"):
        rest = word.removesuffix(ending)
        if len(rest) < 3 or rest == word or word.endswith("eed") or not _VOWEL.search(rest):
            continue
        if len(rest) > 3 and rest[-1] == rest[-2] and rest[-1] not in "aeioulsz":
            return rest[:-1]
        return rest + "e" if _LOST_E.fullmatch(rest) else rest
    return word


_MENTIONS: Final = frozenset(
    stem(word) for word in ("statement", "keyword", "operator", "clause", "loop", "expression", "block")
)


def _quoted(text: str, start: int, end: int) -> bool:
    return start > 0 and end < len(text) and text[start - 1] in _QUOTES and text[end] in _QUOTES


def _before_a_part(text: str, end: int) -> bool:
    follower = _NEXT_WORD.match(text, end)
    return follower is not None and _is_part(follower.group(1))


def _is_part(word: str) -> bool:
    return stem(fold(word)) in _MENTIONS


def terms(text: str) -> tuple[str, ...]:
    """Words folded, stop words dropped unless they are mentioned rather than used, the rest stemmed; identifiers (`os.path`,
    `getUserName`) both whole and in parts."""
    found = _words(text)
    found += [fold(raw)[:MAX_TERM_CHARS] for raw in _IDENTIFIER.findall(text)]
    return tuple(filter(None, found))


def _words(text: str) -> list[str]:
    """A stop word is mentioned when it is quoted ("with"), after a determiner (the `with` statement; a for loop), or directly
    before a word for a part of a language (for loops): then it is what the text is about."""
    words = _WORD.findall(text)
    read = _known_word if max(map(len, words), default=0) <= MAX_TERM_CHARS else _read_word
    known = list(map(read, words))
    quoted = any(map(text.__contains__, _QUOTES)) and any(read(raw)[0] == _STOPPED for raw in _IN_QUOTES.findall(text))
    found: list[str] = []
    before = place = end = 0  # `end`: of the word before `place`, looked for when a stop word may be a mentioned one
    for at, (kind, made, _) in enumerate(known, 1):
        if kind == _KEPT or (kind == _STOPPED and before == _DETERMINES):
            found += made
        elif kind == _STOPPED:
            part = at < len(known) and known[at][2]
            if quoted or part:
                for raw in words[place:at]:
                    end = text.index(raw, end) + len(raw)  # no word begins in between
                place = at
                if _quoted(text, end - len(words[at - 1]), end) or (part and _before_a_part(text, end)):
                    found += made
        before = kind
    return found


_KEPT, _STOPPED, _DETERMINES = range(1, 4)  # no stop word, a stop word, and one that is dropped always


def _read_word(raw: str) -> tuple[int, tuple[str, ...], bool]:
    """Its kind, its terms should it be kept, and whether it begins like a word for a part of a language."""
    word = fold(raw).replace("’", "'").removesuffix("'s")
    kind = _KEPT if word not in STOPWORDS else _DETERMINES if word in _DETERMINERS else _STOPPED
    parts = [] if raw.islower() else _CAMEL.split(raw)
    more = [stem(fold(p))[:MAX_TERM_CHARS] for p in parts if p] if len(parts) > 1 else []
    return kind, (stem(word)[:MAX_TERM_CHARS], *more), _is_part(_APOSTROPHE.split(raw, 1)[0])


_known_word: Final = lru_cache(KNOWN_WORDS)(_read_word)
