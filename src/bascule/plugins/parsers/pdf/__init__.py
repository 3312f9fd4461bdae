"""PDF by pdfium: the text a reader sees, page by page; headings by their letters' size and weight, tables by rules and places.

Text nobody sees is taken out of the page before its text is read, and counted: invisible render modes, transparent,
white on white, tiny, and outside the page. An invisible layer over a scanned page is the page's recognised text: it is
kept, and said in the metadata. Scripts, actions, attachments and form fields are never run or opened.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import pypdfium2 as pdfium
import pypdfium2.raw as raw

from bascule.core.errors import IngestError
from bascule.core.parsing import Block, ParsedDocument, Parser
from bascule.plugins.parsers.pdf.hidden import objects_of, remove_hidden
from bascule.plugins.parsers.pdf.lines import Line, blocks_of, lines_of
from bascule.plugins.parsers.pdf.tables import with_tables

_MAX_PAGES: Final = 20_000
_MAX_FAILED_PAGES: Final = 20


class PdfParser:
    def parse(self, data: bytes, name: str) -> ParsedDocument:
        removed: Counter[str] = Counter()
        document = _open(data)
        try:
            lines, scanned = _read(document, removed)
            attachments = document.count_attachments()
            title = (document.get_metadata_value("Title") or "").strip()
        finally:
            document.close()
        if attachments > 0:
            removed["attachments"] += attachments
        if not lines:
            raise IngestError(
                "The PDF has no readable text. If it is a scan, run text recognition (OCR) on it first.", reason="empty"
            )
        blocks = tuple(blocks_of(lines))
        heading = next((b.text for b in blocks if b.kind == "heading"), "")
        metadata = {"scanned_pages": scanned} if scanned else {}
        return ParsedDocument(title=title or heading, blocks=blocks, metadata=metadata, removed=dict(removed))


def _open(data: bytes) -> Any:
    try:
        return pdfium.PdfDocument(data)
    except pdfium.PdfiumError as error:
        if getattr(error, "err_code", 0) == raw.FPDF_ERR_PASSWORD:
            raise IngestError(
                "The PDF is encrypted. Remove its password and send it again.", reason="encrypted"
            ) from None
        raise IngestError(
            "The PDF is damaged and cannot be opened. Print it to a new PDF and send that.", reason="damaged"
        ) from None


def _read(document: Any, removed: Counter[str]) -> tuple[list[Line | Block], int]:
    lines: list[Line | Block] = []
    scanned = failed = 0
    count = len(document)
    for index in range(min(count, _MAX_PAGES)):
        try:
            found, is_scan = _read_page(document, index, removed)
        except (pdfium.PdfiumError, AssertionError):
            failed += 1
            removed["unreadable_pages"] += 1
            if failed >= _MAX_FAILED_PAGES and not lines:
                raise IngestError("The PDF is damaged: its pages cannot be read.", reason="damaged") from None
            continue
        scanned += is_scan
        lines.extend(found)
    if count > _MAX_PAGES:
        raise IngestError(f"The PDF has more than {_MAX_PAGES} pages. Split it.", reason="too_large")
    return lines, scanned


def _read_page(document: Any, index: int, removed: Counter[str]) -> tuple[list[Line | Block], bool]:
    page = document[index]
    try:
        objects = objects_of(page)
        is_scan = remove_hidden(page, objects, removed)
        textpage = page.get_textpage()
        try:
            lines = lines_of(textpage, index + 1)
            return with_tables(lines, textpage, objects, index + 1), is_scan
        finally:
            textpage.close()
    finally:
        page.close()


parser: Parser = PdfParser()
