"""A web site followed from link to link: within its bounds, to a depth, up to a number of pages, as robots.txt allows."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from fnmatch import fnmatchcase

from pydantic import Field

from bascule.core.connectors import Change, KnownItem, Partial, SkippedItem, SourceItem
from bascule.core.errors import StorageError
from bascule.core.fetching import Fetcher
from bascule.core.resources import Resources
from bascule.core.urls import WebUrl, parse_url
from bascule.plugins.connectors._links import PageFacts, canonical_of, header_words, read_page
from bascule.plugins.connectors._web import (
    HTML,
    Visit,
    Visitor,
    WebSettings,
    fetcher_of,
    headers_of,
    item_of,
    only_items,
    parsed,
)


class Settings(WebSettings):
    start: tuple[str, ...] = Field(min_length=1, description="Where to begin.")
    within: tuple[str, ...] = Field(
        (), description="Only pages whose URL begins with one of these; empty for the folders of the start pages."
    )
    exclude: tuple[str, ...] = Field((), description='Patterns of URLs that are not followed, e.g. "*/print/*".')
    depth: int = Field(
        5, ge=0, le=100, description="Most links between a start page and another; 0 for the start pages."
    )
    robots: bool = Field(True, description="Heed robots.txt and what pages say to robots.")


class CrawlConnector:
    """`external_id` is the URL at which a page was found in the end: redirects and canonical links name one page once."""

    kind = "crawl"

    def __init__(self, fetcher: Fetcher, settings: Settings, headers: Mapping[str, str] = {}) -> None:
        """Raises ConfigError for what is no URL."""
        self._fetcher = fetcher
        self._settings = settings
        self._headers = headers
        self._start = [parsed(url, "start") for url in settings.start]
        folders = (url.origin + url.path.rpartition("/")[0] + "/" for url in self._start)
        self._within = tuple(str(parsed(prefix, "within")) for prefix in settings.within) or tuple(folders)

    def items(self) -> AsyncIterator[SourceItem | SkippedItem]:
        return only_items(self.changes({}))

    def changes(self, known: Mapping[str, KnownItem]) -> AsyncIterator[Change]:
        visitor = Visitor(self._fetcher, self._settings, self._headers, map(str, self._start))
        return _Walk(visitor, self._settings, self._within, known).changes(self._start)


class _Walk:
    """One run, breadth first, in the order of the links."""

    def __init__(
        self, visitor: Visitor, settings: Settings, within: tuple[str, ...], known: Mapping[str, KnownItem]
    ) -> None:
        self._visitor = visitor
        self._settings = settings
        self._within = within
        self._known = known
        self._queue: deque[tuple[WebUrl, int]] = deque()
        self._seen: set[str] = set()
        self._copies: set[str] = set()  # pages left out for another: two that name each other must not both go
        self._unsure = 0

    async def changes(self, start: list[WebUrl]) -> AsyncIterator[Change]:
        for url in start:
            self._add(url, 0)
        asked = 0
        while self._queue and asked < self._settings.max_pages:
            url, depth = self._queue.popleft()
            asked += 1
            yield await self._page(url, depth)
        if self._queue:
            yield Partial(reason=f"The first {asked} pages were asked for and links to more are left: raise max_pages.")
        if self._unsure:
            yield Partial(reason=f"{self._unsure} pages did not answer: what only they link to was not seen.")

    def _add(self, url: WebUrl, depth: int) -> None:
        name = str(url)
        if name not in self._seen and self._is_within(name):
            self._seen.add(name)
            self._queue.append((url, depth))

    def _is_within(self, name: str) -> bool:
        return name.startswith(self._within) and not any(fnmatchcase(name, p) for p in self._settings.exclude)

    async def _page(self, url: WebUrl, depth: int) -> Change:
        settings = self._settings
        if settings.robots and not await self._visitor.allowed(url):
            return _left_out(url, "robots.txt does not allow it.")
        visit = await self._visitor.visit(url, self._condition(url, depth))
        if depth == 0 and not visit.sure:
            reason = visit.change.reason if isinstance(visit.change, SkippedItem) else ""
            raise StorageError(f"The start page {url.host}{url.path} cannot be had. {reason}")
        self._unsure += not visit.sure
        if not isinstance(visit.change, SourceItem) or visit.fetched is None:
            return visit.change
        return await self._taken(url, visit, visit.change, depth)

    def _condition(self, url: WebUrl, depth: int) -> KnownItem | None:
        """Asks for a page again only when it changed, unless it may hold links: those of a page not sent are not known."""
        known = self._known.get(str(url))
        is_page = known is not None and str(known.metadata.get("kind", "page")) == "page"
        return None if is_page and depth < self._settings.depth else known

    async def _taken(self, asked: WebUrl, visit: Visit, item: SourceItem, depth: int) -> Change:
        found = visit.fetched
        assert found is not None
        url = parse_url(found.url)
        if str(url) != str(asked):
            if not self._is_within(str(url)) or (self._settings.robots and not await self._visitor.allowed(url)):
                return _left_out(asked, "It redirects to a page outside of what is followed.")
            if str(url) in self._seen:
                return _left_out(asked, f"It redirects to {url}, which is taken itself.")
            self._seen.add(str(url))
        robots = found.headers.get("x-robots-tag", "") if self._settings.robots else ""
        facts = await self._facts(url, item, robots)
        if depth < self._settings.depth:
            for link in facts.links:
                self._add(link, depth + 1)
        if facts.noindex:
            return _left_out(url, "The page asks not to be indexed (noindex).")
        original = canonical_of(facts, url)
        if original is not None and self._is_within(str(original)) and str(original) not in self._copies:
            self._copies.add(str(url))
            self._add(original, depth)
            return _left_out(url, f"A copy of {original}, which is taken instead.")
        return item_of(str(url), found, {"kind": "page" if item.media_type in HTML else "file"})

    async def _facts(self, url: WebUrl, item: SourceItem, robots: str) -> PageFacts:
        if item.media_type not in HTML:
            return PageFacts(noindex=bool(header_words(robots, self._visitor.agent) & {"noindex", "none"}))
        text = item.data.decode("utf-8", "replace")
        agent, heed = self._visitor.agent, self._settings.robots
        return await asyncio.to_thread(read_page, url, text, robots, agent, heed=heed)


def _left_out(url: WebUrl, reason: str) -> SkippedItem:
    return SkippedItem(external_id=str(url), reason=reason, gone=True)


@asynccontextmanager
async def connect(settings: Settings, resources: Resources) -> AsyncGenerator[CrawlConnector]:
    yield CrawlConnector(fetcher_of(resources), settings, headers_of(settings, resources))
