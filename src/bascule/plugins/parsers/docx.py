"""Word documents by python-docx: headings, lists, tables and text boxes in order.

Left out and counted: hidden, white and tiny text, deleted passages of tracked changes, comments, headers and footers.
Nothing is fetched: relations to outside the file are ignored. An archive that unpacks to too much, and any part with a
document type declaration (which Word never writes, and attacks need), is refused before it is read.
"""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import docx
from docx.opc.exceptions import OpcError
from lxml import etree  # type: ignore[import-untyped]

from bascule.core.errors import IngestError
from bascule.core.parsing import Block, ParsedDocument, Parser
from bascule.plugins.parsers._archives import check_archive

_TINY_HALF_POINTS: Final = 3
_W: Final = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_FALLBACK: Final = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_HEADING_STYLE: Final = re.compile(r"heading\s*([1-6])", re.IGNORECASE)
_DAMAGED: Final = (
    OpcError, KeyError, ValueError, IndexError, AttributeError, TypeError, AssertionError, zipfile.BadZipFile, zlib.error, EOFError,
    NotImplementedError, RuntimeError, struct.error, etree.XMLSyntaxError, OSError,
)  # fmt: skip


class DocxParser:
    def parse(self, data: bytes, name: str) -> ParsedDocument:
        try:
            check_archive(data, "Word")
            document = docx.Document(io.BytesIO(data))
            removed: Counter[str] = Counter()
            blocks = _Walk(document, removed).blocks()
            title = (document.core_properties.title or "").strip()
        except RecursionError:
            raise IngestError("The Word file is nested too deeply to be read.", reason="damaged") from None
        except _DAMAGED:
            raise IngestError(
                "The Word file is damaged. Open it in a word processor and save it again as .docx.", reason="damaged"
            ) from None
        if not blocks:
            raise IngestError("The Word file has no visible text in it.", reason="empty")
        heading = next((b.text for b in blocks if b.kind == "heading"), "")
        return ParsedDocument(title=title or heading, blocks=tuple(blocks), removed=dict(removed))


class _Walk:
    def __init__(self, document: Any, removed: Counter[str]) -> None:
        self.document = document
        self.removed = removed
        self.styles: dict[str, tuple[int, bool, bool]] = {}  # style id -> (heading level, is a list, hides its text)
        self.list_lines: list[str] = []
        self.found: list[Block] = []
        for style in document.styles.element.iterchildren(_W + "style"):
            self.styles[style.get(_W + "styleId") or ""] = _style(style)

    def blocks(self) -> list[Block]:
        for element in self._body(self.document.element.body):
            if element.tag == _W + "tbl":
                self._flush_list()
                self._table(element)
            else:
                self._paragraph(element)
        self._flush_list()
        self._count_parts()
        return self.found

    def _body(self, parent: Any) -> Iterator[Any]:
        """Paragraphs and tables in order, also inside content controls and other wrappers."""
        for element in parent.iterchildren(tag=etree.Element):
            if element.tag in (_W + "p", _W + "tbl"):
                yield element
            elif element.tag != _W + "sectPr":
                yield from self._body(element)

    def _paragraph(self, element: Any) -> None:
        text = self._text(element).strip()
        if not text:
            return
        level, is_list, _ = self.styles.get(_value(element, "pPr", "pStyle"), (0, False, False))
        outline = _value(element, "pPr", "outlineLvl")
        level = int(outline) + 1 if outline.isdigit() and int(outline) < 6 else level
        if level:
            self._flush_list()
            self.found.append(Block(kind="heading", text=" ".join(text.split()), level=level))
        elif is_list or element.find(f"{_W}pPr/{_W}numPr") is not None:
            depth = _value(element, "pPr", "numPr", "ilvl")
            self.list_lines.append("  " * min(int(depth) if depth.isdigit() else 0, 8) + "- " + text)
        else:
            self._flush_list()
            self.found.append(Block(kind="paragraph", text=text))

    def _flush_list(self) -> None:
        if self.list_lines:
            self.found.append(Block(kind="list", text="\n".join(self.list_lines)))
            self.list_lines = []

    def _table(self, table: Any) -> None:
        rows: list[tuple[str, ...]] = []
        for row in table.iterchildren(_W + "tr"):
            cells = tuple(self._cell(cell) for cell in _cells(row))
            if any(cells):
                rows.append(cells)
        if rows:
            width = max(map(len, rows))
            padded = tuple(row + ("",) * (width - len(row)) for row in rows)
            self.found.append(Block(kind="table", text="\n".join(" | ".join(row) for row in padded), rows=padded))

    def _cell(self, cell: Any) -> str:
        return " ".join(" ".join(self._text(p).split()) for p in cell.iter(_W + "p")).strip()

    def _text(self, paragraph: Any) -> str:
        parts: list[str] = []
        stack = [paragraph]
        while stack:
            element = stack.pop()
            tag = element.tag
            if tag == _W + "r" and self._is_hidden(element, paragraph):
                self.removed["hidden_text"] += 1
            elif tag == _W + "del":
                self.removed["deleted_text"] += 1
            elif tag == _W + "t":
                parts.append(element.text or "")
            elif tag in (_W + "tab", _W + "br", _W + "cr"):
                parts.append("\n" if tag != _W + "tab" else "\t")
            elif tag not in (_FALLBACK, _W + "pPr", _W + "rPr", _W + "instrText"):
                stack.extend(reversed([child for child in element if isinstance(child.tag, str)]))
        return "".join(parts)

    def _is_hidden(self, run: Any, paragraph: Any) -> bool:
        if not any(node.text for node in run.iter(_W + "t")):
            return False
        by_style = (_value(run, "rPr", "rStyle"), _value(paragraph, "pPr", "pStyle"))
        if any(self.styles.get(style, (0, False, False))[2] for style in by_style):
            return True
        properties = run.find(_W + "rPr")
        return properties is not None and _hides(properties, run)

    def _count_parts(self) -> None:
        for part in self.document.part.package.iter_parts():
            name = str(part.partname)
            for kind in ("comments", "header", "footer", "footnotes", "endnotes"):
                if re.fullmatch(rf"/word/{kind}\d*\.xml", name):
                    self.removed[kind if kind.endswith("s") else kind + "s"] += 1


