"""Rows of cells to a table: the first row is the header unless it holds values."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from bascule.core.parsing import Block

_VALUE: Final = re.compile(r"[+-]?[\d.,\s]*\d[%€$£]?|\d{4}-\d\d-\d\d.*|\S+@\S+\.\S+")


def table(rows: Sequence[Sequence[str]], *, page: int | None = None, header: bool | None = None) -> Block:
    """A table of at least one row, padded to its widest. `header`: whether the first row is one; None: decided by its cells."""
    width = max(map(len, rows))
    cells = [tuple(cell.strip() for cell in row) + ("",) * (width - len(row)) for row in rows]
    if header is None:
        header = not any(_VALUE.fullmatch(cell) for cell in cells[0])
    if not header:
        cells.insert(0, ("",) * width)  # no header: nothing is repeated above the rows, and no name is invented
    text = "\n".join(" | ".join(row) for row in cells if any(row))
    return Block(kind="table", text=text, rows=tuple(cells), page=page)
