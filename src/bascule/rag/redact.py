"""Masks personal data and secrets before anything is stored, embedded or sent: `[email]`, `[card]`, ...

Recognisers read a folded copy of the text (compatibility forms, every script's digits as ASCII, invisible characters
gone), and a map of offsets carries what they find back, so that a full-width or zero-width card number is still one.
Known misses, by choice: addresses spelled out ("john (at) acme dot com") or spaced letter by letter.
"""

from __future__ import annotations

import bisect
import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Final

import msgspec

from bascule.core.parsing import Block
from bascule.core.policies import Finding, Verdict
from bascule.rag.clean import table_text
from bascule.rag.recognisers import RECOGNISERS

KINDS: Final = tuple(RECOGNISERS)
_DASHES: Final = frozenset("‐‑‒–—―−﹘﹣－")
_INVISIBLE: Final = frozenset(["Cf", "Mn"])


def find(text: str, *, context: str = "", kinds: Collection[str] = KINDS) -> list[Finding]:
    """Spans in `text`, in order and without overlaps. `context` is what stands above it (a table's column name)."""
    folded, offsets = _fold(text)
    taken: list[Finding] = []
    for kind, recogniser in RECOGNISERS.items():
        if kind in kinds:
            found = sorted(recogniser(folded, context), key=lambda f: f.start)
            taken = _merged(taken, found)
    if offsets is None:
        return taken
    return [Finding(kind=f.kind, start=offsets[f.start], end=offsets[f.end - 1] + 1) for f in taken]


def redact(text: str, counts: Counter[str], *, context: str = "", kinds: Collection[str] = KINDS) -> str:
    """The text with every finding masked; `counts` grows by kind. What was masked is kept nowhere."""
    found = find(text, context=context, kinds=kinds)
    if not found:
        return text
    parts, at = [], 0
    for finding in found:
        parts += [text[at : finding.start], f"[{finding.kind}]"]
        at = finding.end
        counts[finding.kind] += 1
    return "".join(parts) + text[at:]


def redact_blocks(
    blocks: Sequence[Block], *, kinds: Collection[str] = KINDS
) -> tuple[tuple[Block, ...], dict[str, int]]:
    counts: Counter[str] = Counter()
    return tuple(_redact_block(block, counts, kinds) for block in blocks), dict(counts)


class Redaction:
    """The same as a policy on any text: changes it, never refuses."""

    def __init__(self, kinds: Collection[str] = KINDS) -> None:
        self._kinds = kinds

    def judge(self, text: str) -> Verdict:
        found = find(text, kinds=self._kinds)
        if not found:
            return Verdict(action="pass", text=text)
        return Verdict(action="change", text=redact(text, Counter(), kinds=self._kinds), findings=tuple(found))


def _redact_block(block: Block, counts: Counter[str], kinds: Collection[str]) -> Block:
    if not block.rows:
        return msgspec.structs.replace(block, text=redact(block.text, counts, kinds=kinds))
    header = block.rows[0]
    rows = tuple(
        tuple(redact(cell, counts, context=header[i] if number else "", kinds=kinds) for i, cell in enumerate(row))
        for number, row in enumerate(block.rows)
    )
    return msgspec.structs.replace(block, rows=rows, text=table_text(rows))


def _fold(text: str) -> tuple[str, list[int] | None]:
    """(folded text, offset in `text` of each of its characters); None when folding changes nothing."""
    if text.isascii():
        return text, None
    folded: list[str] = []
    offsets: list[int] = []
    known: dict[str, str] = {}
    for index, char in enumerate(text):
        plain = char if char < "\x80" else known.get(char)
        if plain is None:
            plain = known[char] = _fold_char(char)
        folded.append(plain)
        offsets.extend([index] * len(plain))
    return "".join(folded), offsets


def _fold_char(char: str) -> str:
    if unicodedata.category(char) in _INVISIBLE:
        return ""
    if char in _DASHES:
        return "-"
    digit = unicodedata.decimal(char, None)
    if digit is not None:
        return str(digit)
    plain = unicodedata.normalize("NFKC", char)
    return " " if plain.isspace() else plain


def _merged(taken: Sequence[Finding], found: Sequence[Finding]) -> list[Finding]:
    """Both in order; a finding that overlaps one of a kind ranked earlier, or one before it, is dropped."""
    merged = list(taken)
    for finding in found:
        at = bisect.bisect_left(merged, finding.end, key=lambda other: other.start)
        if at == 0 or merged[at - 1].end <= finding.start:
            merged.insert(at, finding)
    return merged
