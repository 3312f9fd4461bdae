"""Excel workbooks (.xlsx, .xlsm): every visible sheet as tables, values as a reader sees them; formulas by their last result.

Left out and counted: hidden sheets, rows and columns. Cells are read one after the other as they stand in the file: the size a
sheet claims to have is never believed (17 billion cells fit into a kilobyte).
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections import Counter
from typing import Final

from lxml import etree  # type: ignore[import-untyped]

from bascule.core.errors import IngestError
from bascule.core.parsing import Block, ParsedDocument, Parser
from bascule.plugins.parsers._archives import check_archive
from bascule.plugins.parsers._tables import table
from bascule.plugins.parsers.xlsx.sheets import Book, read_sheet

_DAMAGED: Final = (
    KeyError, ValueError, IndexError, TypeError, AttributeError, OverflowError, zipfile.BadZipFile, zlib.error, EOFError,
    NotImplementedError, RuntimeError, struct.error, etree.XMLSyntaxError, OSError,
)  # fmt: skip


class XlsxParser:
    def parse(self, data: bytes, name: str) -> ParsedDocument:
        try:
            check_archive(data, "Excel")
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                return _read(Book(archive))
        except RecursionError:
            raise IngestError("The Excel file is nested too deeply to be read.", reason="damaged") from None
        except _DAMAGED:
            raise IngestError(
                "The Excel file is damaged. Open it in a spreadsheet program and save it again as .xlsx.",
                reason="damaged",
            ) from None


def _read(book: Book) -> ParsedDocument:
    removed: Counter[str] = Counter()
    blocks: list[Block] = []
    sheets = list(book.sheets())
    shown = [sheet for sheet in sheets if sheet.visible]
    if len(shown) < len(sheets):
        removed["hidden_sheets"] = len(sheets) - len(shown)
    for number, sheet in enumerate(shown, 1):
        body = [_block(part, number) for part in _parts(read_sheet(book, sheet, removed))]
        if body and len(shown) > 1:
            blocks.append(Block(kind="heading", text=sheet.name, level=1, page=number))
        blocks += body
    if not blocks:
        raise IngestError("The workbook has no visible cell with a value in it.", reason="empty")
    return ParsedDocument(title=book.title(), blocks=tuple(blocks), removed=dict(removed))


def _parts(rows: list[tuple[int, list[str]]]) -> list[list[list[str]]]:
    """Rows that stand together: an empty row ends a table. Columns that are empty in a whole part go."""
    parts: list[list[list[str]]] = []
    before = -2
    for number, cells in rows:
        if number != before + 1:
            parts.append([])
        parts[-1].append(cells)
        before = number
    return [_without_empty_columns(part) for part in parts]


def _without_empty_columns(rows: list[list[str]]) -> list[list[str]]:
    width = max(map(len, rows))
    used = [at for at in range(width) if any(at < len(row) and row[at] for row in rows)]
    return [[row[at] if at < len(row) else "" for at in used] for row in rows]


def _block(rows: list[list[str]], page: int) -> Block:
    if len(rows[0]) == 1:
        return Block(kind="paragraph", text="\n".join(row[0] for row in rows), page=page)
    return table(rows, page=page)


parser: Parser = XlsxParser()
