"""What the connectors of web sites share: their settings, a polite visitor, and how an answer becomes a document."""

from __future__ import annotations

import asyncio
import mimetypes
import re
import unicodedata
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import unquote

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from bascule.core.connectors import Change, KnownItem, SkippedItem, SourceItem, UnchangedItem
from bascule.core.errors import ConfigError, IngestError, StorageError
from bascule.core.fetching import Fetched, Fetcher
from bascule.core.resources import Resources
from bascule.core.urls import WebUrl, parse_url
from bascule.plugins.connectors._charset import as_utf8
from bascule.plugins.connectors._robots import MAX_BYTES, Robots

GIVE_UP_AFTER: Final = 10  # failures in a row: the site is not answering, and knocking on would not help it
MAX_ID_CHARS: Final = 1000
MAX_DELAY_S: Final = 60.0
HTML: Final = frozenset({"text/html", "application/xhtml+xml"})
_OFFICE: Final = "application/vnd.openxmlformats-officedocument."
TYPES: Final = (
    *("text/html", "application/xhtml+xml", "text/plain", "text/markdown", "text/csv", "application/pdf"),
    *(_OFFICE + kind for kind in ("wordprocessingml.document", "spreadsheetml.sheet", "presentationml.presentation")),
    "application/epub+zip",
)
_GONE: Final = frozenset({404, 410})
_WITHHELD: Final = frozenset({401, 403, 407, 451})
_UNSAFE: Final = re.compile(r"[^\w .,()+@=\-\[\]!&'#~]")


