"""Masks personal data and secrets before anything is stored, embedded or sent: `[email]`, `[card]`, ..."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence

import msgspec

from bascule.core.parsing import Block
from bascule.core.pseudonyms import pseudonym
from bascule.core.recognise import KINDS, PERSONAL_KINDS, SECRET_KINDS, find, possible
from bascule.rag.clean import table_text
from bascule.rag.names import NAME_KINDS, Look


def redact(
    text: str,
    counts: Counter[str],
    *,
    context: str = "",
    kinds: Collection[str] = KINDS,
    key: bytes = b"",
    look: Look = find,
) -> str:
    """The text with every finding masked, or with a `key` personal data under pseudonyms; `counts` grows by kind. What was
    masked is kept nowhere."""
    found = look(text, context=context, kinds=kinds)
    if not found:
        return text
    parts, at = [], 0
    for finding in found:
        named = key and finding.kind not in SECRET_KINDS
        shown = pseudonym(key, finding.kind, text[finding.start : finding.end]) if named else f"[{finding.kind}]"
        parts += [text[at : finding.start], shown]
        at = finding.end
        counts[finding.kind] += 1
    return "".join(parts) + text[at:]


def redact_blocks(
    blocks: Sequence[Block],
    *,
    kinds: Collection[str] = KINDS,
    drop: bool = False,
    key: bytes = b"",
    look: Look = find,
) -> tuple[tuple[Block, ...], dict[str, int]]:
    """`drop`: a block or a table's row that holds personal data is left out whole, and counted as `left_out_KIND` by what it held;
    secrets are masked all the same."""
    counts: Counter[str] = Counter()
    kinds = possible(_texts(blocks), kinds)
    if not kinds:
        return tuple(blocks), {}
    if drop:
        blocks = [kept for block in blocks if (kept := _without_personal(block, counts, kinds, look)) is not None]
    return tuple(_redact_block(block, counts, kinds, key, look) for block in blocks), dict(counts)


def _texts(blocks: Sequence[Block]) -> Iterator[str]:
    for block in blocks:
        if block.rows:
            for row in block.rows:
                yield from row
        else:
            yield block.text


def _without_personal(block: Block, counts: Counter[str], kinds: Collection[str], look: Look) -> Block | None:
    """Headings and header rows stay, masked like secrets: what is below them must not come to stand under another."""
    personal = [kind for kind in kinds if kind not in SECRET_KINDS]
    if block.kind == "heading":
        return block
    if not block.rows:
        return None if _counted(block.text, "", counts, personal, look) else block
    header, *body = block.rows
    rows = [
        row
        for row in body
        if not any([_counted(cell, header[i], counts, personal, look) for i, cell in enumerate(row)])
    ]
    if len(rows) == len(body):
        return block
    kept = (header, *rows)
    return msgspec.structs.replace(block, rows=kept, text=table_text(kept)) if rows else None


def _counted(text: str, context: str, counts: Counter[str], kinds: Collection[str], look: Look) -> bool:
    found = look(text, context=context, kinds=kinds)
    counts.update(f"left_out_{finding.kind}" for finding in found)
    return bool(found)


def _redact_block(block: Block, counts: Counter[str], kinds: Collection[str], key: bytes, look: Look) -> Block:
    if not block.rows:
        return msgspec.structs.replace(block, text=redact(block.text, counts, kinds=kinds, key=key, look=look))
    header = block.rows[0]
    rows = tuple(
        tuple(
            redact(cell, counts, context=header[i] if number else "", kinds=kinds, key=key, look=look)
            for i, cell in enumerate(row)
        )
        for number, row in enumerate(block.rows)
    )
    return msgspec.structs.replace(block, rows=rows, text=table_text(rows))


def value_of(blocks: Sequence[Block], wanted: str, key: bytes, look: Look = find) -> str:
    """The value whose pseudonym this is; "" when the blocks hold none."""
    for block in blocks:
        header = block.rows[0] if block.rows else ()
        cells = [
            (cell, header[i] if number else "") for number, row in enumerate(block.rows) for i, cell in enumerate(row)
        ]
        for text, context in cells or [(block.text, "")]:
            for finding in look(text, context=context, kinds=(*PERSONAL_KINDS, *NAME_KINDS)):
                value = text[finding.start : finding.end]
                if pseudonym(key, finding.kind, value) == wanted:
                    return value
    return ""
