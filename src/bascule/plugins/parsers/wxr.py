"""A WordPress export (WXR): what its site shows to everybody, one heading for each post or page.

Drafts, private, pending, scheduled and deleted items, those behind a password, and every comment stay out and are counted: an
export holds them all, and a reader of the site sees none of them.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, Final

import msgspec

from bascule.core.errors import IngestError
from bascule.core.parsing import Block, ParsedDocument, Parser
from bascule.plugins.parsers._html import HtmlParser
from bascule.plugins.parsers._xml import name as name_of
from bascule.plugins.parsers._xml import tree

_NOT_TEXT: Final = frozenset(
    [
        "attachment", "revision", "nav_menu_item", "custom_css", "customize_changeset", "oembed_cache", "wp_block",
        "wp_template", "wp_template_part", "wp_global_styles", "wp_navigation", "user_request", "wp_font_family", "wp_font_face",
    ]
)  # fmt: skip
_SHORTCODE: Final = re.compile(r"\[/?[a-z][\w-]{1,40}(?:\s[^\[\]]{0,2000})?/?\]", re.I)
_PARAGRAPHS: Final = re.compile(r"\n\s*\n")
_BLOCK_TAG: Final = re.compile(r"<(?:p|div|ul|ol|table|h[1-6]|pre|blockquote|section|figure)\b", re.I)


class WxrParser:
    def parse(self, data: bytes, name: str) -> ParsedDocument:
        if not data.strip():
            raise IngestError("The file is empty. Export the site again.", reason="empty")
        channel = next((e for e in tree(data, "export", encoding="utf-8").iter() if name_of(e) == "channel"), None)
        if channel is None:
            raise IngestError("This is not a WordPress export: it has no channel. Export again.", reason="damaged")
        removed: Counter[str] = Counter()
        blocks: list[Block] = []
        for item in channel.iterchildren("item"):
            blocks += _item(item, removed)
        if not blocks:
            raise IngestError("The export holds nothing that is published without a password.", reason="empty")
        title = " ".join((channel.findtext("title") or "").split())
        return ParsedDocument(title=title, blocks=tuple(blocks), removed=dict(removed))


def _item(item: Any, removed: Counter[str]) -> list[Block]:
    # Names without their namespace: it carries the version of the format (1.0 to 1.2).
    fields = {name_of(child): (child.text or "") for child in reversed(list(item)) if name_of(child) != "encoded"}
    comments = sum(1 for child in item if name_of(child) == "comment")
    if comments:
        removed["comments"] += comments
    if fields.get("post_type", "post") in _NOT_TEXT:
        return []
    if fields.get("status") != "publish" or fields.get("post_password", "").strip():
        removed["not_public"] += 1
        return []
    title = " ".join(fields.get("title", "").split())
    content = next((c.text or "" for c in item if name_of(c) == "encoded" and "content" in str(c.tag)), "")
    body = _content(content, removed)
    head = [Block(kind="heading", text=title, level=1)] if title and body else []
    return head + body


def _content(content: str, removed: Counter[str]) -> list[Block]:
    html, shortcodes = _SHORTCODE.subn(" ", content)
    if shortcodes:
        removed["shortcodes"] += shortcodes
    if not _BLOCK_TAG.search(html):  # WordPress makes a paragraph of each empty line when it shows a classic post
        html = "".join(f"<p>{part}</p>" for part in _PARAGRAPHS.split(html) if part.strip())
    if not html.strip():
        return []
    try:
        found = HtmlParser().parse(f"<!doctype html><body>{html}".encode("utf-8", "replace"), "")
    except IngestError:
        return []
    removed.update(found.removed)
    return [_below(block) for block in found.blocks]


def _below(block: Block) -> Block:
    """Headings of the post stand under its title."""
    return msgspec.structs.replace(block, level=min(block.level + 1, 6)) if block.kind == "heading" else block


parser: Parser = WxrParser()
