"""robots.txt by RFC 9309: the group of our name (or of `*`), the longest matching rule, `*` and `$` in paths; and crawl-delay."""

from __future__ import annotations

import math
import re
from typing import Final

from bascule.core.urls import WebUrl, one_spelling

MAX_BYTES: Final = 512_000
MAX_RULES: Final = 5_000


class Robots:
    """What one robots.txt lets us fetch. `delay_s` is 0 when it names none."""

    def __init__(self, text: str, agent: str) -> None:
        token = re.match(r"[A-Za-z_-]*", agent)
        groups = _groups(text)
        name = token[0].lower() if token else ""
        own = [lines for agents, lines in groups if name in agents]
        lines = [line for group in own or [lines for agents, lines in groups if "*" in agents] for line in group]
        self._rules = [(_normal(path), key == "allow") for key, path in lines if key != "crawl-delay" and path]
        self.delay_s = max((_seconds(value) for key, value in lines if key == "crawl-delay"), default=0.0)

    def allows(self, url: WebUrl) -> bool:
        target = _normal(url.target)
        best, allowed = -1, True
        for path, allow in self._rules:
            longer = len(path) > best or (len(path) == best and allow)
            if longer and _matches(path, target):
                best, allowed = len(path), allow
        return allowed


def _groups(text: str) -> list[tuple[set[str], list[tuple[str, str]]]]:
    """(agents, rules) in the order of the file."""
    groups: list[tuple[set[str], list[tuple[str, str]]]] = []
    naming, rules = False, 0
    for line in text.removeprefix("\ufeff").splitlines():
        key, colon, value = line.partition("#")[0].partition(":")
        key, value = key.strip().lower(), value.strip()
        if key == "user-agent" and colon:
            if not naming:
                groups.append((set(), []))
            groups[-1][0].add(value.partition("/")[0].strip().lower())
            naming = True
        elif key in ("allow", "disallow", "crawl-delay") and groups and rules < MAX_RULES:
            groups[-1][1].append((key, value))
            naming = False
            rules += 1
    return groups


def _normal(path: str) -> str:
    return one_spelling(path, also=b"?")


def _matches(pattern: str, target: str) -> bool:
    """In time linear in both: each piece between stars is sought from where the one before it ended."""
    ends = pattern.endswith("$")
    first, *pieces = pattern.removesuffix("$").split("*")
    if not target.startswith(first):
        return False
    at = len(first)
    for number, piece in enumerate(pieces):
        if ends and number == len(pieces) - 1:
            return len(target) - len(piece) >= at and target.endswith(piece)
        found = target.find(piece, at)
        if found < 0:
            return False
        at = found + len(piece)
    return at == len(target) or not ends


def _seconds(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        return 0.0
    return seconds if math.isfinite(seconds) and seconds > 0 else 0.0
