"""Markdown (CommonMark with tables) by markdown-it-py. Raw HTML in it is reduced to its visible text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.token import Token

from bascule.core.errors import IngestError
from bascule.core.parsing import Block, BlockKind, ParsedDocument, Parser

_FRONT_MATTER: Final = re.compile(r"\A---[ \t]*\n(.{0,20000}?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_FRONT_LINE: Final = re.compile(r"([A-Za-z][\w-]{0,40}):[ \t]*(\S.{0,500})")
_COMMENT: Final = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_SILENT: Final = re.compile(r"<(script|style|template|noscript)\b.*?(?:</\1\s*>|\Z)", re.IGNORECASE | re.DOTALL)
_TAG: Final = re.compile(r"</?[A-Za-z][^<>]*>|<![^<>]*>|<\?[^<>]*\?>")
_HIDDEN_TAG: Final = re.compile(
    r"<([a-z][\w-]*)\b(?=[^<>]*(?:\shidden\b|display\s*:\s*none|visibility\s*:\s*hidden|font-size\s*:\s*0|opacity\s*:\s*0(?![.\d])))[^<>]*>",
    re.IGNORECASE,
)
_markdown: Final = MarkdownIt("commonmark").enable("table")


class MarkdownParser:
    def parse(self, data: bytes, name: str) -> ParsedDocument:
        text = data.decode("utf-8-sig", errors="replace").replace("\r\n", "\n").replace("\r", "\n")
        removed: Counter[str] = Counter()
        metadata, text = _front_matter(text, removed)
        blocks = _Walk(removed).blocks(_markdown.parse(text))
        if not blocks:
            raise IngestError("The Markdown file has no text in it.", reason="empty")
        heading = next((b.text for b in blocks if b.kind == "heading"), "")
        return ParsedDocument(
            title=metadata.get("title", "") or heading, blocks=tuple(blocks), metadata=metadata, removed=dict(removed)
        )


def _front_matter(text: str, removed: Counter[str]) -> tuple[dict[str, str], str]:
    match = _FRONT_MATTER.match(text)
    if not match:
        return {}, text
    removed["front_matter"] += 1
    pairs = (_FRONT_LINE.fullmatch(line.rstrip()) for line in match.group(1).split("\n"))
    found = {pair.group(1).lower(): pair.group(2).strip().strip("\"'") for pair in pairs if pair}
    return found, text[match.end() :]


class _Walk:
    """Turns markdown-it's flat list of tokens into blocks; lists are kept whole, however deeply nested."""

    def __init__(self, removed: Counter[str]) -> None:
        self.removed = removed
        self.found: list[Block] = []
        self.list_depth = 0
        self.item_prefix: list[str] = []
        self.list_lines: list[str] = []
        self.rows: list[tuple[str, ...]] = []
        self.cells: list[str] = []
        self.context: tuple[BlockKind, int] = ("paragraph", 0)
        self.hidden_until = ""  # the closing tag of a hidden HTML element that spans several blocks

    def blocks(self, tokens: Sequence[Token]) -> list[Block]:
        for token in tokens:
            handler = getattr(self, "_on_" + token.type, None)
            if handler is not None:
                handler(token)
        self._flush_list()
        return self.found

    def _add(self, kind: BlockKind, text: str, level: int = 0) -> None:
        if not text.strip():
            return
        if self.hidden_until:
            self.removed["hidden_text"] += 1
        elif self.list_depth and kind != "table":
            self._add_to_list(text)
        else:
            self.found.append(Block(kind=kind, text=text, level=level))

    def _add_to_list(self, text: str) -> None:
        indent = "  " * (self.list_depth - 1)
        prefix = self.item_prefix[-1] if self.item_prefix else ""
        if self.item_prefix:
            self.item_prefix[-1] = " " * len(prefix)  # further paragraphs of the item carry no second bullet
        first, *rest = text.split("\n")
        self.list_lines.append(indent + prefix + first)
        self.list_lines.extend(indent + " " * len(prefix) + line for line in rest)

    def _flush_list(self) -> None:
        if self.list_lines:
            self.found.append(Block(kind="list", text="\n".join(self.list_lines)))
            self.list_lines = []

    def _on_heading_open(self, token: Token) -> None:
        self.context = ("heading", int(token.tag[1]))

    def _on_heading_close(self, _: Token) -> None:
        self.context = ("paragraph", 0)

    def _on_inline(self, token: Token) -> None:
        text = self._inline(token.children or [])
        if self.context[0] == "table":
            self.cells.append(" ".join(text.split()))
        else:
            self._add(self.context[0], text, self.context[1])

    def _on_fence(self, token: Token) -> None:
        self._add("code", token.content.rstrip("\n"))

    _on_code_block = _on_fence

    def _on_bullet_list_open(self, _: Token) -> None:
        self.list_depth += 1

    _on_ordered_list_open = _on_bullet_list_open

    def _on_bullet_list_close(self, _: Token) -> None:
        self.list_depth -= 1
        if not self.list_depth:
            self._flush_list()

    _on_ordered_list_close = _on_bullet_list_close

    def _on_list_item_open(self, token: Token) -> None:
        self.item_prefix.append(f"{token.info}{token.markup} " if token.info else "- ")

    def _on_list_item_close(self, _: Token) -> None:
        self.item_prefix.pop()

    def _on_table_open(self, _: Token) -> None:
        self._flush_list()
        self.rows, self.context = [], ("table", 0)

    def _on_tr_open(self, _: Token) -> None:
        self.cells = []

    def _on_tr_close(self, _: Token) -> None:
        self.rows.append(tuple(self.cells))

    def _on_table_close(self, _: Token) -> None:
        self.context = ("paragraph", 0)
        if self.hidden_until:
            self.removed["hidden_text"] += 1
        elif self.rows:
            text = "\n".join(" | ".join(row) for row in self.rows)
            self.found.append(Block(kind="table", text=text, rows=tuple(self.rows)))

    def _on_html_block(self, token: Token) -> None:
        html = token.content
        if self.hidden_until:
            _, closing, html = html.lower().partition(self.hidden_until)
            if not closing:
                self.removed["hidden_text"] += 1
                return
            self.hidden_until, html = "", html.partition(">")[2]
        self._add("paragraph", self._visible(html))

    def _visible(self, html: str) -> str:
        html, comments = _COMMENT.subn("", html)
        html, silent = _SILENT.subn("", html)
        self.removed.update({name: n for name, n in (("comments", comments), ("scripts", silent)) if n})
        hidden = _HIDDEN_TAG.search(html)
        if hidden:
            closing = f"</{hidden.group(1).lower()}"
            head, rest = html[: hidden.start()], html[hidden.end() :]
            self.removed["hidden_text"] += 1
            at = rest.lower().find(closing)
            self.hidden_until = closing if at < 0 else ""
            html = head + (rest[at:] if at >= 0 else "")
        return _TAG.sub("", html).strip()

    def _inline(self, children: Sequence[Token]) -> str:
        parts: list[str] = []
        hidden = ""
        for child in children:
            if child.type == "html_inline":
                hidden = self._inline_tag(child.content, hidden)
            elif hidden:
                continue
            elif child.type == "image":
                self.removed["image_descriptions"] += 1
            elif child.type in ("softbreak", "hardbreak"):
                parts.append("\n")
            else:
                parts.append(child.content)
        return "".join(parts).strip()

    def _inline_tag(self, tag: str, hidden: str) -> str:
        """The closing tag being waited for inside a hidden inline element, "" outside one."""
        if hidden:
            return "" if tag.lower().startswith(hidden) else hidden
        if tag.startswith("<!--"):
            self.removed["comments"] += 1
        match = _HIDDEN_TAG.match(tag)
        if not match:
            return ""
        self.removed["hidden_text"] += 1
        return f"</{match.group(1).lower()}"


parser: Parser = MarkdownParser()
