"""PDF by pdfium: the text a reader sees, page by page; headings by the size and weight of their letters.

Text nobody sees is taken out of the page before its text is read, and counted: invisible render modes, transparent,
white on white, tiny, and outside the page. An invisible layer over a scanned page is the page's recognised text: it is
kept, and said in the metadata. Scripts, actions, attachments and form fields are never run or opened.
"""

from __future__ import annotations

import ctypes
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
import pypdfium2 as pdfium
import pypdfium2.raw as raw

from bascule.core.errors import IngestError
from bascule.core.parsing import Block, BlockKind, ParsedDocument, Parser

_MAX_PAGES: Final = 20_000
_MAX_FAILED_PAGES: Final = 20
_MAX_FORM_DEPTH: Final = 8
_TINY_PT: Final = 1.5
_WHITE: Final = 250
_INVISIBLE_MODES: Final = (raw.FPDF_TEXTRENDERMODE_INVISIBLE, raw.FPDF_TEXTRENDERMODE_CLIP)
_BULLET: Final = re.compile(r"(?:[-*•‣◦▪–·●○■]|\d{1,3}[.)]|[a-z][.)])\s+\S")
_HYPHENS: Final = ("\x02", "\xad")
_BOLD_WEIGHT: Final = 600
_IDENTITY: Final = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)

Matrix = tuple[float, float, float, float, float, float]
Box = tuple[float, float, float, float]  # left, bottom, right, top, in points


class Line(msgspec.Struct, frozen=True):
    """One line of text and how it is set; `height` and positions in points, 0 where pdfium gives none."""

    page: int
    text: str
    height: float
    bold: bool
    top: float
    bottom: float


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
        blocks = tuple(_blocks(lines))
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


def _read(document: Any, removed: Counter[str]) -> tuple[list[Line], int]:
    lines: list[Line] = []
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


def _read_page(document: Any, index: int, removed: Counter[str]) -> tuple[list[Line], bool]:
    page = document[index]
    try:
        is_scan = _remove_hidden(page, removed)
        textpage = page.get_textpage()
        try:
            return _lines(textpage, index + 1), is_scan
        finally:
            textpage.close()
    finally:
        page.close()


class _Placed(msgspec.Struct):
    """A page object, the form that holds it (None: the page itself), its type and where it lies on the page."""

    handle: Any
    container: Any
    kind: int
    box: Box
    scale: float


def _remove_hidden(page: Any, removed: Counter[str]) -> bool:
    """Takes invisible text out of the loaded page. Returns whether its text is the recognised layer of a scan."""
    objects = list(_objects(page, None, _IDENTITY, 0))
    texts = [item for item in objects if item.kind == raw.FPDF_PAGEOBJ_TEXT]
    bounds = page.get_bbox()
    invisible = [item for item in texts if raw.FPDFTextObj_GetTextRenderMode(item.handle) in _INVISIBLE_MODES]
    if invisible and len(invisible) == len(texts) and _has_page_image(objects, bounds):
        return True
    backgrounds: list[Box] | None = None
    hidden = {id(item) for item in invisible}
    for item in texts:
        if id(item) in hidden or not _is_suspect(item, bounds):
            continue
        if _outside(item.box, bounds) or item.scale < _TINY_PT or _alpha(item.handle) == 0:
            hidden.add(id(item))
            continue
        backgrounds = _backgrounds(objects) if backgrounds is None else backgrounds
        if not any(_covers(box, item.box) for box in backgrounds):
            hidden.add(id(item))
    for item in texts:
        if id(item) in hidden:
            _remove(page, item)
            removed["hidden_text"] += 1
    return False


def _objects(page: Any, form: Any, matrix: Matrix, depth: int) -> Iterator[_Placed]:
    count = raw.FPDFFormObj_CountObjects(form) if form else raw.FPDFPage_CountObjects(page)
    for index in range(count):
        handle = raw.FPDFFormObj_GetObject(form, index) if form else raw.FPDFPage_GetObject(page, index)
        if not handle:
            continue
        kind = raw.FPDFPageObj_GetType(handle)
        scale = _size(handle, matrix) if kind == raw.FPDF_PAGEOBJ_TEXT else 0.0
        yield _Placed(handle, form, kind, _box(handle, matrix), scale)
        if kind == raw.FPDF_PAGEOBJ_FORM and depth < _MAX_FORM_DEPTH:
            yield from _objects(page, handle, _multiply(_matrix(handle), matrix), depth + 1)


