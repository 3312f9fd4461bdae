"""PDF by pdfium: the text a reader sees, page by page; headings by their letters' size and weight, tables by rules and places.

Text nobody sees is taken out of the page before its text is read, and counted: invisible render modes, transparent,
white on white, tiny, and outside the page. An invisible layer over a scanned page is the page's recognised text: it is
kept, and said in the metadata. Of a page without text, the text in its picture is recognised where the extra `ocr` is installed.
Scripts, actions, attachments and form fields are never run or opened.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import pypdfium2 as pdfium
import pypdfium2.raw as raw

from bascule.core.errors import IngestError
from bascule.core.parsing import Block, ParsedDocument, Parser, Recogniser
from bascule.plugins.parsers.pdf.hidden import objects_of, remove_hidden
from bascule.plugins.parsers.pdf.lines import Line, blocks_of, lines_of
from bascule.plugins.parsers.pdf.scanned import has_picture, recognised
from bascule.plugins.parsers.pdf.tables import with_tables

_MAX_PAGES: Final = 20_000
_MAX_FAILED_PAGES: Final = 20


class PdfParser(msgspec.Struct, frozen=True):
    recogniser: Recogniser | None = None

    def parse(self, data: bytes, name: str) -> ParsedDocument:
        removed: Counter[str] = Counter()
        document = _open(data)
        try:
            lines, pages = _read(document, removed, self.recogniser)
            attachments = document.count_attachments()
            title = (document.get_metadata_value("Title") or "").strip()
        finally:
            document.close()
        if attachments > 0:
            removed["attachments"] += attachments
        if not lines:
            raise _without_text(self.recogniser)
        blocks = tuple(blocks_of(lines))
        heading = next((b.text for b in blocks if b.kind == "heading"), "")
        return ParsedDocument(title=title or heading, blocks=blocks, metadata=dict(pages), removed=dict(removed))


def _without_text(recogniser: Recogniser | None) -> IngestError:
    if recogniser is not None:
        return IngestError("The PDF has no text, and none was recognised in its pictures.", reason="empty")
    return IngestError(
        "The PDF has no readable text. If it is a scan, install the extra `ocr` (pip install 'bascule[ocr]') and switch rag.ocr on,"
        " or run text recognition on it first.",
        reason="empty",
    )


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


def _read(
    document: Any, removed: Counter[str], recogniser: Recogniser | None
) -> tuple[list[Line | Block], Counter[str]]:
    """What stands on the pages, and how many of them are scans."""
    lines: list[Line | Block] = []
    pages: Counter[str] = Counter()
    failed = 0
    count = len(document)
    for index in range(min(count, _MAX_PAGES)):
        try:
            found = _read_page(document, index, removed, pages, recogniser)
        except (pdfium.PdfiumError, AssertionError):
            failed += 1
            removed["unreadable_pages"] += 1
            if failed >= _MAX_FAILED_PAGES and not lines:
                raise IngestError("The PDF is damaged: its pages cannot be read.", reason="damaged") from None
            continue
        lines.extend(found)
    if count > _MAX_PAGES:
        raise IngestError(f"The PDF has more than {_MAX_PAGES} pages. Split it.", reason="too_large")
    return lines, pages


def _read_page(
    document: Any, index: int, removed: Counter[str], pages: Counter[str], recogniser: Recogniser | None
) -> Sequence[Line | Block]:
    page = document[index]
    try:
        objects = objects_of(page)
        if remove_hidden(page, objects, removed):
            pages["scanned_pages"] += 1
        textpage = page.get_textpage()
        try:
            lines = lines_of(textpage, index + 1)
            if lines or not has_picture(objects, page.get_bbox()):
                return with_tables(lines, textpage, objects, index + 1)
        finally:
            textpage.close()
        seen = recognised(page, index + 1, recogniser) if recogniser else None
        if seen is None:
            removed["unrecognised_pages"] += 1
            return []
        pages["recognised_pages"] += 1
        return seen
    finally:
        page.close()


def reading(recogniser: Recogniser) -> Parser:
    return PdfParser(recogniser)


parser: Parser = PdfParser()
