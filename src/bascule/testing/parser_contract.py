"""What every parser must do, whoever wrote it. Use it on a plugin of your own:

check_parser(parser, sample=open("sample.rtf", "rb").read(), words=["words", "that", "must", "be", "there"])
"""

from __future__ import annotations

import random
from collections.abc import Iterable

from bascule.core.errors import IngestError
from bascule.core.parsing import ParsedDocument, Parser

KINDS = ("heading", "paragraph", "list", "table", "code")


def check_parser(parser: Parser, *, sample: bytes, words: Iterable[str], mutations: int = 60) -> None:
    """Every check below on one good sample of at least 40 bytes whose text holds `words`."""
    check_sample(parser, sample, words)
    check_same_every_time(parser, sample)
    check_nothing_to_read(parser)
    check_damage(parser, sample, mutations)


def check_sample(parser: Parser, sample: bytes, words: Iterable[str]) -> None:
    parsed = parser.parse(sample, "sample")
    text = "\n".join(block.text for block in parsed.blocks)
    for word in words:
        assert word in text, f"{word!r} is missing from the parsed text"
    check_shape(parsed)


def check_shape(parsed: ParsedDocument) -> None:
    assert parsed.blocks, "a parsed document has blocks; one without text raises IngestError"
    for block in parsed.blocks:
        assert block.kind in KINDS
        assert block.text.strip(), "no empty blocks"
        assert (1 <= block.level <= 6) if block.kind == "heading" else block.level == 0
        assert block.page is None or block.page >= 1
        assert bool(block.rows) == (block.kind == "table"), "tables and only tables have rows"
        assert len({len(row) for row in block.rows}) <= 1, "all rows of a table have the same number of cells"
    assert all(count > 0 for count in parsed.removed.values()), "what was not removed is not listed"


def check_same_every_time(parser: Parser, sample: bytes) -> None:
    assert parser.parse(sample, "sample") == parser.parse(sample, "another name")


def check_nothing_to_read(parser: Parser) -> None:
    for data in (b"", b" \n\t\r\n "):
        assert _outcome(parser, data) is None, "nothing to read must raise IngestError"


def check_damage(parser: Parser, sample: bytes, mutations: int) -> None:
    """Cut short and with flipped bytes: a document or IngestError, never anything else."""
    chance = random.Random(7)
    for number in range(mutations):
        broken = bytearray(sample[: chance.randrange(1, len(sample))] if number % 3 == 0 else sample)
        for _ in range(chance.randrange(1, 12)):
            broken[chance.randrange(len(broken))] = chance.randrange(256)
        parsed = _outcome(parser, bytes(broken))
        if parsed is not None:
            check_shape(parsed)


def _outcome(parser: Parser, data: bytes) -> ParsedDocument | None:
    try:
        return parser.parse(data, "sample")
    except IngestError as error:
        assert len(str(error)) > 10, "a reason says what is wrong and what to do"
        return None
