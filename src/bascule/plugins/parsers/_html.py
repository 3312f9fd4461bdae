"""HTML by lexbor (selectolax): what a reader of the page would see, in order; nothing the page names is fetched.

Left out and counted: scripts and styles, comments, navigation and footers, image descriptions, and text hidden by
attribute, by inline style or by a simple rule of the page's own <style>.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

from selectolax.lexbor import LexborHTMLParser, LexborNode, SelectolaxError

from bascule.core.errors import IngestError
from bascule.core.parsing import Block, BlockKind, ParsedDocument

_REMOVED: Final = {
    "scripts": "script, style, link, meta, object, embed, iframe, svg, math, canvas, audio, video, map, base",
    "hidden_text": "[hidden], [aria-hidden=true], template, noscript, dialog:not([open]), input[type=hidden], datalist",
    "boilerplate": "nav, footer, [role=navigation], [role=contentinfo], [role=banner], [role=search]",
    "forms": "select, textarea, button",
}
_HEADINGS: Final = {f"h{n}": n for n in range(1, 7)}
_BLOCKS: Final = frozenset(
    [
        "address", "article", "aside", "blockquote", "body", "caption", "center", "dd", "details", "div", "dl", "dt", "fieldset",
        "figcaption", "figure", "form", "header", "hgroup", "hr", "html", "legend", "main", "p", "search", "section", "summary",
    ]
)  # fmt: skip
_ITEMS: Final = frozenset(["ul", "ol", "menu", "dir"])
_STYLE_RULE: Final = re.compile(r"([^{}@;]{1,300})\{([^{}]{0,2000})\}")
_AT_BLOCK: Final = re.compile(r"@[^{};]{1,200}\{(?:[^{}]*\{[^{}]*\})*[^{}]*\}")
_CSS_COMMENT: Final = re.compile(r"/\*.*?(?:\*/|\Z)", re.DOTALL)
_SIMPLE_SELECTOR: Final = re.compile(r"[\w\s.#,>\-]+")
_MAX_STYLE_RULES: Final = 500
_ZERO: Final = re.compile(r"0(?:\.0*)?(?:px|pt|em|rem|%)?")
_TINY: Final = re.compile(r"(?:0?\.\d+|1(?:\.0*)?)(?:px|pt)")
_FAR: Final = re.compile(r"-\d{4,}(?:\.\d*)?(?:px|pt|em|rem)?")
_CLIPPED: Final = re.compile(r"rect\(\s*0[^)]*\)|inset\(\s*(?:50|100)%.*\)")
_WHITE: Final = re.compile(r"(?:#fff(?:fff)?(?:ff|f)?|white|rgba?\(\s*255\s*,\s*255\s*,\s*255.*\))")


class HtmlParser:
    def parse(self, data: bytes, name: str) -> ParsedDocument:
        tree = LexborHTMLParser(data.decode("utf-8-sig", errors="replace"))
        title = _squeeze((node.text() if (node := tree.css_first("title")) else "") or "")
        removed: Counter[str] = Counter()
        _remove_hidden_by_rules(tree, removed)
        _remove_hidden_by_style(tree, removed)
        for reason, selector in _REMOVED.items():
            for node in tree.css(selector):
                removed[reason] += 1
                node.decompose()
        blocks = _Walk(removed).blocks(tree.body or tree.root)
        if not blocks:
            raise IngestError(
                "The page shows no text without its scripts. Save the page as a reader sees it, or as PDF.",
                reason="empty",
            )
        heading = next((b.text for b in blocks if b.kind == "heading"), "")
        return ParsedDocument(title=title or heading, blocks=tuple(blocks), removed=dict(removed))


def _squeeze(text: str) -> str:
    return " ".join(text.split())


def _remove_hidden_by_rules(tree: LexborHTMLParser, removed: Counter[str]) -> None:
    css = _CSS_COMMENT.sub("", "\n".join(node.text() or "" for node in tree.css("style")))
    for number, (selector, declarations) in enumerate(_STYLE_RULE.findall(_AT_BLOCK.sub("", css))):
        if number >= _MAX_STYLE_RULES:
            return
        if not _SIMPLE_SELECTOR.fullmatch(selector.strip()) or not _hides(declarations):
            continue
        try:
            nodes = tree.css(selector.strip())
        except SelectolaxError:
            continue  # a selector the engine does not know hides nothing we can name
        _drop(nodes, removed)


def _remove_hidden_by_style(tree: LexborHTMLParser, removed: Counter[str]) -> None:
    _drop([node for node in tree.css("[style]") if _hides(node.attributes.get("style") or "")], removed)


def _drop(nodes: list[LexborNode], removed: Counter[str]) -> None:
    for node in nodes:
        if node.tag in ("html", "body"):
            continue  # hidden until a script shows it: the page itself is meant to be read
        removed["hidden_text"] += 1
        node.decompose()


def _hides(style: str) -> bool:
    """Would a reader not see an element with these declarations?"""
    pairs = (part.partition(":") for part in style.lower().replace("!important", "").split(";"))
    rules = {name.strip(): value.strip() for name, _, value in pairs}
    size, colour = rules.get("font-size", ""), rules.get("color", "")
    background = rules.get("background-color", "") or rules.get("background", "")
    collapsed = rules.get("overflow", "").startswith("hidden") and any(
        _ZERO.fullmatch(rules.get(side, "")) or _TINY.fullmatch(rules.get(side, ""))
        for side in ("height", "width", "max-height")
    )
    return bool(
        rules.get("display") == "none"
        or rules.get("visibility") in ("hidden", "collapse")
        or _ZERO.fullmatch(rules.get("opacity", ""))
        or _ZERO.fullmatch(size)
        or _TINY.fullmatch(size)
        or collapsed
        or any(
            _FAR.fullmatch(rules.get(side, ""))
            for side in ("left", "top", "right", "bottom", "text-indent", "margin-left")
        )
        or _CLIPPED.fullmatch(rules.get("clip", "") or rules.get("clip-path", ""))
        or colour == "transparent"
        or (_WHITE.fullmatch(colour) and (not background or _WHITE.fullmatch(background) is not None))
        or (colour and colour == background)
    )


class _Walk:
    """One pass over the tree without recursion, so that nesting costs no stack."""

    def __init__(self, removed: Counter[str]) -> None:
        self.removed = removed
        self.found: list[Block] = []
        self.inline: list[str] = []
        self.list_lines: list[str] = []
        self.list_kinds: list[str] = []
        self.counters: list[int] = []
        self.bullet = ""
        self.table_depth = 0
        self.rows: list[tuple[str, ...]] = []
        self.cells: list[str] = []
        self.preformatted = 0

    def blocks(self, root: LexborNode | None) -> list[Block]:
        node, depth = root, 0
        while node is not None:
            self._enter(node)
            child = node.first_child
            if child is not None:
                node, depth = child, depth + 1
                continue
            self._leave(node)
            while node is not None and depth and node.next is None:
                node, depth = node.parent, depth - 1
                if node is not None:
                    self._leave(node)
            node = node.next if node is not None and depth else None
        self._flush()
        self._flush_list()
        return self.found

    def _enter(self, node: LexborNode) -> None:
        tag = node.tag or ""
        if tag == "-text":
            self._text(node.text_content or "")
        elif tag in ("-comment", "img"):
            self.removed["comments" if tag == "-comment" else "image_descriptions"] += 1
        elif tag == "br":
            self.inline.append("\n")
        elif tag in _ITEMS:
            self._flush()
            self.list_kinds.append(tag)
            self.counters.append(0)
        elif tag == "li":
            self._flush()
            self._start_item()
        elif tag == "table":
            self._start_table()
        elif tag == "pre" or tag in _BLOCKS or tag in _HEADINGS:
            self._flush()
            self.preformatted += tag == "pre"

    def _leave(self, node: LexborNode) -> None:
        tag = node.tag or ""
        if tag in _HEADINGS:
            self._flush("heading", _HEADINGS[tag])
        elif tag == "pre":
            self._flush("code")
            self.preformatted = max(0, self.preformatted - 1)
        elif tag in _ITEMS:
            self._flush()
            self.list_kinds.pop()
            self.counters.pop()
            if not self.list_kinds:
                self._flush_list()
        elif tag in ("td", "th") and self.table_depth == 1:
            self.cells.append(self._take())
        elif tag == "tr" and self.table_depth == 1:
            self._end_row()
        elif tag == "caption" and self.table_depth == 1:
            self.found.extend(Block(kind="paragraph", text=text) for text in filter(None, [self._take()]))
        elif tag == "table":
            self._end_table()
        elif tag in _BLOCKS or tag == "li":
            self._flush()

    def _text(self, text: str) -> None:
        self.inline.append(text if self.preformatted else re.sub(r"\s+", " ", text))

    def _take(self) -> str:
        text = "".join(self.inline)
        self.inline = []
        return _squeeze(text)

    def _start_item(self) -> None:
        if not self.list_kinds:
            self.bullet = "- "
        elif self.list_kinds[-1] == "ol":
            self.counters[-1] += 1
            self.bullet = f"{self.counters[-1]}. "
        else:
            self.bullet = "- "

    def _flush(self, kind: BlockKind = "paragraph", level: int = 0) -> None:
        if self.table_depth:
            self.inline.append(" ")  # blocks in a cell are words of that cell
            return
        raw = "".join(self.inline)
        self.inline = []
        if self.preformatted:
            text, kind = raw.strip("\n").rstrip(), "code"
        else:
            text = "\n".join(filter(None, (_squeeze(line) for line in raw.split("\n"))))
        if not text.strip():
            return
        if self.list_kinds and kind != "heading":
            indent = "  " * (len(self.list_kinds) - 1)
            self.list_lines.append(indent + self.bullet + text.replace("\n", "\n" + indent + "  "))
            self.bullet = "  "
        else:
            self._flush_list()
            self.found.append(Block(kind=kind, text=_squeeze(text) if kind == "heading" else text, level=level))

    def _flush_list(self) -> None:
        if self.list_lines:
            self.found.append(Block(kind="list", text="\n".join(self.list_lines)))
            self.list_lines = []

    def _start_table(self) -> None:
        if not self.table_depth:
            self._flush()
            self._flush_list()
            self.rows, self.cells = [], []
        self.table_depth += 1

    def _end_row(self) -> None:
        if any(self.cells):
            self.rows.append(tuple(self.cells))
        self.cells = []

    def _end_table(self) -> None:
        self.table_depth = max(0, self.table_depth - 1)
        if self.table_depth:
            return
        self.inline = []
        if self.rows and max(map(len, self.rows)) == 1:  # a table used for layout
            self.found.extend(Block(kind="paragraph", text=row[0]) for row in self.rows)
        elif self.rows:
            width = max(map(len, self.rows))
            rows = tuple(row + ("",) * (width - len(row)) for row in self.rows)
            self.found.append(Block(kind="table", text="\n".join(" | ".join(row) for row in rows), rows=rows))
        self.rows = []
