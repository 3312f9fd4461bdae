"""Questions that a passage answers, made of its own sentences by fixed patterns: no model, the same every time.

A pattern takes one plain statement and asks for one fact in it: "The bridge was opened in 1894" becomes "When was the bridge
opened?" with "1894" as what must be said. What is likely to read badly is left: pronouns, subordinate clauses, subjects that
mean nothing outside their passage. So most sentences give nothing, and what comes is for a person to look through.

English only: text in another language gives no questions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Final, Literal

import msgspec

from bascule.evals.drafting_words import (
    ADJECTIVES,
    BASE_FORMS,
    CLAUSE,
    HOLDING,
    NO_SUBJECT,
    NUMBER,
    PARTICIPLES_OF_PLACE,
    PEOPLE,
    SPANS,
    VERBS,
    WHEN,
)
from bascule.rag.language import language
from bascule.rag.sentences import Sentence, split, whole

Kind = Literal["date", "number", "place", "maker", "definition", "abbreviation", "cell"]
_AUX: Final = r"is|are|was|were|can|may|must|will|should|has been|have been"
_STATEMENT: Final = re.compile(rf"^(?P<subject>[^,;:()\[\]\"“”]{{2,70}}?) (?P<aux>{_AUX}) (?P<rest>.+?)[.!]?$")
_ACTIVE: Final = re.compile(
    rf"^(?P<subject>[^,;:()\[\]\"“”]{{2,60}}?) (?P<verb>{'|'.join(BASE_FORMS)}) (?P<rest>.*?\b(?:in|on) {WHEN})(?=[ .,;]|$)"
)
_WHEN: Final = re.compile(rf"^(?P<before>.*?) ?\b(?P<how>in|on|since|until) (?P<fact>{WHEN})(?=[ .,;)]|$)")
_AGO: Final = re.compile(rf"^In (?P<fact>{WHEN}), (?P<rest>[^,;:()]+)$")
_COUNT: Final = re.compile(
    rf"^(?P<before>.*?) ?\b(?P<how>within|after|for up to|for at least|for|at least|at most|up to|every) "
    rf"(?P<fact>{NUMBER} (?P<unit>(?:business |working )?[a-z]+s))\b"
)
_MEASURE: Final = re.compile(
    rf"^(?:about |over |at least |up to |only )?(?P<fact>{NUMBER} (?P<unit>[a-z]+s?))(?: (?P<how>{'|'.join(ADJECTIVES)}))?[.;,]?$"
)
_MAKER: Final = re.compile(
    r"^(?P<before>[a-z]+(?:ed|en|wn|nt|lt|ght|un|de)) by "
    r"(?P<fact>(?:the )?(?:[A-Z][\w'’-]*)(?: (?:of |de |von |van |and )?[A-Z][\w'’-]*){0,4})"
    r"(?=[.,;]|$| (?:in|on|at|for|during|to|from|as|who|which|between|after|before)\b)"
)
_PLACE: Final = re.compile(
    rf"^(?P<before>{'|'.join(PARTICIPLES_OF_PLACE)}) (?:in|at|on|near) "
    r"(?P<fact>(?:the )?[A-Z][\w'’-]*(?:(?:, | of | )[A-Z][\w'’-]*){0,3})(?=[.,;]|$| (?:in|on|by|as|and|to|for|during)\b)"
)
_DEFINITION: Final = re.compile(
    r"^(?P<fact>(?:an? |the (?:first|last|only|largest|smallest|oldest|capital|name|process|study) )[^,;:()]{6,90}?)"
    r"(?= (?:that|which|who|where|whose|in which|and|but)\b|[,;:(]|$)"
)
_HAS: Final = re.compile(
    rf"^(?P<subject>[^,;:()\[\]\"“”]{{2,60}}?) (?P<verb>{'|'.join(HOLDING)}) (?:about |over |at least |up to |only |around )?"
    rf"(?P<fact>{NUMBER} (?P<unit>(?:[a-z-]+ )?[a-z]+s))(?P<of> of [a-z]+(?: [a-z]+)?)?"
    r"(?=[.,;]|$| (?:in|on|at|a|for|with|and|from|per)\b)"
)
_THERE: Final = re.compile(
    rf"^There (?P<aux>are|were) (?:about |over |at least |up to |only |around )?(?P<fact>{NUMBER} (?P<unit>(?:[a-z-]+ )?[a-z]+s)) "
    r"(?P<rest>(?:in|on|at) (?:[^,;:()]*\b[A-Z][^,;:()]*?))[.]?$"
)
_ABBREVIATION: Final = re.compile(r"\b((?:[A-Z][\w-]+ (?:(?:of|and|for|the|in) )?){1,5}[A-Z][\w-]+) \(([A-Z]{2,6})\)")
_TITLED: Final = re.compile(r"[a-z] [A-Z]|^[A-Z]\w+ [A-Z]|[A-Z]{2,}|\d")
_HARD: Final = frozenset(
    [
        "it",
        "its",
        "he",
        "him",
        "his",
        "she",
        "her",
        "they",
        "them",
        "this",
        "these",
        "those",
        "such",
        "we",
        "our",
        "that",
        "which",
        "who",
    ],
)
_JOINS: Final = frozenset(
    ["of", "in", "on", "at", "for", "to", "from", "and", "with", "by", "into", "over", "under", "between", "near"]
)
MOST_WORDS: Final = 22


class Drafted(msgspec.Struct, frozen=True, kw_only=True):
    """A question, what its answer must hold, and characters [start, end) of the passage that say it."""

    question: str
    answer: str
    kind: Kind
    start: int
    end: int


def draft(text: str, kind: str = "text", title: str = "") -> list[Drafted]:
    """In the order of the passage, at most one of each sentence, none twice. `title`: the document's."""
    if language(text) not in ("en", ""):
        return []
    if kind == "table":
        return _distinct(_cells(text, title)) if title else []
    if kind == "code":
        return []
    return _distinct(found for sentence in split(text, kind) for found in _of(sentence, text))


