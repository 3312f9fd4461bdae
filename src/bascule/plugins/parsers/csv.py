"""Tables as text: comma, semicolon, tab or bar separated, the first row taken as the header unless it holds values."""

from __future__ import annotations

import csv
import io
import re
from typing import Final

from bascule.core.errors import IngestError
from bascule.core.parsing import ParsedDocument, Parser
from bascule.plugins.parsers._tables import table

_DELIMITERS: Final = ",;\t|"
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
        return ParsedDocument(title="", blocks=(table(rows),))


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


parser: Parser = CsvParser()
