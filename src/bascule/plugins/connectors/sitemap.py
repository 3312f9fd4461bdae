"""The pages that a site lists in its sitemap (sitemaps.org): indexes, packed ones and plain lists too."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Final

from pydantic import Field

from bascule.core.connectors import Change, KnownItem, Partial, SkippedItem, SourceItem, UnchangedItem
from bascule.core.errors import IngestError, StorageError
from bascule.core.fetching import Fetcher
from bascule.core.resources import Resources
from bascule.core.urls import WebUrl, join_url
from bascule.plugins.connectors._links import read_page
from bascule.plugins.connectors._web import Visitor, WebSettings, fetcher_of, headers_of, only_items, parsed
from bascule.plugins.connectors._xml import Node, read_xml, unreadable

MAX_SITEMAP_BYTES: Final = 52_428_800  # the protocol's own limit, unpacked
MAX_SITEMAPS: Final = 500
MAX_DEPTH: Final = 3


class Settings(WebSettings):
    url: str = Field(
        description="The sitemap, e.g. https://docs.example.com/sitemap.xml; it may be an index of others."
    )
    within: tuple[str, ...] = Field(
        (), description="Only pages whose URL begins with one of these; empty for all of the sitemap's host."
    )
    trust_lastmod: bool = Field(
        False, description="A page whose lastmod in the sitemap has not changed is not asked for again."
    )
    robots: bool = Field(True, description="Heed robots.txt and what pages say to robots.")


class _Listing:
    """What the sitemaps name: (page, lastmod) in their order, what of it is not taken, and what could not be read."""

    def __init__(self) -> None:
        self.pages: dict[str, tuple[WebUrl, str]] = {}
        self.skipped: list[SkippedItem] = []
        self.missing: list[str] = []
        self.read = 0


class SitemapConnector:
    """`external_id` is a page's URL in its one spelling."""

    kind = "sitemap"

    def __init__(self, fetcher: Fetcher, settings: Settings, headers: Mapping[str, str] = {}) -> None:
        """Raises ConfigError for what is no URL."""
        self._fetcher = fetcher
        self._settings = settings
        self._headers = headers
        self._url = parsed(settings.url, "url")
        self._within = tuple(str(parsed(prefix, "within")) for prefix in settings.within)

    def items(self) -> AsyncIterator[SourceItem | SkippedItem]:
        return only_items(self.changes({}))

    async def changes(self, known: Mapping[str, KnownItem]) -> AsyncIterator[Change]:
        visitor = Visitor(self._fetcher, self._settings, self._headers, [str(self._url)])
        listing = _Listing()
        try:
            await self._read(visitor, self._url, listing, 0)
        except IngestError as error:
            raise StorageError(f"The sitemap cannot be had. {error.message}") from error
        for reason in listing.missing:
            yield Partial(reason=reason)
        for item in listing.skipped:
            yield item
        pages = list(listing.pages.values())
        for url, lastmod in pages[: self._settings.max_pages]:
            yield await self._page(visitor, url, lastmod, known.get(str(url)))
        if len(pages) > self._settings.max_pages:
            yield Partial(
                reason=f"Only {self._settings.max_pages} of {len(pages)} pages were asked for: raise max_pages."
            )

    async def _page(self, visitor: Visitor, url: WebUrl, lastmod: str, known: KnownItem | None) -> Change:
        settings = self._settings
        if settings.robots and not await visitor.allowed(url):
            return _withdrawn(url, "robots.txt does not allow it.")
        if (
            settings.trust_lastmod
            and lastmod
            and known
            and not known.failed
            and known.metadata.get("lastmod") == lastmod
        ):
            return UnchangedItem(external_id=str(url))
        visit = await visitor.visit(url, known, {"lastmod": lastmod} if lastmod else {}, same_host=True)
        if settings.robots and isinstance(visit.change, SourceItem) and visit.fetched is not None:
            text = visit.change.data.decode("utf-8", "replace") if "html" in visit.change.media_type else ""
            header = visit.fetched.headers.get("x-robots-tag", "")
            facts = await asyncio.to_thread(read_page, url, text, header, visitor.agent)
            if facts.noindex:
                return _withdrawn(url, "The page asks not to be indexed (noindex).")
        return visit.change

    async def _read(self, visitor: Visitor, url: WebUrl, listing: _Listing, depth: int) -> None:
        """Adds what one sitemap lists. Raises IngestError when it cannot be read, StorageError when the site is not there."""
        listing.read += 1
        found = await visitor.get(url, limit_bytes=MAX_SITEMAP_BYTES)
        if found.status != 200:
            raise unreadable(f"the site answers {found.status}")
        data = await asyncio.to_thread(_unpacked, found.body)
        if found.media_type == "text/plain" and not data.lstrip().startswith(b"<"):
            lines = data.decode("utf-8-sig", "replace").split()
            await asyncio.to_thread(self._add_all, url, [(line, "") for line in lines], listing)
            return
        root = await asyncio.to_thread(read_xml, data)
        if root.name == "sitemapindex":
            await self._read_all(visitor, url, root, listing, depth)
        elif root.name == "urlset":
            entries = ((entry.first("loc"), entry.first("lastmod")) for entry in root.all("url"))
            await asyncio.to_thread(self._add_all, url, entries, listing)
        else:
            raise unreadable("it is no sitemap")

    async def _read_all(self, visitor: Visitor, url: WebUrl, root: Node, listing: _Listing, depth: int) -> None:
        for entry in root.all("sitemap"):
            place = entry.first("loc")
            try:
                inner = join_url(url, place)
                if inner.host != self._url.host:
                    raise unreadable("it is on another host")
                if depth >= MAX_DEPTH or listing.read >= MAX_SITEMAPS:
                    raise unreadable("there are too many")
                await self._read(visitor, inner, listing, depth + 1)
            except IngestError as error:
                listing.missing.append(f"The sitemap {place[:200]!r} was left out. {error.message}")

    def _add_all(self, base: WebUrl, entries: Iterable[tuple[str, str]], listing: _Listing) -> None:
        for place, lastmod in entries:
            self._add(base, place, lastmod, listing)

    def _add(self, base: WebUrl, place: str, lastmod: str, listing: _Listing) -> None:
        try:
            url = join_url(base, place)
        except IngestError as error:
            listing.skipped.append(SkippedItem(external_id=repr(place[:300]), reason=error.message))
            return
        if url.host != self._url.host:
            reason = "It is on another host than its sitemap. Name that host's own sitemap."
            listing.skipped.append(SkippedItem(external_id=str(url), reason=reason, gone=True))
        elif not self._within or str(url).startswith(self._within):
            listing.pages.setdefault(str(url), (url, lastmod))


def _withdrawn(url: WebUrl, reason: str) -> SkippedItem:
    return SkippedItem(external_id=str(url), reason=reason, gone=True)


def _unpacked(data: bytes) -> bytes:
    """A packed sitemap (.xml.gz) unpacked, up to the protocol's limit."""
    if not data.startswith(b"\x1f\x8b"):
        return data
    unpack = zlib.decompressobj(31)
    try:
        plain = unpack.decompress(data, MAX_SITEMAP_BYTES)
    except zlib.error:
        raise unreadable("it cannot be unpacked") from None
    if not unpack.eof:
        raise unreadable("it is cut short, or larger than a sitemap may be")
    return plain


@asynccontextmanager
async def connect(settings: Settings, resources: Resources) -> AsyncGenerator[SitemapConnector]:
    yield SitemapConnector(fetcher_of(resources), settings, headers_of(settings, resources))