class WebSettings(BaseModel):
    """The keys that every source on the web has."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    headers: dict[str, str] = Field(
        {}, description='Sent to the source\'s own hosts and no others; values are "env:NAME" or "file:PATH".'
    )
    types: tuple[str, ...] = Field(TYPES, min_length=1, description="Media types taken in; text/* for a family.")
    max_page_bytes: int = Field(20_000_000, gt=0, description="Larger pages are skipped, with a reason.")
    max_pages: int = Field(5000, gt=0, description="Most pages asked for in one run.")
    delay_s: float = Field(0.0, ge=0, le=MAX_DELAY_S, description="Pause between two requests to a host.")


class Visit(msgspec.Struct, frozen=True):
    """What became of one URL. `fetched` is None when there was no answer; `sure`: the site has said what is there."""

    change: Change
    fetched: Fetched | None
    sure: bool = True


class Visitor:
    """Asks one page after the other, with a pause where one is wanted, and gives up on a site that stops answering."""

    def __init__(
        self,
        fetcher: Fetcher,
        settings: WebSettings,
        headers: Mapping[str, str],
        own: Iterable[str],
        *,
        many_hosts: bool = False,
    ) -> None:
        """`own`: the source's URLs in the operator's file; `headers` go to their origins alone. `many_hosts`: one that stops
        answering does not end the run, but is asked no more."""
        self._fetcher = fetcher
        self._settings = settings
        self._headers = dict(headers)
        self._origins = {parse_url(url).origin for url in own}
        self._robots: dict[str, Robots] = {}
        self._free_at_s: dict[str, float] = {}
        self._many_hosts = many_hosts
        self._failures: Counter[str] = Counter()

    @property
    def agent(self) -> str:
        return self._fetcher.user_agent.partition("/")[0].partition(" ")[0].lower()

    async def get(
        self, url: WebUrl, *, limit_bytes: int, types: Iterable[str] = (), known: KnownItem | None = None
    ) -> Fetched:
        """Raises IngestError for a URL that cannot be had, StorageError when the site has stopped answering."""
        if self._failures[url.host] >= GIVE_UP_AFTER:
            raise IngestError("Its host has stopped answering.", reason="unreachable", transient=True)
        headers = dict(self._headers) if url.origin in self._origins else {}
        if known is not None and not known.failed:
            headers |= _conditions(known.metadata)
        found = await self._ask(url, limit_bytes, headers, tuple(types))
        wait_s = _retry_after_s(found)
        if wait_s is not None:
            await asyncio.sleep(wait_s)
            found = await self._ask(url, limit_bytes, headers, tuple(types))
        self._count(url, found.status >= 500 or found.status == 429)
        return found

    async def _ask(self, url: WebUrl, limit_bytes: int, headers: Mapping[str, str], types: tuple[str, ...]) -> Fetched:
        await self._pause(url)
        try:
            return await self._fetcher.fetch(str(url), limit_bytes=limit_bytes, headers=headers, types=types)
        except IngestError as error:
            self._count(url, error.transient)
            raise

    async def visit(
        self, url: WebUrl, known: KnownItem | None = None, metadata: Mapping[str, Any] = {}, *, same_host: bool = False
    ) -> Visit:
        """One page as a document. Its external id is `url`, wherever that redirects to; `same_host`: to no other host."""
        settings = self._settings
        try:
            found = await self.get(url, limit_bytes=settings.max_page_bytes, types=settings.types, known=known)
        except IngestError as error:
            return Visit(SkippedItem(external_id=str(url), reason=error.message), None, sure=not error.transient)
        if same_host and parse_url(found.url).host != url.host:
            reason = "It redirects to another host, perhaps to sign in. Name that host's own pages, or give `headers`."
            return Visit(SkippedItem(external_id=str(url), reason=reason), found)
        if found.status == 304 and known is not None:
            return Visit(UnchangedItem(external_id=str(url)), found)
        if found.status != 200:
            return Visit(_no_page(str(url), found.status), found, sure=found.status in _GONE)
        if not found.body.strip():
            return Visit(SkippedItem(external_id=str(url), reason="The page is empty."), found)
        return Visit(item_of(str(url), found, metadata), found)

    async def allowed(self, url: WebUrl) -> bool:
        """What the host's robots.txt says, which is asked for once. Raises StorageError when it cannot be had: until a site
        answers, nothing of it is fetched (RFC 9309, section 2.3.1.4)."""
        robots = self._robots.get(url.origin)
        if robots is None:
            robots = self._robots[url.origin] = await self._ask_robots(url)
        return robots.allows(url)

    async def _ask_robots(self, url: WebUrl) -> Robots:
        try:
            found = await self.get(parse_url(url.origin + "/robots.txt"), limit_bytes=MAX_BYTES)
        except IngestError as error:
            if error.transient or error.reason == "too_large":
                raise StorageError(f"The robots.txt of {url.host} cannot be had. {error.message}") from error
            return Robots("", self.agent)
        if found.status >= 500 or found.status == 429:
            raise StorageError(f"The robots.txt of {url.host} cannot be had: the site answers {found.status}.")
        return Robots(found.body.decode("utf-8", "replace"), self.agent)

    async def _pause(self, url: WebUrl) -> None:
        robots = self._robots.get(url.origin)
        delay_s = min(max(self._settings.delay_s, robots.delay_s if robots else 0.0), MAX_DELAY_S)
        now_s = asyncio.get_running_loop().time()
        start_s = max(now_s, self._free_at_s.get(url.host, 0.0))
        self._free_at_s[url.host] = start_s + delay_s
        if start_s > now_s:
            await asyncio.sleep(start_s - now_s)

    def _count(self, url: WebUrl, failed: bool) -> None:
        self._failures[url.host] = self._failures[url.host] + 1 if failed else 0
        if self._failures[url.host] >= GIVE_UP_AFTER and not self._many_hosts:
            raise StorageError(f"The site has failed {GIVE_UP_AFTER} times in a row. Nothing more is asked of it now.")


def item_of(external_id: str, found: Fetched, metadata: Mapping[str, Any] = {}) -> SourceItem | SkippedItem:
    if len(external_id) > MAX_ID_CHARS:
        return SkippedItem(external_id=external_id, reason=f"Its URL is longer than {MAX_ID_CHARS} characters.")
    media_type = found.media_type
    is_text = media_type in HTML or media_type.startswith("text/")
    content_type = found.headers.get("content-type", "")
    validators = {"etag": found.headers.get("etag", ""), "last_modified": found.headers.get("last-modified", "")}
    facts = {"url": found.url, "modified_at": _instant(validators["last_modified"]), **validators}
    return SourceItem(
        external_id=external_id,
        name=name_of(parse_url(found.url), media_type),
        data=as_utf8(found.body, content_type) if is_text else found.body,
        media_type=media_type,
        metadata={key: value for key, value in facts.items() if value} | dict(metadata),
    )


def name_of(url: WebUrl, media_type: str) -> str:
    """The last part of the path, or the host: a file name that is harmless and has the ending of its kind."""
    last = unicodedata.normalize("NFC", unquote(url.path.rstrip("/").rpartition("/")[2], errors="replace"))
    plain = "".join(char for char in last if unicodedata.category(char)[0] not in "CZ" or char == " ")
    stem = _UNSAFE.sub("_", plain).strip(" .-")[:120] or url.host
    ending = ".html" if media_type in HTML else mimetypes.guess_extension(media_type) or ""
    known = mimetypes.guess_type(stem)[0]
    return stem if not ending or known == media_type else stem + ending


def headers_of(settings: WebSettings, resources: Resources) -> dict[str, str]:
    """The source's headers with their secrets. Raises ConfigError for a reference that does not resolve."""
    return {name.lower(): resources.secret(reference) for name, reference in settings.headers.items()}