def _distinct(found: Iterator[Drafted]) -> list[Drafted]:
    """Two cells or sentences that give one question would have two answers: neither is asked."""
    every = list(found)
    asked = [each.question.casefold() for each in every]
    return [each for each in every if asked.count(each.question.casefold()) == 1]


def _of(sentence: Sentence, text: str) -> Iterator[Drafted]:
    if sentence.kind not in ("prose", "item") or not whole(sentence):
        return
    for kind, question, answer in _asked(sentence.text, text):
        words = question.split()
        if (
            4 <= len(words) <= MOST_WORDS
            and answer in sentence.text
            and not _HARD & {w.strip("?,").lower() for w in words[1:]}
        ):
            yield Drafted(question=question, answer=answer, kind=kind, start=sentence.start, end=sentence.end)
            return


def _asked(line: str, text: str) -> Iterator[tuple[Kind, str, str]]:
    for spelled, short in _ABBREVIATION.findall(line):
        name = spelled.removeprefix("The ")
        if [w[0] for w in name.split() if w[0].isupper()] == list(short):
            yield "abbreviation", f"What does {short} stand for?", name
    opening = _AGO.match(line.rstrip("."))
    if opening and (found := _STATEMENT.match(opening["rest"])) and _stands(found["subject"]):
        yield "date", f"When {_inverted(found, text, found['rest'])}?", opening["fact"]
    if active := _ACTIVE.match(line):
        yield from _active(active, text)
    yield from _counted(line, text)
    found = _STATEMENT.match(line)
    if found and _stands(found["subject"]):
        yield from _of_statement(found, text)


def _active(found: re.Match[str], text: str) -> Iterator[tuple[Kind, str, str]]:
    when = _WHEN.match(found["rest"])
    if when and _stands(found["subject"]) and _plain(when["before"]):
        asked = f"did {_lowered(found['subject'], text)} {BASE_FORMS[found['verb']]} {when['before']}"
        yield "date", f"When {asked.strip()}?", when["fact"]


def _counted(line: str, text: str) -> Iterator[tuple[Kind, str, str]]:
    has, there = _HAS.match(line), _THERE.match(line)
    if has and _stands(has["subject"]):
        helper, base = HOLDING[has["verb"]]
        yield (
            "number",
            f"How many {has['unit']}{has['of'] or ''} {helper} {_lowered(has['subject'], text)} {base}?",
            has["fact"],
        )
    if there and _plain(there["rest"]):
        yield "number", f"How many {there['unit']} {there['aux']} there {there['rest']}?", there["fact"]


def _of_statement(found: re.Match[str], text: str) -> Iterator[tuple[Kind, str, str]]:
    rest = found["rest"]
    if (when := _WHEN.match(rest)) and when["before"] and _plain(when["before"]):
        word = {"since": "Since when", "until": "Until when"}.get(when["how"], "When")
        yield "date", f"{word} {_inverted(found, text, when['before'])}?", when["fact"]
    if (count := _COUNT.match(rest)) and count["before"] and _plain(count["before"]):
        how = count["how"].capitalize()
        yield "number", f"{how} how many {count['unit']} {_inverted(found, text, count['before'])}?", count["fact"]
    if found["aux"] in ("is", "are", "was", "were"):
        yield from _of_being(found, text)