def _matrix(handle: Any) -> Matrix:
    found = raw.FS_MATRIX()
    if not raw.FPDFPageObj_GetMatrix(handle, found):
        return _IDENTITY
    return (found.a, found.b, found.c, found.d, found.e, found.f)


def _multiply(first: Matrix, then: Matrix) -> Matrix:
    a, b, c, d, e, f = first
    g, h, i, j, k, m = then
    return (a * g + b * i, a * h + b * j, c * g + d * i, c * h + d * j, e * g + f * i + k, e * h + f * j + m)


def _box(handle: Any, matrix: Matrix) -> Box:
    left, bottom, right, top = (ctypes.c_float() for _ in range(4))
    if not raw.FPDFPageObj_GetBounds(handle, left, bottom, right, top):
        return (0.0, 0.0, 0.0, 0.0)
    if matrix is _IDENTITY:
        return (left.value, bottom.value, right.value, top.value)
    a, b, c, d, e, f = matrix
    corners = [(x, y) for x in (left.value, right.value) for y in (bottom.value, top.value)]
    xs, ys = [a * x + c * y + e for x, y in corners], [b * x + d * y + f for x, y in corners]
    return (min(xs), min(ys), max(xs), max(ys))


def _size(handle: Any, matrix: Matrix) -> float:
    """The size of the letters on the page in points: the font's, scaled by every matrix around it."""
    size = ctypes.c_float()
    if not raw.FPDFTextObj_GetFontSize(handle, size):
        return 12.0
    a, b, c, d, _, _ = _multiply(_matrix(handle), matrix)
    return float(abs(size.value) * abs(a * d - b * c) ** 0.5)


def _colour(handle: Any) -> tuple[int, int, int, int]:
    parts = [ctypes.c_uint() for _ in range(4)]
    if not raw.FPDFPageObj_GetFillColor(handle, *parts):
        return (0, 0, 0, 255)
    return (parts[0].value, parts[1].value, parts[2].value, parts[3].value)


def _alpha(handle: Any) -> int:
    return _colour(handle)[3]


def _is_suspect(item: _Placed, bounds: Box) -> bool:
    red, green, blue, alpha = _colour(item.handle)
    white = min(red, green, blue) >= _WHITE
    filled = raw.FPDFTextObj_GetTextRenderMode(item.handle) == raw.FPDF_TEXTRENDERMODE_FILL
    return (white and filled) or alpha == 0 or item.scale < _TINY_PT or _outside(item.box, bounds)


def _outside(box: Box, bounds: Box) -> bool:
    return box[2] < bounds[0] or box[0] > bounds[2] or box[3] < bounds[1] or box[1] > bounds[3]


def _covers(outer: Box, inner: Box) -> bool:
    return outer[0] <= inner[2] and outer[2] >= inner[0] and outer[1] <= inner[3] and outer[3] >= inner[1]


def _backgrounds(objects: Sequence[_Placed]) -> list[Box]:
    """Where something other than white lies under the text: pictures, shadings, filled shapes."""
    solid = (raw.FPDF_PAGEOBJ_IMAGE, raw.FPDF_PAGEOBJ_SHADING)
    return [
        item.box
        for item in objects
        if item.kind in solid or (item.kind == raw.FPDF_PAGEOBJ_PATH and min(_colour(item.handle)[:3]) < _WHITE)
    ]


def _has_page_image(objects: Sequence[_Placed], bounds: Box) -> bool:
    area = (bounds[2] - bounds[0]) * (bounds[3] - bounds[1])
    images = (item.box for item in objects if item.kind == raw.FPDF_PAGEOBJ_IMAGE)
    return area > 0 and any((b[2] - b[0]) * (b[3] - b[1]) >= 0.8 * area for b in images)


