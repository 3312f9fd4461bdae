"""Questions changed by rule, for bench_semantic.py: altered so that they ask something else, reworded so that they ask the same."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

_OPPOSITES = {
    "first": "last", "last": "first", "largest": "smallest", "highest": "lowest", "most": "least", "more": "fewer",
    "before": "after", "after": "before", "north": "south", "east": "west", "old": "new", "increase": "decrease", "early": "late",
    "major": "minor", "largely": "hardly", "winning": "losing", "began": "ended", "start": "end", "won": "lost", "above": "below",
    "primero": "último", "antes": "después", "más": "menos", "mayor": "menor", "norte": "sur",
}  # fmt: skip
_ASKED_FOR = {
    "Who": "When", "When": "Where", "Where": "When", "How many": "How old", "What": "Whose", "Which": "Whose", "Why": "When",
    "¿Quién": "¿Cuándo", "¿Cuándo": "¿Dónde", "¿Dónde": "¿Cuándo", "¿Cuántos": "¿Cuáles", "¿Qué": "¿Cuál",
}  # fmt: skip
_TIMES = {
    "is": "was",
    "was": "is",
    "are": "were",
    "were": "are",
    "does": "did",
    "did": "does",
    "has": "had",
    "es": "era",
}
_PREPOSITIONS = {
    "to": "from",
    "from": "to",
    "by": "against",
    "for": "without",
    "with": "without",
    "in": "outside",
    "con": "sin",
}
NAME = re.compile(r"(?<=\s)[A-ZÁÉÍÓÚ][\w'-]+")


def _exchanged(text: str, words: Mapping[str, str]) -> str:
    """The first of these words that stands in the text becomes the other; the text itself where none does."""
    found = [m for w in words if (m := re.search(rf"(?<!\w){re.escape(w)}(?!\w)", text))]
    if not found:
        return text
    first = min(found, key=lambda m: m.start())
    return text[: first.start()] + words[first.group()] + text[first.end() :]


def _number(text: str, _: Sequence[str]) -> str:
    return re.sub(r"\d+", lambda m: str(int(m.group()) + 1), text, count=1)


def _name(text: str, names: Sequence[str]) -> str:
    """The first name becomes another of the same set of questions, chosen by the text."""
    found = NAME.search(text)
    if found is None:
        return text
    others = [name for name in names if name != found.group()]
    other = others[sum(map(ord, text)) % len(others)]
    return text[: found.start()] + other + text[found.end() :]


def _names_exchanged(text: str, _: Sequence[str]) -> str:
    found = list(NAME.finditer(text))
    if len(found) < 2 or found[0].group() == found[-1].group():
        return text
    a, b = found[0], found[-1]
    return text[: a.start()] + b.group() + text[a.end() : b.start()] + a.group() + text[b.end() :]


def _negation(text: str, _: Sequence[str]) -> str:
    if re.search(r"\bnot\b|n't\b", text):
        return re.sub(r"\s*\bnot\b|n't\b", "", text, count=1)
    if text.startswith("¿"):
        return re.sub(r"^(¿\S+) ", r"\1 no ", text)
    return re.sub(
        r"\b(is|are|was|were|did|does|do|can|could|has|have|had|would|will|should)\b", r"\1 not", text, count=1
    )


ALTERED: dict[str, Callable[[str, Sequence[str]], str]] = {
    "number": _number,
    "name": _name,
    "names exchanged": _names_exchanged,
    "negation": _negation,
    "opposite": lambda text, _: _exchanged(text, _OPPOSITES),
    "asking word": lambda text, _: _exchanged(text, _ASKED_FOR),
    "time": lambda text, _: _exchanged(text, _TIMES),
    "preposition": lambda text, _: _exchanged(text, _PREPOSITIONS),
}

# ---------------------------------------------------------------- the same, asked otherwise


def _polite(text: str) -> str:
    text = text.strip()
    if text.startswith("¿"):
        return f"Hola, {text} Gracias."
    return f"Hi, could you please tell me {text[0].lower()}{text[1:]} Thank you!"


def _contracted(text: str) -> str:
    text = re.sub(r"^(What|Who|Where|When|How) is\b", r"\1's", text)
    return re.sub(r"\b(is|are|was|were|did|does|do|could|would|should|has|have|had) not\b", r"\1n't", text)


def _fronted(text: str) -> str:
    found = re.fullmatch(
        r"(\S.*) ((?:in|on|during|after|before|since) [^,?]*\d{3,4}|(?:during|after|before) \w[^,?]*)\?", text
    )
    if found is None or "," in found[1]:
        return text
    return f"{found[2][0].upper()}{found[2][1:]}, {found[1][0].lower()}{found[1][1:]}?"


def _mistyped(text: str) -> str:
    """Two letters exchanged within the longest word without a capital."""
    words = [w for w in re.findall(r"[^\W\d_]+", text) if w.islower() and len(w) > 5]
    if not words:
        return text
    word = max(words, key=len)
    at = len(word) // 2
    return text.replace(word, word[: at - 1] + word[at] + word[at - 1] + word[at + 1 :], 1)


REWORDED: dict[str, Callable[[str], str]] = {
    "all lower case": str.lower,
    "all capitals": str.upper,
    "no marks, more white space": lambda text: "  ".join(text.strip(" ¿?.!").split()),
    "polite": _polite,
    "contracted": _contracted,
    "without an article": lambda text: re.sub(r" (?:the|a|an) ", " ", text, count=1),
    "which for what": lambda text: re.sub(r"\b(W|w)hat (?=[a-z]+ (?:is|are|was|were|did|do|does)\b)", r"\1hich ", text),
    "time first": _fronted,
    "typing error": _mistyped,
}
