"""roff as manual pages use it (groff_char(7), man(7), mdoc(7)): escapes to plain text, requests to their arguments."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Final

import msgspec

_CHARS: Final = {
    "em": "—", "en": "–", "hy": "-", "mi": "−", "bu": "•", "co": "©", "rg": "®", "tm": "™", "lq": "“", "rq": "”", "oq": "‘",
    "cq": "’", "aq": "'", "dq": '"', "Bq": "„", "bq": "‚", "Fo": "«", "Fc": "»", "rs": "\\", "sl": "/", "ha": "^", "ti": "~",
    "ga": "`", "aa": "´", "at": "@", "sh": "#", "Do": "$", "or": "|", "ba": "|", "br": "|", "lB": "[", "rB": "]", "lC": "{",
    "rC": "}", "la": "⟨", "ra": "⟩", "->": "→", "<-": "←", "ua": "↑", "da": "↓", "<=": "≤", ">=": "≥", "!=": "≠", "==": "≡",
    "+-": "±", "mu": "×", "di": "÷", "de": "°", "pl": "+", "eq": "=", "if": "∞", "sc": "§", "dg": "†", "dd": "‡", "ct": "¢",
    "Po": "£", "Eu": "€", "eu": "€", "Ye": "¥", "ss": "ß", "ae": "æ", "AE": "Æ", "oe": "œ", "OE": "Œ", "/o": "ø", "/O": "Ø",
    "oa": "å", "oA": "Å", ":a": "ä", ":o": "ö", ":u": "ü", ":A": "Ä", ":O": "Ö", ":U": "Ü", ":e": "ë", ":i": "ï", "'e": "é",
    "'a": "á", "'i": "í", "'o": "ó", "'u": "ú", "'E": "É", "`e": "è", "`a": "à", "`u": "ù", "^e": "ê", "^a": "â", "^o": "ô",
    "^i": "î", "^u": "û", "~n": "ñ", "~N": "Ñ", "~a": "ã", "~o": "õ", ",c": "ç", ",C": "Ç", "OK": "✓", "sq": "□", "ci": "○",
    "*a": "α", "*b": "β", "*m": "µ", "*p": "π", "mc": "µ", "12": "½", "14": "¼", "34": "¾", "S2": "²", "S3": "³", "fm": "′",
    "~=": "≈", "lh": "☜", "rh": "☞",
}  # fmt: skip
_STRINGS: Final = {
    "lq": "“",
    "rq": "”",
    'L"': "“",
    'R"': "”",
    "C`": "",
    "C'": "",
    "R": "®",
    "Tm": "™",
    "--": "—",
    "PI": "π",
}
_DELIMITED: Final = frozenset("hvwlLbDoXZNASRHB")  # an escape of these has an argument between two equal characters
_NAMED: Final = frozenset("fFmMknYgVO")  # ... of these one by name: \fB, \f(CW, \f[CW]
# Every other escape shows nothing: \\& \\| \\^ \\% \\: \\c and their like.
_SINGLE: Final = (
    dict.fromkeys(" ~0", " ") | {char: char for char in "-'`\\.@#$+=<>*_!?;"} | {"e": "\\", "E": "\\", "t": "\t"}
)
_ESCAPE: Final = re.compile(r"\\(.|\Z)", re.DOTALL)
_NAME: Final = re.compile(r"\((..)|\[([^\]\n]*)\]|([^\n])")
_SIZE: Final = re.compile(r"[+-]?\(\d\d|\(?[+-]?\d{1,2}|\[[+-]?\d+\]|'[+-]?\d+'")
_ARGUMENT: Final = re.compile(r'\s*(?:"((?:[^"]|"")*)(?:"|\Z)|((?:\\.|[^\s\\])+))', re.DOTALL)
_REQUEST: Final = re.compile(r"[.'][ \t]*([^\s\\]{1,40})[ \t]*(.*)", re.DOTALL)
_CONDITION: Final = re.compile(r"\s*(!?)(n|t|o|e|\S+)\s?(.*)", re.DOTALL)
_DEFINES: Final = frozenset({"de", "de1", "am", "ig", "dei", "ami"})
_MAX_STRINGS: Final = 1000


class Line(msgspec.Struct, frozen=True):
    """`request` is "" for text. `rest` is as written: `arguments` or `plain` makes text of it."""

    request: str
    rest: str


class Source:
    """A page's lines with comments, definitions and what is meant for paper left out; `removed` counts them."""

    def __init__(self, text: str) -> None:
        self._lines = text.replace("\\\n", "").split("\n")
        self._strings = dict(_STRINGS)
        self._skip_until = ""
        self._depth = 0  # of conditional blocks that are left out
        self._else = False  # whether `.el` is to be taken
        self.removed: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Line]:
        for line in self._lines:
            if self._is_skipped(line):
                continue
            if line[:1] in (".", "'") and (match := _REQUEST.fullmatch(line)):
                yield from self._request(match.group(1), match.group(2))
            elif line[:1] not in (".", "'") or line[1:].strip():
                if not line.startswith(('.\\"', "'\\\"")):
                    yield Line("", line)
                else:
                    self.removed["comments"] += 1

    def _is_skipped(self, line: str) -> bool:
        if self._skip_until:
            if line.rstrip() == self._skip_until or line.startswith(self._skip_until + " "):
                self._skip_until = ""
            return True
        if self._depth:
            self._depth += line.count("\\{") - line.count("\\}")
            return True
        return False

    def _request(self, name: str, rest: str) -> Iterator[Line]:
        if name in _DEFINES:
            words = rest.partition('\\"')[0].split()
            place = 0 if name == "ig" else 1
            self._skip_until = "." + (words[place] if len(words) > place else ".")
            self.removed["macro_definitions"] += 1
        elif name in ("if", "ie", "el", "while"):
            yield from self._conditional(name, rest)
        elif name in ("ds", "ds1", "as"):
            key, _, value = rest.partition(" ")
            if key and len(self._strings) < _MAX_STRINGS:
                self._strings.setdefault(key, value.lstrip(' "'))
        else:
            yield Line(name, rest)

    def _conditional(self, name: str, rest: str) -> Iterator[Line]:
        if name == "el":
            taken, body = self._else, rest
        else:
            match = _CONDITION.fullmatch(rest)
            taken, body = False, rest
            if match:
                taken, body = (match.group(2) == "n") != bool(match.group(1)), match.group(3)
        self._else = not taken if name == "ie" else False
        if not taken:
            self._depth = max(0, rest.count("\\{") - rest.count("\\}"))
            return
        body = body.replace("\\{", "").replace("\\}", "").strip()
        if body[:1] in (".", "'") and (inner := _REQUEST.fullmatch(body)):
            yield from self._request(inner.group(1), inner.group(2))
        elif body:
            yield Line("", body)

    def arguments(self, rest: str) -> list[str]:
        """Words and quoted groups, each as plain text."""
        found = []
        for match in _ARGUMENT.finditer(rest):
            quoted, word = match.group(1), match.group(2)
            raw = quoted.replace('""', '"') if quoted is not None else word
            if word is not None and word.startswith('\\"'):
                break
            found.append(self.plain(raw))
        return found

    def plain(self, text: str) -> str:
        """What a reader sees of it."""
        parts: list[str] = []
        at = 0
        while match := _ESCAPE.search(text, at):
            parts.append(text[at : match.start()])
            if match.group(1) == '"':
                return "".join(parts).rstrip()
            shown, at = self._escape(text, match.group(1), match.end())
            parts.append(shown)
        return "".join(parts) + text[at:]

    def _escape(self, text: str, kind: str, at: int) -> tuple[str, int]:
        """(what is shown, where the escape ends). `at` is behind its letter."""
        if kind in "([":
            return _named(text, at - 1, _CHARS)
        if kind == "C":
            end = text.find(text[at : at + 1] or "'", at + 1)
            return (_CHARS.get(text[at + 1 : end], ""), end + 1) if end > 0 else ("", len(text))
        if kind == "*":
            shown, end = _named(text, at, self._strings)
            return (self.plain(shown) if "\\" in shown and len(shown) < len(text) else shown.replace("\\", "")), end
        if kind == "s":
            size = _SIZE.match(text, at)
            return "", size.end() if size else at
        if kind in _NAMED:
            if kind == "n" and text[at : at + 1] in "+-":
                at += 1
            name = _NAME.match(text, at)
            return "", name.end() if name else at
        if kind in _DELIMITED:
            end = text.find(text[at : at + 1], at + 1) if at < len(text) else -1
            return "", end + 1 if end > 0 else len(text)
        return _SINGLE.get(kind, ""), at


def _named(text: str, at: int, known: dict[str, str]) -> tuple[str, int]:
    match = _NAME.match(text, at)
    if not match:
        return "", at
    name = match.group(1) or match.group(2) or match.group(3) or ""
    if name.startswith("u") and re.fullmatch(r"u[0-9A-Fa-f]{4,6}", name):
        code = int(name[1:], 16)
        return (chr(code) if code < 0x110000 and not 0xD800 <= code < 0xE000 else ""), match.end()
    return known.get(name, ""), match.end()