def _cells(row: Any) -> Iterator[Any]:
    """The row's own cells, also inside content controls; not those of a table within a cell."""
    for element in row.iterchildren(tag=etree.Element):
        if element.tag == _W + "tc":
            yield element
        elif element.tag in (_W + "sdt", _W + "sdtContent"):
            yield from _cells(element)


def _value(element: Any, *path: str) -> str:
    found = element.find("/".join(_W + step for step in path))
    return (found.get(_W + "val") or "") if found is not None else ""


def _style(style: Any) -> tuple[int, bool, bool]:
    name = _value(style, "name")
    match = _HEADING_STYLE.fullmatch(name.strip())
    level = int(match.group(1)) if match else 1 if name.strip().lower() == "title" else 0
    is_list = name.lower().startswith("list") or style.find(f"{_W}pPr/{_W}numPr") is not None
    properties = style.find(_W + "rPr")
    return level, is_list and not level, properties is not None and _hides(properties)


def _hides(properties: Any, run: Any = None) -> bool:
    """Hidden, white without a dark ground, or too small to read."""
    vanish = properties.find(_W + "vanish")
    if vanish is not None and vanish.get(_W + "val") not in ("0", "false", "off"):
        return True
    size = _value(properties, "sz")
    if size.isdigit() and int(size) <= _TINY_HALF_POINTS:
        return True
    if _value(properties, "color").upper() not in ("FFFFFF", "FEFEFE"):
        return False
    return not (_value(properties, "highlight") or _is_dark(properties) or _on_dark_ground(run))


def _is_dark(properties: Any) -> bool:
    shade = properties.find(_W + "shd")
    return shade is not None and (shade.get(_W + "fill") or "auto").upper() not in ("AUTO", "FFFFFF", "FEFEFE")


def _on_dark_ground(run: Any) -> bool:
    """Does the paragraph or the table cell around the run carry a colour of its own?"""
    around = run.iterancestors(_W + "p", _W + "tc") if run is not None else ()
    return any(
        (properties := element.find(element.tag + "Pr")) is not None and _is_dark(properties) for element in around
    )


parser: Parser = DocxParser()