def _of_being(found: re.Match[str], text: str) -> Iterator[tuple[Kind, str, str]]:
    rest = found["rest"]
    if measure := _MEASURE.match(rest):
        how = measure["how"] or ("long" if measure["unit"] in SPANS else "")
        if how:
            yield "number", f"How {how} {_inverted(found, text, '')}?", measure["fact"]
    if (maker := _MAKER.match(rest)) and len(found["subject"].split()) > 1:
        yield "maker", f"By whom {_inverted(found, text, maker['before'])}?", maker["fact"]
    if place := _PLACE.match(rest):
        yield "place", f"Where {_inverted(found, text, place['before'])}?", place["fact"]
    if (what := _DEFINITION.match(rest)) and _named(found["subject"]):
        yield (
            "definition",
            f"{_who_or_what(found['subject'], what['fact'])} {_inverted(found, text, '')}?",
            what["fact"].strip(),
        )


def _who_or_what(subject: str, fact: str) -> str:
    if PEOPLE & set(fact.lower().split()):
        return "Who"
    return "Who or what" if len(subject.split()) > 1 and subject.istitle() else "What"


def _inverted(found: re.Match[str], text: str, rest: str) -> str:
    """Auxiliary, subject, rest: as a question has them."""
    first, _, more = found["aux"].partition(" ")
    return " ".join(part for part in (first, _lowered(found["subject"], text), more, rest.strip(" ,")) if part)


def _stands(subject: str) -> bool:
    """Does it mean something outside its passage, and hold no clause of its own?"""
    words = subject.split()
    lower = [w.lower() for w in words]
    if lower[0] in NO_SUBJECT or len(words) > 9 or CLAUSE & set(lower):
        return False
    if any(re.fullmatch(r"[a-z]{3,}ed", w) for w in words[1:]) or set(lower[1:]) & VERBS:
        return False
    if any(w == "the" and before not in _JOINS for before, w in pairwise(lower)):
        return False  # "Further south the interior"
    if lower[0] == "the":
        return bool(_TITLED.search(subject)) or (len(words) >= 4 and bool({"of", "on", "for", "in", "to"} & set(lower)))
    return len(words) > 1 or words[0][0].isupper()


def _plain(rest: str) -> bool:
    """Short, in one piece, and nothing in it that points elsewhere."""
    words = rest.lower().split()
    if words and words[-1] in _JOINS | {"worth", "than", "the", "a", "about"}:
        return False
    return (
        len(words) <= 12
        and not re.search(r"[,;:()\[\]\"“”]", rest)
        and not (CLAUSE | _HARD | {"and", "or"}) & set(words)
    )


def _named(subject: str) -> bool:
    """What is defined is a name or a term, not "the reason for this"."""
    words = subject.split()
    if re.search(r"['’]s\b|\d", subject):
        return False
    return len(words) <= 5 and words[0].lower() not in ("the", "all", "every", "each", "one", "another")


def _lowered(subject: str, text: str) -> str:
    """Without the capital that only the sentence's beginning gave it."""
    first, _, more = subject.partition(" ")
    low = first.lower()
    if low not in ("the", "a", "an", "all", "every", "each"):
        named = more[:1].isupper() or re.search(rf"[a-z,] {re.escape(first)}\b", text)
        common = re.fullmatch(r"[a-z]+[a-rt-z]s|[a-z]+-[a-z]+", low)
        if named or not (common or re.search(rf"[a-z,] {re.escape(low)}\b", text)):
            return subject
    return f"{low} {more}".strip()


def _cells(text: str, title: str) -> Iterator[Drafted]:
    """Of a table whose first column names the row: one cell of each row, another column's each time."""
    lines = text.split("\n")
    header = [cell.strip().replace("_", " ") for cell in lines[0].split(" | ")]
    at = len(lines[0]) + 1
    for number, line in enumerate(lines[1:]):
        cells = [cell.strip() for cell in line.split(" | ")]
        if len(cells) == len(header) > 1 and re.search(r"[A-Za-z]", cells[0]):
            column = 1 + number % (len(header) - 1)
            if _short(cells[0]) and _short(cells[column]) and _short(header[column]):
                asked = f'What does the table "{title}" give as {header[column]} for {cells[0]}?'
                yield Drafted(question=asked, answer=cells[column], kind="cell", start=at, end=at + len(line))
        at += len(line) + 1


def _short(cell: str) -> bool:
    return 1 <= len(cell.split()) <= 6
