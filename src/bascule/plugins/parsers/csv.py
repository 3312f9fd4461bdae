"""Tables as text: comma, semicolon, tab or bar separated, the first row taken as the header unless it holds values."""

from __future__ import annotations

import csv
import io
import re
from typing import Final

from bascule.core.errors import IngestError
from bascule.core.parsing import Block, ParsedDocument, Parser

_DELIMITERS: Final = ",;\t|"
_VALUE: Final = re.compile(r"[+-]?[\d.,\s]*\d[%€$£]?|\d{4}-\d\d-\d\d.*|\S+@\S+\.\S+")
_MAX_CELL_CHARS: Final = 1_000_000
_MAX_COLUMNS: Final = 2_000


class CsvParser:
    def parse(self, data: bytes, name: str) -> ParsedDocument:
        text = data.decode("utf-8-sig", errors="replace")
        csv.field_size_limit(_MAX_CELL_CHARS)
        try:
            rows = [
                row for row in csv.reader(io.StringIO(text), delimiter=_delimiter(text)) if any(map(str.strip, row))
            ]
        except csv.Error as error:
            raise IngestError(f"The table cannot be read: {error}. Export it again as CSV.", reason="damaged") from None
        if not rows:
            raise IngestError("The table has no rows. Check the export that made it.", reason="empty")
        if max(map(len, rows)) > _MAX_COLUMNS:
            raise IngestError(f"The table has more than {_MAX_COLUMNS} columns. Split it.", reason="too_large")
        return ParsedDocument(title="", blocks=(_table(rows),))


def _delimiter(text: str) -> str:
    """The one that cuts the first lines into the same number of cells most often; the comma when nothing does."""
    lines = [re.sub(r'"[^"]*"', "", line) for line in text[:20_000].splitlines()[:50] if line.strip()]
    best, best_score = ",", 0.0
    for delimiter in _DELIMITERS:
        counts = [line.count(delimiter) for line in lines]
        usual = max(set(counts), key=counts.count, default=0)
        score = counts.count(usual) / max(1, len(counts)) * min(usual, 5)
        if usual and score > best_score:
            best, best_score = delimiter, score
    return best


def _table(rows: list[list[str]]) -> Block:
    width = max(map(len, rows))
    cells = [tuple(cell.strip() for cell in row) + ("",) * (width - len(row)) for row in rows]
    if any(_VALUE.fullmatch(cell) for cell in cells[0]):
        cells.insert(0, ("",) * width)  # no header: nothing is repeated above the rows, and no name is invented
    text = "\n".join(" | ".join(row) for row in cells if any(row))
    return Block(kind="table", text=text, rows=tuple(cells))


parser: Parser = CsvParser()
