"""What a site announces in its feed (RSS 0.9 to 2.0, Atom): the pages it links to, or the texts in the feed itself.

A feed tells of the newest entries alone, so that an entry that has left it is not gone: its page is asked for again.
"""

from __future__ import annotations

import asyncio
import html
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
from pydantic import Field

from bascule.core.connectors import Change, KnownItem, Partial, SkippedItem, SourceItem
from bascule.core.errors import IngestError, StorageError
from bascule.core.fetching import Fetched, Fetcher
from bascule.core.resources import Resources
from bascule.core.urls import WebUrl, join_url, parse_url
from bascule.plugins.connectors._web import Visitor, WebSettings, fetcher_of, headers_of, item_of, only_items, parsed
from bascule.plugins.connectors._xml import Node, read_xml, unreadable

MAX_FEED_BYTES: Final = 20_000_000


class Settings(WebSettings):
    url: str = Field(description="The feed.")
    pages: bool = Field(True, description="Take the pages that entries link to; otherwise the texts in the feed.")
    same_host: bool = Field(True, description="Take only pages of the feed's own host.")
    robots: bool = Field(True, description="Heed robots.txt of the pages' hosts.")


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """`link` and `id` as the feed gives them; `text` is HTML."""

    id: str
    link: str
    title: str
    text: str
    published_at: str


class FeedConnector:
    """`external_id` is the URL of an entry's page, or with `pages` off the entry's own id."""

    kind = "feed"

    def __init__(self, fetcher: Fetcher, settings: Settings, headers: Mapping[str, str] = {}) -> None:
        """Raises ConfigError for what is no URL."""
        self._fetcher = fetcher
        self._settings = settings
        self._headers = headers
        self._url = parsed(settings.url, "url")

    def items(self) -> AsyncIterator[SourceItem | SkippedItem]:
        return only_items(self.changes({}))

    async def changes(self, known: Mapping[str, KnownItem]) -> AsyncIterator[Change]:
        others = not self._settings.same_host
        visitor = Visitor(self._fetcher, self._settings, self._headers, [str(self._url)], many_hosts=others)
        try:
            found = await visitor.get(self._url, limit_bytes=MAX_FEED_BYTES)
            if found.status != 200:
                raise unreadable(f"the site answers {found.status}")
            entries = await asyncio.to_thread(read_feed, found.body)
        except IngestError as error:
            raise StorageError(f"The feed cannot be had. {error.message}") from error
        if self._settings.pages:
            async for change in self._pages(visitor, entries, known):
                yield change
            return
        taken: set[str] = set()
        for entry in entries:
            item = _entry_item(found, entry)
            if item.external_id not in taken:
                taken.add(item.external_id)
                yield item
        yield Partial(reason="A feed holds its newest entries alone: those that have left it are kept.")

    async def _pages(
        self, visitor: Visitor, entries: list[Entry], known: Mapping[str, KnownItem]
    ) -> AsyncIterator[Change]:
        wanted: dict[str, tuple[WebUrl, dict[str, Any]]] = {}
        for entry in entries:
            link = self._link(entry)
            if isinstance(link, SkippedItem):
                yield link
            else:
                facts = {"feed_title": entry.title, "published_at": entry.published_at}
                wanted.setdefault(str(link), (link, {key: value for key, value in facts.items() if value}))
        for name, item in known.items():  # those that have left the feed
            url = _page_url(name)
            if name not in wanted and url is not None:
                kept = {key: item.metadata[key] for key in ("feed_title", "published_at") if key in item.metadata}
                wanted[name] = (url, kept)
        for url, facts in list(wanted.values())[: self._settings.max_pages]:
            if self._settings.robots and not await visitor.allowed(url):
                yield SkippedItem(external_id=str(url), reason="robots.txt does not allow it.", gone=True)
            else:
                yield (await visitor.visit(url, known.get(str(url)), facts, same_host=self._settings.same_host)).change
        if len(wanted) > self._settings.max_pages:
            yield Partial(
                reason=f"Only {self._settings.max_pages} of {len(wanted)} pages were asked for: raise max_pages."
            )

    def _link(self, entry: Entry) -> WebUrl | SkippedItem:
        named = entry.link or entry.id or entry.title
        try:
            url = join_url(self._url, entry.link) if entry.link else None
        except IngestError as error:
            return SkippedItem(external_id=repr(named[:300]), reason=error.message)
        if url is None:
            reason = "The entry links to no page. With `pages = false` its own text is taken."
            return SkippedItem(external_id=repr(named[:300]), reason=reason)
        if self._settings.same_host and url.host != self._url.host:
            reason = "It is on another host than the feed. With `same_host = false` it is taken."
            return SkippedItem(external_id=str(url), reason=reason)
        return url


