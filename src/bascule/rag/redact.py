"""Masks personal data and secrets before anything is stored, embedded or sent: `[email]`, `[card]`, ..."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

import msgspec

from bascule.core.parsing import Block
from bascule.core.recognise import KINDS, find
from bascule.rag.clean import table_text


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


def _redact_block(block: Block, counts: Counter[str], kinds: Collection[str]) -> Block:
    if not block.rows:
        return msgspec.structs.replace(block, text=redact(block.text, counts, kinds=kinds))
    header = block.rows[0]
    rows = tuple(
        tuple(redact(cell, counts, context=header[i] if number else "", kinds=kinds) for i, cell in enumerate(row))
        for number, row in enumerate(block.rows)
    )
    return msgspec.structs.replace(block, rows=rows, text=table_text(rows))