def fetcher_of(resources: Resources) -> Fetcher:
    if resources.fetcher is None:
        raise ConfigError("Sources on the web need the fetcher, which is open only where [sources] are.")
    return resources.fetcher


def parsed(url: str, at: str) -> WebUrl:
    """A URL of the operator's file. Raises ConfigError naming the key."""
    try:
        return parse_url(url)
    except IngestError as error:
        raise ConfigError(f"{at}: {url[:200]!r}: {error.message}") from None


async def only_items(changes: AsyncIterator[Change]) -> AsyncIterator[SourceItem | SkippedItem]:
    async for change in changes:
        if isinstance(change, (SourceItem, SkippedItem)):
            yield change


def _conditions(metadata: Mapping[str, Any]) -> dict[str, str]:
    """What makes a site answer 304; the tag alone where there is one (RFC 9110, section 13.1.3)."""
    etag, modified = metadata.get("etag"), metadata.get("last_modified")
    if isinstance(etag, str) and etag.isascii() and etag.isprintable() and etag:
        return {"if-none-match": etag}
    if isinstance(modified, str) and modified.isascii() and modified.isprintable() and modified:
        return {"if-modified-since": modified}
    return {}


def _retry_after_s(found: Fetched) -> float | None:
    """How long a site that is busy asks to wait, when that is worth waiting for."""
    given = found.headers.get("retry-after", "").strip()
    if found.status not in (429, 503) or not (given.isascii() and given.isdigit()) or int(given) > MAX_DELAY_S:
        return None
    return float(given)


def _no_page(external_id: str, status: int) -> SkippedItem:
    if status in _GONE:
        return SkippedItem(external_id=external_id, reason=f"The site says it is not there ({status}).", gone=True)
    if status in _WITHHELD:
        reason = f"The site does not show it ({status}). Give the source `headers` that may see it."
        return SkippedItem(external_id=external_id, reason=reason)
    return SkippedItem(external_id=external_id, reason=f"The site answered {status}. The next run asks again.")


def _instant(last_modified: str) -> str:
    try:
        return parsedate_to_datetime(last_modified).astimezone(UTC).isoformat(timespec="seconds")
    except (ValueError, TypeError, OverflowError, IndexError):
        return ""