def _page_url(external_id: str) -> WebUrl | None:
    """None for the id of an entry whose own text was taken, before `pages` was switched on."""
    try:
        return parse_url(external_id)
    except IngestError:
        return None


def read_feed(data: bytes) -> list[Entry]:
    """The entries in the feed's order. Raises IngestError for what is no feed."""
    root = read_xml(data)
    if root.name == "feed":
        return [_atom_entry(entry) for entry in root.all("entry")]
    if root.name in ("rss", "rdf"):
        channels = [root, *root.all("channel")]  # RSS 1.0 has its items beside the channel
        return [_rss_entry(item) for channel in channels for item in channel.all("item")]
    raise unreadable("it is no feed")


def _rss_entry(item: Node) -> Entry:
    guid = next(item.all("guid"), None)
    is_link = guid is not None and guid.attributes.get("ispermalink", "true").lower() == "true"
    link = item.first("link") or (item.first("guid") if is_link and "://" in item.first("guid") else "")
    return Entry(
        id=item.first("guid") or item.attributes.get("about", "") or link,
        link=link,
        title=item.first("title"),
        text=item.first("encoded", "description"),
        published_at=item.first("pubdate", "date"),
    )


def _atom_entry(entry: Node) -> Entry:
    links = [link for link in entry.all("link") if link.attributes.get("rel", "alternate") == "alternate"]
    content = next(entry.all("content"), None) or next(entry.all("summary"), None)
    return Entry(
        id=entry.first("id"),
        link=links[0].attributes.get("href", "") if links else "",
        title=entry.first("title"),
        text=_atom_text(content) if content is not None else "",
        published_at=entry.first("updated", "published"),
    )


def _atom_text(content: Node) -> str:
    if content.attributes.get("type", "text") == "html":
        return content.text
    return html.escape(_all_text(content))


def _all_text(node: Node) -> str:
    return " ".join([node.text, *(_all_text(child) for child in node.children)]).strip()


def _entry_item(feed: Fetched, entry: Entry) -> SourceItem | SkippedItem:
    """An entry's own text as a page."""
    named = " ".join((entry.id or entry.link or entry.title).split())
    external_id = named if named and named.isprintable() else repr(named)
    if not entry.text.strip():
        return SkippedItem(
            external_id=external_id, reason="The entry has no text. With `pages = true` its page is taken."
        )
    title = html.escape(entry.title)
    page = f"<!doctype html><meta charset=utf-8><title>{title}</title><h1>{title}</h1>{entry.text}".encode(
        "utf-8", "replace"
    )
    made = Fetched(url=feed.url, status=200, headers={"content-type": "text/html; charset=utf-8"}, body=page)
    facts = {"url": entry.link or feed.url, "published_at": entry.published_at, "feed_title": entry.title}
    item = item_of(external_id, made, {key: value for key, value in facts.items() if value})
    return (
        item if isinstance(item, SkippedItem) else msgspec.structs.replace(item, title=entry.title, name="entry.html")
    )


@asynccontextmanager
async def connect(settings: Settings, resources: Resources) -> AsyncGenerator[FeedConnector]:
    yield FeedConnector(fetcher_of(resources), settings, headers_of(settings, resources))
