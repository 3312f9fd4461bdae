"""One slide: its shapes in order, as headings, paragraphs, lists and tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from bascule.core.parsing import Block
from bascule.plugins.parsers._tables import table
from bascule.plugins.parsers._xml import name as name_of

_TITLES: Final = frozenset(["title", "ctrTitle"])
_FURNITURE: Final = frozenset(["dt", "ftr", "sldNum", "hdr"])
_TINY: Final = 200  # hundredths of a point
_MAX_DEPTH: Final = 50


class Slide:
    """`size` of the slide in EMU (None: unknown), `has_ground`: something dark may lie behind all of its text."""

    def __init__(
        self, root: Any, number: int, size: tuple[int, int] | None, has_ground: bool, removed: Counter[str]
    ) -> None:
        self._root = root
        self._page = number
        self._size = size
        self._has_ground = has_ground
        self._removed = removed

    def blocks(self) -> list[Block]:
        shapes = list(self._shapes(next((e for e in self._root.iter() if name_of(e) == "spTree"), ()), 0))
        shapes.sort(key=lambda shape: _placeholder(shape) not in _TITLES)  # the title first; the rest as it stands
        return [block for shape in shapes for block in self._shape(shape)]

    def notes(self) -> list[Block]:
        shapes = self._shapes(next((e for e in self._root.iter() if name_of(e) == "spTree"), ()), 0)
        texts = [self._text(p) for s in shapes if _placeholder(s) == "body" for p in _paragraphs(s)]
        text = "\n".join(filter(None, texts))
        return [Block(kind="paragraph", text=f"Notes: {text}", page=self._page)] if text else []

    def _shapes(self, parent: Any, depth: int) -> Iterator[Any]:
        for element in parent:
            kind = name_of(element)
            if kind == "grpSp" and depth < _MAX_DEPTH:
                yield from self._shapes(element, depth + 1)
            elif kind == "AlternateContent":
                choice = next(iter(element), None)
                if choice is not None and depth < _MAX_DEPTH:
                    yield from self._shapes(choice, depth + 1)
            elif kind in ("sp", "graphicFrame", "cxnSp", "pic"):
                yield element

    def _shape(self, shape: Any) -> Iterator[Block]:
        place = _placeholder(shape)
        if place in _FURNITURE:
            return
        if self._is_hidden(shape):
            if any((t.text or "").strip() for t in shape.iter() if name_of(t) == "t"):
                self._removed["hidden_text"] += 1
            return
        grid = next((e for e in shape.iter() if name_of(e) == "tbl"), None)
        if grid is not None:
            yield from self._table(grid)
        elif place in _TITLES:
            text = " ".join(" ".join(self._text(p, shape) for p in _paragraphs(shape)).split())
            if text:
                yield Block(kind="heading", text=text, level=1, page=self._page)
        else:
            yield from self._body(shape)

    def _body(self, shape: Any) -> Iterator[Block]:
        lines = [
            (int(next((e.get("lvl") or 0 for e in p if name_of(e) == "pPr"), 0)), self._text(p, shape).strip())
            for p in _paragraphs(shape)
        ]
        lines = [(level, text) for level, text in lines if text]
        if len(lines) == 1:
            yield Block(kind="paragraph", text=lines[0][1], page=self._page)
        elif lines:
            text = "\n".join("  " * min(max(level, 0), 8) + "- " + text for level, text in lines)
            yield Block(kind="list", text=text, page=self._page)

    def _table(self, grid: Any) -> Iterator[Block]:
        rows = [
            [
                " ".join(" ".join(self._text(p) for p in _paragraphs(cell)).split())
                for cell in row
                if name_of(cell) == "tc"
            ]
            for row in grid
            if name_of(row) == "tr"
        ]
        rows = [row for row in rows if any(row)]
        if rows:
            first = any(name_of(e) == "tblPr" and e.get("firstRow") in ("1", "true") for e in grid)
            yield table(rows, page=self._page, header=True if first else None)

    def _text(self, paragraph: Any, shape: Any = None) -> str:
        parts: list[str] = []
        for run in paragraph:
            kind = name_of(run)
            if kind == "br":
                parts.append("\n")
            elif kind in ("r", "fld"):
                text = "".join(t.text or "" for t in run if name_of(t) == "t")
                if text.strip() and self._hides(run, shape):
                    self._removed["hidden_text"] += 1
                else:
                    parts.append(text)
        return "".join(parts)

    def _is_hidden(self, shape: Any) -> bool:
        own = next((e for e in shape.iter() if name_of(e) == "cNvPr"), None)
        return (own is not None and own.get("hidden") in ("1", "true")) or self._is_off(shape)

    def _is_off(self, shape: Any) -> bool:
        frame = next((e for e in shape.iter() if name_of(e) == "xfrm"), None)
        if frame is None or self._size is None:
            return False
        parent = shape.getparent()
        if parent is not None and name_of(parent) == "grpSp":
            return False  # a group has a scale of its own
        at = {name_of(e): e for e in frame}
        if "off" not in at or "ext" not in at:
            return False
        x, y = int(at["off"].get("x")), int(at["off"].get("y"))
        width, height = int(at["ext"].get("cx")), int(at["ext"].get("cy"))
        return x + width <= 0 or y + height <= 0 or x >= self._size[0] or y >= self._size[1]

    def _hides(self, run: Any, shape: Any) -> bool:
        """Transparent, too small to read, or white where nothing gives it a ground."""
        properties = next((e for e in run if name_of(e) == "rPr"), None)
        if properties is None:
            return False
        size = properties.get("sz") or ""
        if size.isdigit() and int(size) <= _TINY:
            return True
        fill = next((e for e in properties if name_of(e) == "solidFill"), None)
        if fill is None:
            return any(name_of(e) == "noFill" for e in properties)
        if any(name_of(e) == "alpha" and (e.get("val") or "") in ("0", "0%") for e in fill.iter()):
            return True
        white = any(name_of(e) == "srgbClr" and (e.get("val") or "").upper() in ("FFFFFF", "FEFEFE") for e in fill)
        return white and shape is not None and not self._has_ground and not _is_filled(shape)


def _placeholder(shape: Any) -> str:
    """The kind of placeholder ("title", "body", ...), "" for a free shape; one without a type is a body."""
    found = next((e for e in shape.iter() if name_of(e) == "ph"), None)
    return "" if found is None else found.get("type") or "body"


def _paragraphs(element: Any) -> Iterator[Any]:
    return (e for e in element.iter() if name_of(e) == "p")


def _is_filled(shape: Any) -> bool:
    """The shape has a colour or a picture of its own behind its text, or a style that gives it one."""
    for group in shape:
        if name_of(group) == "style":
            return True
        if name_of(group) == "spPr" and any(
            name_of(e) in ("solidFill", "gradFill", "blipFill", "pattFill") for e in group
        ):
            return True
    return False
