"""A page that is a picture: drawn as a reader sees it, and its text recognised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pypdfium2.raw as raw

from bascule.core.parsing import Recogniser
from bascule.plugins.parsers.pdf.hidden import Box, Placed, has_image
from bascule.plugins.parsers.pdf.layout import in_order, lines_of
from bascule.plugins.parsers.pdf.lines import Line

_SHARE: Final = 0.02  # of the page: a smaller picture is a mark or a logo
_OUTLINES: Final = 50  # so many shapes and no text: letters as outlines
_MAX_SCALE: Final = 300 / 72  # 300 dots per inch: more shows a scan's grain


def has_picture(objects: Sequence[Placed], bounds: Box) -> bool:
    """Whether a page without text may show some all the same."""
    if has_image(objects, bounds, _SHARE):
        return True
    return sum(item.kind in (raw.FPDF_PAGEOBJ_PATH, raw.FPDF_PAGEOBJ_IMAGE) for item in objects) >= _OUTLINES


def recognised(page: Any, number: int, recogniser: Recogniser) -> list[Line] | None:
    """None when the recogniser's share for this document is used up."""
    scale = min(_MAX_SCALE, recogniser.max_side / max(1.0, *page.get_size()))
    bitmap = page.render(scale=scale, may_draw_forms=False, rev_byteorder=True)
    try:
        found = recogniser.read(bitmap.to_numpy()[:, :, :3])
    finally:
        bitmap.close()
    return None if found is None else lines_of(in_order(found), number, 1 / scale)
