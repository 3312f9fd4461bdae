"""The words of mdoc(7) within a line: `Op Fl a Ar file` is `[-a file]`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_AROUND: Final = {
    "Op": ("[", "]"), "Oo": ("[", ""), "Oc": ("", "]"), "Dq": ("“", "”"), "Do": ("“", ""), "Dc": ("", "”"), "Sq": ("‘", "’"),
    "So": ("‘", ""), "Sc": ("", "’"), "Ql": ("‘", "’"), "Qq": ('"', '"'), "Qo": ('"', ""), "Qc": ("", '"'), "Pq": ("(", ")"),
    "Po": ("(", ""), "Pc": ("", ")"), "Bq": ("[", "]"), "Bo": ("[", ""), "Bc": ("", "]"), "Brq": ("{", "}"), "Bro": ("{", ""),
    "Brc": ("", "}"), "Aq": ("<", ">"), "Ao": ("<", ""), "Ac": ("", ">"),
}  # fmt: skip
_BARE: Final = frozenset({
    "Nm", "Nd", "Ar", "Pa", "Cm", "Ic", "Em", "Sy", "Li", "Ev", "Va", "Vt", "Fn", "Ft", "Fa", "Er", "An", "Ad", "Dv", "Tn", "Ms",
    "Lk", "Mt", "Fd", "In", "Cd", "Fo", "Fc", "No", "Ns", "Pf", "Ta", "Xr", "Fl", "Sx", "St", "Ux", "Bx", "Fx", "Nx", "Ox", "Dx",
    "At", "Bsx", "Rv", "Ex", "Lb", "Dl", "D1", "Xo", "Xc", "%A", "%B", "%C", "%D", "%I", "%J", "%N", "%O", "%P", "%Q", "%R", "%T",
    "%U", "%V", "Ap",
})  # fmt: skip
MDOC: Final = frozenset(_AROUND) | _BARE
_WORDS: Final = {
    "Ux": "UNIX", "Bx": "BSD", "Fx": "FreeBSD", "Nx": "NetBSD", "Ox": "OpenBSD", "Dx": "DragonFly", "At": "AT&T UNIX",
    "Bsx": "BSD/OS",
    "Nd": "—", "Ta": "|",
}  # fmt: skip
_CLOSES: Final = frozenset(".,:;?!)]")
_OPENS: Final = frozenset("([")


class _Line:
    """One line as it grows. `closing` is what ends with it."""

    def __init__(self, words: Sequence[str], name: str) -> None:
        self._words = words
        self._name = name
        self._at = 0
        self._parts: list[str] = []
        self._closing: list[str] = []
        self._glue = True  # the next word follows without a space

    def read(self) -> str:
        while self._at < len(self._words):
            word = self._words[self._at]
            self._at += 1
            if word in _AROUND:
                self._around(*_AROUND[word])
            elif word in _BARE:
                self._macro(word)
            else:
                self._add(word, tight=word in _CLOSES)
                self._glue = word in _OPENS
        return "".join(self._parts) + "".join(reversed(self._closing))

    def _add(self, word: str, tight: bool = False) -> None:
        self._parts.append(word if self._glue or tight or not self._parts else " " + word)
        self._glue = False

    def _around(self, before: str, after: str) -> None:
        if not before:
            self._add(after, tight=True)
            return
        self._add(before)
        self._glue = True
        if after:
            self._closing.append(after)

    def _macro(self, word: str) -> None:
        rest = self._words[self._at :]
        if word == "Fl":
            self._add("-")
            self._glue = bool(rest) and rest[0] not in MDOC
        elif word == "Xr" and len(rest) > 1:
            self._add(f"{rest[0]}({rest[1]})")
            self._at += 2
        elif word == "Nm" and (not rest or rest[0] in MDOC or rest[0] in _CLOSES):
            self._add(self._name)
        elif word == "Ar" and not rest:
            self._add("file ...")
        elif word == "Ap":
            self._add("'", tight=True)
            self._glue = True
        elif word == "Ns":
            self._glue = True
        elif word in _WORDS:
            self._add(_WORDS[word])


def inline(words: Sequence[str], name: str) -> str:
    """`name` is the page's: what an `Nm` without arguments stands for."""
    return _Line(words, name).read()
