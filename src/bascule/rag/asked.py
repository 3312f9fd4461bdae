"""What kind of answer a question wants, read from its first words (English and Spanish)."""

from __future__ import annotations

import re
from typing import Final

_KINDS: Final = {
    "when": r"\b(?:when|what (?:year|date|day|time)|how (?:long|old|often|soon)|cuándo|en qué año)\b",
    "count": r"\b(?:how (?:many|much|long|far|old|high|big|large|tall|fast|often)|what (?:percent\w*|number|amount)"
    r"|price|cost|costs|cuánt[oa]s?)\b",
    "who": r"\b(?:who|whom|whose|which (?:person|king|team|company)|quién(?:es)?)\b",
    "where": r"\b(?:where|what (?:country|city|place|region)|which (?:country|city)|dónde)\b",
    "what": r"^\W*(?:what(?:'s| is| are| was| were| does| do)|explain|define|describe|qué (?:es|son|hace))\b",
    "how": r"^\W*how (?:do|can|should|to|could|would|does one)\b",
}
_PATTERNS: Final = {kind: re.compile(pattern, re.IGNORECASE) for kind, pattern in _KINDS.items()}


def kinds(question: str) -> frozenset[str]:
    """Among when, count, who, where, what (a definition) and how (instructions); a question may be several or none."""
    return frozenset(kind for kind, pattern in _PATTERNS.items() if pattern.search(question))
