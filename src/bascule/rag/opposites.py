"""Words that say the contrary of one another, as roots: English, chosen by hand."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from bascule.rag import words

# In each group the first word is the contrary of all others.
_GROUPS: Final = [
    "most least fewest", "more less fewer", "before after", "first last final", "early late", "increase decrease reduce decline",
    "rise fall drop", "high low", "large small tiny", "big small little", "long short brief", "old new young", "strong weak",
    "win lose defeat", "accept reject refuse deny", "allow forbid prohibit ban prevent", "include exclude", "begin end stop cease",
    "start finish stop end", "north south", "east west", "northern southern", "eastern western", "support oppose",
    "agree disagree", "buy sell", "import export", "enter leave exit", "arrive leave depart", "enemy friend ally",
    "positive negative", "active passive", "rich poor", "simple complex complicated", "easy hard difficult", "easier harder",
    "possible impossible", "legal illegal", "major minor", "majority minority", "maximum minimum", "upper lower", "good bad",
    "better worse", "best worst", "slow fast quick", "same different", "always never", "all none", "success failure fail",
    "succeed fail", "help harm hinder", "attack defend protect", "gain lose", "destroy create build", "raise lower",
    "public private", "internal external", "wide narrow", "common rare unusual", "male female", "inside outside",
    "top bottom", "left right", "war peace", "true false", "guilty innocent", "love hate", "expand shrink contract",
    "cheap expensive",
    "temporary permanent", "voluntary compulsory mandatory", "native foreign",
    "liberal conservative", "modern ancient", "heavy light", "near far", "above below", "exclusive inclusive", "unite divide",
]  # fmt: skip


def _contraries() -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for group in _GROUPS:
        head, *others = map(words.root, group.split())
        for other in others:
            found.setdefault(head, set()).add(other)
            found.setdefault(other, set()).add(head)
    return {word: frozenset(others) for word, others in found.items()}


_OF: Final = _contraries()


def opposed(asked: Iterable[str], said: frozenset[str]) -> bool:
    """A root that is asked is not said, and one that means the contrary is."""
    return any(not said.isdisjoint(_OF.get(root, ())) for root in asked if root not in said)