def _remove(page: Any, item: _Placed) -> None:
    if item.container:
        done = raw.FPDFFormObj_RemoveObject(item.container, item.handle)
    else:
        done = raw.FPDFPage_RemoveObject(page, item.handle)
    if not done:
        raise pdfium.PdfiumError("hidden text could not be taken out of the page")
    raw.FPDFPageObj_Destroy(item.handle)


def _lines(textpage: Any, page: int) -> list[Line]:
    if textpage.count_chars() <= 0:
        return []
    text, found, offset = textpage.get_text_range(), [], 0
    for line in text.split("\r\n"):
        stripped = line.strip()  # pdfium marks the hyphen of a word broken at a line's end as U+FFFE
        if stripped:
            at = raw.FPDFText_GetCharIndexFromTextIndex(textpage, offset + line.index(stripped))
            found.append(_line(textpage, page, stripped.replace("\ufffe", ""), at))
        offset += len(line) + 2
    return found


def _line(textpage: Any, page: int, text: str, at: int) -> Line:
    box = raw.FS_RECTF()
    if at < 0 or not raw.FPDFText_GetLooseCharBox(textpage, at, box):
        return Line(page, text, 0.0, False, 0.0, 0.0)
    bold = raw.FPDFText_GetFontWeight(textpage, at) >= _BOLD_WEIGHT or b"bold" in _font_name(textpage, at)
    return Line(page, text, round(abs(box.top - box.bottom), 1), bold, box.top, box.bottom)


def _font_name(textpage: Any, at: int) -> bytes:
    """Lower case; fonts without a descriptor say their weight in their name alone."""
    name, flags = ctypes.create_string_buffer(64), ctypes.c_int()
    length = raw.FPDFText_GetFontInfo(textpage, at, name, len(name), flags)
    return name.value.lower() if 0 < length <= len(name) else b""


def _blocks(lines: Sequence[Line]) -> Iterator[Block]:
    body = _body_height(lines)
    mostly_bold = sum(len(line.text) for line in lines if line.bold) * 2 > sum(len(line.text) for line in lines)
    sizes = sorted({line.height for line in lines if _is_larger(line, body)}, reverse=True)
    group: list[Line] = []
    level = 0
    for line in lines:
        now = _level(line, body, sizes, mostly_bold)
        if group and (now != level or _starts_anew(group[-1], line)):
            yield _block(group, level)
            group = []
        level = now
        group.append(line)
    if group:
        yield _block(group, level)


def _body_height(lines: Sequence[Line]) -> float:
    weights: Counter[float] = Counter()
    for line in lines:
        weights[line.height] += len(line.text)
    return weights.most_common(1)[0][0]


def _is_larger(line: Line, body: float) -> bool:
    return bool(body and line.height >= 1.15 * body and len(line.text) <= 150)


def _level(line: Line, body: float, sizes: Sequence[float], mostly_bold: bool) -> int:
    """1..6 for a heading, 0 for anything else."""
    if _is_larger(line, body):
        return min(sizes.index(line.height) + 1, 6)
    if line.bold and not mostly_bold and len(line.text) <= 80 and line.text[-1] not in ".,;":
        return min(len(sizes) + 1, 6)
    return 0


def _starts_anew(before: Line, line: Line) -> bool:
    if before.page != line.page or _BULLET.match(line.text):
        return before.page != line.page or not _BULLET.match(before.text)
    if not before.height or not line.height:
        return False
    return before.bottom - line.top > 0.5 * line.height or line.bottom > before.top


def _block(group: Sequence[Line], level: int) -> Block:
    kind: BlockKind = "heading" if level else "list" if _BULLET.match(group[0].text) else "paragraph"
    return Block(kind=kind, text=_joined(group), level=level, page=group[0].page)


def _joined(group: Sequence[Line]) -> str:
    text = ""
    for line in group:
        if text.endswith(_HYPHENS) or (text.endswith("-") and text[-2:-1].isalpha() and line.text[0].islower()):
            text = text[:-1] + line.text
        elif text:
            text += ("\n" if _BULLET.match(line.text) else " ") + line.text
        else:
            text = line.text
    for mark in _HYPHENS:
        text = text.removesuffix(mark)
    return text


parser: Parser = PdfParser()
