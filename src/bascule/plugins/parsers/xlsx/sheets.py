"""The parts of a workbook: its sheets, shared strings and number formats (ECMA-376 part 1, 18.2 to 18.8)."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import msgspec
from lxml import etree  # type: ignore[import-untyped]

from bascule.core.errors import IngestError
from bascule.plugins.parsers._archives import resolve
from bascule.plugins.parsers._xml import name as name_of
from bascule.plugins.parsers._xml import tree
from bascule.plugins.parsers.xlsx.values import is_date, shown

_WORKBOOK: Final = "xl/workbook.xml"
_R_ID: Final = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
_STRICT_R_ID: Final = "{http://purl.oclc.org/ooxml/officeDocument/relationships}id"
_MAX_ROWS: Final = 1_048_576  # Excel's own limits
_MAX_COLUMNS: Final = 16_384
_MAX_CELLS: Final = 5_000_000


class Sheet(msgspec.Struct, frozen=True):
    name: str
    part: str
    visible: bool


class Book:
    def __init__(self, archive: zipfile.ZipFile) -> None:
        self.archive = archive
        self._names = set(archive.namelist())
        self._root = tree(archive.read(_WORKBOOK), "workbook")
        self.strings = self._strings()
        self.formats = self._formats()
        self.since_1904 = any(
            name_of(e) == "workbookPr" and e.get("date1904") in ("1", "true") for e in self._root.iter()
        )
        self.cells = 0

    def sheets(self) -> Iterator[Sheet]:
        targets = {
            relation.get("Id"): resolve(_WORKBOOK, relation.get("Target") or "")
            for relation in self._part("xl/_rels/workbook.xml.rels")
        }
        for element in self._root.iter():
            if name_of(element) == "sheet":
                part = targets.get(element.get(_R_ID) or element.get(_STRICT_R_ID), "")
                if part in self._names and "/worksheets/" in part:
                    yield Sheet(element.get("name") or "", part, element.get("state", "visible") == "visible")

    def title(self) -> str:
        for element in self._part("docProps/core.xml"):
            if name_of(element) == "title":
                return " ".join((element.text or "").split())
        return ""

    def count(self) -> None:
        self.cells += 1
        if self.cells > _MAX_CELLS:
            raise IngestError(f"The workbook has more than {_MAX_CELLS} cells. Split it.", reason="too_large")

    def _part(self, name: str) -> list[Any]:
        return list(tree(self.archive.read(name), "workbook")) if name in self._names else []

    def _strings(self) -> list[str]:
        return [rich_text(item) for item in self._part("xl/sharedStrings.xml")]

    def _formats(self) -> list[str]:
        """The kind of value each cell style shows: "date", "time", "datetime", "percent" or ""."""
        codes: dict[str, str] = {}
        found: list[str] = []
        for group in self._part("xl/styles.xml"):
            if name_of(group) == "numFmts":
                codes = {e.get("numFmtId") or "": e.get("formatCode") or "" for e in group}
            elif name_of(group) == "cellXfs":
                found = [is_date(e.get("numFmtId") or "0", codes.get(e.get("numFmtId") or "", "")) for e in group]
        return found


def rich_text(item: Any) -> str:
    """The text of a string item; phonetic guides (furigana) are left out."""
    parts: list[str] = []
    for child in item:
        if name_of(child) == "t":
            parts.append(child.text or "")
        elif name_of(child) == "r":
            parts += [t.text or "" for t in child if name_of(t) == "t"]
    return " ".join("".join(parts).split())


def read_sheet(book: Book, sheet: Sheet, removed: Counter[str]) -> list[tuple[int, list[str]]]:
    """(row number, cells) of every visible row with a value. Cells of hidden columns are empty."""
    rows: list[tuple[int, list[str]]] = []
    hidden: set[int] = set()
    number = 0
    with book.archive.open(sheet.part) as file:
        events = etree.iterparse(
            file, events=("end",), resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False
        )
        for _, element in events:
            kind = name_of(element)
            if kind == "col":
                hidden |= _hidden_columns(element)
            elif kind == "row":
                number = _number(element.get("r"), number + 1)
                cells = _cells(book, element, hidden, removed)
                if cells and element.get("hidden") in ("1", "true"):
                    removed["hidden_rows"] += 1
                elif cells:
                    rows.append((number, cells))
                element.clear()
                while element.getprevious() is not None:
                    del element.getparent()[0]
    return rows


def _number(given: str | None, otherwise: int) -> int:
    number = int(given) if given and given.isdigit() else otherwise
    if number > _MAX_ROWS:
        raise ValueError("a row beyond the last one")
    return number


def _hidden_columns(element: Any) -> set[int]:
    if element.get("hidden") not in ("1", "true"):
        return set()
    first, last = int(element.get("min") or 1), int(element.get("max") or 1)
    return set(range(first - 1, min(last, _MAX_COLUMNS)))


def _cells(book: Book, row: Any, hidden: set[int], removed: Counter[str]) -> list[str]:
    """The row's values by column, without the empty ones at its end; [] for an empty row."""
    found: dict[int, str] = {}
    at = -1
    for cell in row:
        at = _column(cell.get("r") or "", at + 1)
        text = _value(book, cell)
        if not text:
            continue
        book.count()
        if at in hidden:
            removed["hidden_cells"] += 1
        else:
            found[at] = text
    return [found.get(column, "") for column in range(max(found) + 1)] if found else []


def _column(reference: str, otherwise: int) -> int:
    """Column of "AB12", from 0."""
    number = 0
    for letter in reference:
        if not "A" <= letter <= "Z":
            break
        number = number * 26 + ord(letter) - 64
    at = number - 1 if number else otherwise
    if at >= _MAX_COLUMNS:
        raise ValueError("a column beyond the last one")
    return at


def _value(book: Book, cell: Any) -> str:
    kind = cell.get("t", "n")
    if kind == "inlineStr":
        return next((rich_text(child) for child in cell if name_of(child) == "is"), "")
    raw = next((child.text or "" for child in cell if name_of(child) == "v"), "")
    if not raw:
        return ""
    if kind == "s":
        return book.strings[int(raw)]
    if kind == "b":
        return "yes" if raw == "1" else "no"
    if kind in ("str", "d", "e"):
        return "" if kind == "e" else " ".join(raw.split())
    style = int(cell.get("s") or 0)
    return shown(raw, book.formats[style] if style < len(book.formats) else "", book.since_1904)
