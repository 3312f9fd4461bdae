"""A written answer as HTML: Markdown by an allow-list of tags. No image, colour or script; links only to hosts the operator named.

Two walls that know nothing of each other: the Markdown reader makes no tag from HTML and no link to another host, and what it
made passes an HTML cleaner before anybody sees it.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import nh3
from markdown_it import MarkdownIt
from markupsafe import Markup

from bascule.core.documents import Answer, Citation

if TYPE_CHECKING:
    from markdown_it.token import Token

# h4: an answer stands below its question, an h2, and beside its sources, an h3.
_TAGS: Final = frozenset(
    {"p", "br", "strong", "em", "code", "pre", "blockquote", "ul", "ol", "li", "hr", "h4", "a"}
) | {*("table", "thead", "tbody", "tr", "th", "td")}
_TAG: Final = re.compile(r"(<[^>]*>)")
_MARK: Final = re.compile(r"\[(\d{1,3})\]")
_HREF: Final = re.compile(r"https://[A-Za-z0-9\-._~:/?#@!$&()*+,;=%]{1,2000}")
_BUTTON: Final = Markup(
    '<button type="button" class="cite" hx-get="/console/passage/{0}?start={1}&amp;end={2}" hx-target="#passage-body"'
    ' aria-label="Source {3}: {4}">{3}</button>'
)


def rendered(answer: Answer, link_hosts: Collection[str]) -> Markup:
    """The answer's text with its citation marks as buttons. A mark that names no citation stays text."""
    hosts = frozenset(host.lower() for host in link_hosts)
    reader = MarkdownIt("commonmark", {"html": False}).enable("table").disable(["image", "reference"])
    reader.validateLink = lambda url: _may_lead_to(url, hosts)  # type: ignore[method-assign]
    tokens = reader.parse(answer.answer)
    _lower_headings(tokens)
    html = nh3.clean(
        reader.renderer.render(tokens, reader.options, {}),
        tags=set(_TAGS),
        attributes={"a": {"href"}},
        attribute_filter=lambda tag, name, value: value if name != "href" or _may_lead_to(value, hosts) else None,
        url_schemes={"https"},
        link_rel="noopener noreferrer nofollow",
    )
    known = {citation.number: citation for citation in answer.citations}
    # Between tags there is only text, and no href that passed the filter holds a bracket of any kind.
    parts = [part if part.startswith("<") else _with_buttons(part, known) for part in _TAG.split(html)]
    return Markup("".join(parts))


def _may_lead_to(url: str, hosts: frozenset[str]) -> bool:
    if not hosts or not _HREF.fullmatch(url):
        return False
    try:
        parts = urlsplit(url)
        return parts.username is None and (parts.hostname or "") in hosts and parts.port in (None, 443)
    except ValueError:
        return False


def _lower_headings(tokens: list[Token]) -> None:
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = "h4"


def _with_buttons(text: str, known: dict[int, Citation]) -> str:
    def button(mark: re.Match[str]) -> str:
        citation = known.get(int(mark.group(1)))
        if citation is None:
            return mark.group(0)
        start, end = citation.span
        return str(_BUTTON.format(citation.chunk_id, start, end, citation.number, citation.title))

    return _MARK.sub(button, text)
