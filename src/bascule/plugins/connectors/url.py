"""Single web pages and files, each named by its URL."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager

from pydantic import Field

from bascule.core.connectors import Change, KnownItem, Partial, SkippedItem, SourceItem
from bascule.core.fetching import Fetcher
from bascule.core.resources import Resources
from bascule.plugins.connectors._web import Visitor, WebSettings, fetcher_of, headers_of, only_items, parsed


class Settings(WebSettings):
    urls: tuple[str, ...] = Field(min_length=1, description="The pages. robots.txt, a rule for robots, is not asked.")


class UrlConnector:
    """`external_id` is the URL as the operator wrote it, in its one spelling."""

    kind = "url"

    def __init__(self, fetcher: Fetcher, settings: Settings, headers: Mapping[str, str] = {}) -> None:
        """Raises ConfigError for what is no URL."""
        self._fetcher = fetcher
        self._settings = settings
        self._headers = headers
        self._urls = list(dict.fromkeys(parsed(url, "urls") for url in settings.urls))

    def items(self) -> AsyncIterator[SourceItem | SkippedItem]:
        return only_items(self.changes({}))

    async def changes(self, known: Mapping[str, KnownItem]) -> AsyncIterator[Change]:
        visitor = Visitor(self._fetcher, self._settings, self._headers, map(str, self._urls), many_hosts=True)
        limit = self._settings.max_pages
        for url in self._urls[:limit]:
            yield (await visitor.visit(url, known.get(str(url)))).change
        if len(self._urls) > limit:
            yield Partial(reason=f"Only the first {limit} of {len(self._urls)} URLs were asked for: raise max_pages.")


@asynccontextmanager
async def connect(settings: Settings, resources: Resources) -> AsyncGenerator[UrlConnector]:
    yield UrlConnector(fetcher_of(resources), settings, headers_of(settings, resources))
