"""What a page says of itself and where it leads, without parsing it: tags are sought in the text, in linear time.

The page is a stranger's, and parsing one belongs into a child process (law 9); the few tags needed here are found by plain search
in its first megabytes. A tag that this misses is a link not followed.
"""

from __future__ import annotations

import html
import re
from typing import Final

import msgspec

from bascule.core.errors import IngestError
from bascule.core.urls import WebUrl, join_url

MAX_CHARS: Final = 2_000_000
MAX_LINKS: Final = 5_000
_TAG: Final = re.compile(r"<(a|area|link|base|meta)[\s/]([^<>]{0,4000})>", re.IGNORECASE)
_ATTRIBUTE: Final = re.compile(r"([a-zA-Z-]{1,30})\s{0,9}=\s{0,9}(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'=<>`]+))")
_RAW: Final = re.compile(r"<(script|style|template|noscript|textarea|title)\b", re.IGNORECASE)


class PageFacts(msgspec.Struct, frozen=True, kw_only=True):
    """`links` in the order of the page, each once, as far as they are web addresses; `canonical` where the page names another."""

    links: tuple[WebUrl, ...] = ()
    canonical: WebUrl | None = None
    noindex: bool = False


def read_page(url: WebUrl, text: str, robots_header: str, agent: str, *, heed: bool = True) -> PageFacts:
    """`robots_header`: the answer's X-Robots-Tag, "" for none. `agent`: the name that rules for one robot are matched with.
    `heed`: whether what the page asks of robots counts."""
    words = header_words(robots_header, agent)
    base, canonical = url, None
    found: dict[str, WebUrl] = {}
    for tag, attributes in _tags(_without_raw(text[:MAX_CHARS])):
        if tag == "meta" and attributes.get("name", "").lower() in ("robots", agent):
            words |= _words(attributes.get("content", ""))
        elif tag == "base":
            base = _joined(url, attributes.get("href")) or base
        elif tag == "link" and "canonical" in attributes.get("rel", "").lower().split():
            canonical = canonical or _joined(base, attributes.get("href"))
        elif tag in ("a", "area") and not (heed and "nofollow" in attributes.get("rel", "").lower().split()):
            link = _joined(base, attributes.get("href"))
            if link is not None and len(found) < MAX_LINKS:
                found.setdefault(str(link), link)
    return PageFacts(
        links=() if heed and words & {"nofollow", "none"} else tuple(found.values()),
        canonical=canonical,
        noindex=heed and bool(words & {"noindex", "none"}),
    )


def header_words(header: str, agent: str) -> set[str]:
    """The rules of an X-Robots-Tag that are for everyone or for `agent`: "noindex, otherbot: nofollow"."""
    words: set[str] = set()
    whose = ""
    for part in header.lower().split(","):
        name, colon, rest = part.strip().partition(":")
        if colon and name.strip() not in ("unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"):
            whose, part = name.strip(), rest
        if whose in ("", agent):
            words |= _words(part)
    return words


def _words(text: str) -> set[str]:
    return {word.strip() for word in text.lower().split(",")}


def _joined(base: WebUrl, reference: str | None) -> WebUrl | None:
    if reference is None or reference.startswith("#"):
        return None
    try:
        return join_url(base, reference.strip(" \t\r\n\f"))
    except IngestError:
        return None


def _tags(text: str) -> list[tuple[str, dict[str, str]]]:
    return [(found[1].lower(), _attributes(found[2])) for found in _TAG.finditer(text)]


def _attributes(text: str) -> dict[str, str]:
    read: dict[str, str] = {}
    for name, double, single, bare in _ATTRIBUTE.findall(text):
        read.setdefault(name.lower(), html.unescape(double or single or bare))
    return read


def _without_raw(text: str) -> str:
    """Without comments, and without what is inside scripts and the like."""
    kept, at = [], 0
    while (start := text.find("<!--", at)) >= 0:
        kept.append(text[at:start])
        end = text.find("-->", start + 4)
        at = end + 3 if end >= 0 else len(text)
    kept.append(text[at:])
    return _without_elements("".join(kept))


def _without_elements(text: str) -> str:
    low = text.lower()
    low = low if len(low) == len(text) else text  # a letter that grows in lower case would shift every place
    kept, at = [], 0
    while found := _RAW.search(text, at):
        kept.append(text[at : found.start()])
        end = low.find(f"</{found[1].lower()}", found.end())
        at = end if end >= 0 else len(text)
    kept.append(text[at:])
    return "".join(kept)


def canonical_of(facts: PageFacts, url: WebUrl) -> WebUrl | None:
    """The page that this one is a copy of; None when it names itself, or a page of another host, which may say anything."""
    other = facts.canonical
    if other is None or other.host != url.host or str(other) == str(url):
        return None
    return other
