"""What lies on a page, and what of it nobody sees: taken out of the page before its text is read, and counted."""

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
import pypdfium2 as pdfium
import pypdfium2.raw as raw

_MAX_FORM_DEPTH: Final = 8
_TINY_PT: Final = 1.5
_WHITE: Final = 250
_PAGE: Final = 0.8  # of a page, for a picture to be the page
_INVISIBLE_MODES: Final = (raw.FPDF_TEXTRENDERMODE_INVISIBLE, raw.FPDF_TEXTRENDERMODE_CLIP)
IDENTITY: Final = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)

Matrix = tuple[float, float, float, float, float, float]
Box = tuple[float, float, float, float]  # left, bottom, right, top, in points


class Placed(msgspec.Struct):
    """A page object, the form that holds it (None: the page itself), its type and where it lies on the page; `matrix` is
    that of all around it."""

    handle: Any
    container: Any
    kind: int
    box: Box
    scale: float
    matrix: Matrix


def remove_hidden(page: Any, objects: Sequence[Placed], removed: Counter[str]) -> bool:
    """Takes invisible text out of the loaded page. Returns whether its text is the recognised layer of a scan."""
    texts = [item for item in objects if item.kind == raw.FPDF_PAGEOBJ_TEXT]
    bounds = page.get_bbox()
    invisible = [item for item in texts if raw.FPDFTextObj_GetTextRenderMode(item.handle) in _INVISIBLE_MODES]
    if invisible and len(invisible) == len(texts) and has_image(objects, bounds, _PAGE):
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


def objects_of(page: Any) -> list[Placed]:
    return list(_objects(page, None, IDENTITY, 0))


def _objects(page: Any, form: Any, matrix: Matrix, depth: int) -> Iterator[Placed]:
    count = raw.FPDFFormObj_CountObjects(form) if form else raw.FPDFPage_CountObjects(page)
    for index in range(count):
        handle = raw.FPDFFormObj_GetObject(form, index) if form else raw.FPDFPage_GetObject(page, index)
        if not handle:
            continue
        kind = raw.FPDFPageObj_GetType(handle)
        scale = _size(handle, matrix) if kind == raw.FPDF_PAGEOBJ_TEXT else 0.0
        yield Placed(handle, form, kind, _box(handle, matrix), scale, matrix)
        if kind == raw.FPDF_PAGEOBJ_FORM and depth < _MAX_FORM_DEPTH:
            yield from _objects(page, handle, multiply(matrix_of(handle), matrix), depth + 1)


def matrix_of(handle: Any) -> Matrix:
    found = raw.FS_MATRIX()
    if not raw.FPDFPageObj_GetMatrix(handle, found):
        return IDENTITY
    return (found.a, found.b, found.c, found.d, found.e, found.f)


def multiply(first: Matrix, then: Matrix) -> Matrix:
    a, b, c, d, e, f = first
    g, h, i, j, k, m = then
    return (a * g + b * i, a * h + b * j, c * g + d * i, c * h + d * j, e * g + f * i + k, e * h + f * j + m)


def _box(handle: Any, matrix: Matrix) -> Box:
    left, bottom, right, top = (ctypes.c_float() for _ in range(4))
    if not raw.FPDFPageObj_GetBounds(handle, left, bottom, right, top):
        return (0.0, 0.0, 0.0, 0.0)
    if matrix is IDENTITY:
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
    a, b, c, d, _, _ = multiply(matrix_of(handle), matrix)
    return float(abs(size.value) * abs(a * d - b * c) ** 0.5)


def _colour(handle: Any) -> tuple[int, int, int, int]:
    parts = [ctypes.c_uint() for _ in range(4)]
    if not raw.FPDFPageObj_GetFillColor(handle, *parts):
        return (0, 0, 0, 255)
    return (parts[0].value, parts[1].value, parts[2].value, parts[3].value)


def _alpha(handle: Any) -> int:
    return _colour(handle)[3]


def _is_suspect(item: Placed, bounds: Box) -> bool:
    red, green, blue, alpha = _colour(item.handle)
    white = min(red, green, blue) >= _WHITE
    filled = raw.FPDFTextObj_GetTextRenderMode(item.handle) == raw.FPDF_TEXTRENDERMODE_FILL
    return (white and filled) or alpha == 0 or item.scale < _TINY_PT or _outside(item.box, bounds)


def _outside(box: Box, bounds: Box) -> bool:
    return box[2] < bounds[0] or box[0] > bounds[2] or box[3] < bounds[1] or box[1] > bounds[3]


def _covers(outer: Box, inner: Box) -> bool:
    return outer[0] <= inner[2] and outer[2] >= inner[0] and outer[1] <= inner[3] and outer[3] >= inner[1]


def _backgrounds(objects: Sequence[Placed]) -> list[Box]:
    """Where something other than white lies under the text: pictures, shadings, filled shapes."""
    solid = (raw.FPDF_PAGEOBJ_IMAGE, raw.FPDF_PAGEOBJ_SHADING)
    return [
        item.box
        for item in objects
        if item.kind in solid or (item.kind == raw.FPDF_PAGEOBJ_PATH and min(_colour(item.handle)[:3]) < _WHITE)
    ]


def has_image(objects: Sequence[Placed], bounds: Box, share: float) -> bool:
    """Whether one picture takes this share of the page."""
    area = (bounds[2] - bounds[0]) * (bounds[3] - bounds[1])
    images = (item.box for item in objects if item.kind == raw.FPDF_PAGEOBJ_IMAGE)
    return area > 0 and any((b[2] - b[0]) * (b[3] - b[1]) >= share * area for b in images)


def _remove(page: Any, item: Placed) -> None:
    if item.container:
        done = raw.FPDFFormObj_RemoveObject(item.container, item.handle)
    else:
        done = raw.FPDFPage_RemoveObject(page, item.handle)
    if not done:
        raise pdfium.PdfiumError("hidden text could not be taken out of the page")
    raw.FPDFPageObj_Destroy(item.handle)
