"""A web site of one's own on loopback: pages by path, entity tags, redirects, and every way in which a site can misbehave."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from bascule.plugins.fetchers.guarded import GuardedFetcher, Settings


@dataclass(kw_only=True)
class Page:
    """One answer. `raw` is sent as it is; `endless`: the body again and again; `gate`: nothing comes before it."""

    body: bytes = b""
    status: int = 200
    media_type: str = "text/html"
    headers: Mapping[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    endless: bool = False
    gate: asyncio.Event | None = None


@dataclass
class Asked:
    path: str
    headers: dict[str, str]


@dataclass
class Site:
    """`pages` by path (text stands for an HTML body); `all_fail`: a status for every request; `tags`: answer 304 where fitting."""

    url: str = ""
    pages: dict[str, str | Page] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    all_fail: int | None = None
    tags: bool = True

    def times(self) -> Counter[str]:
        """Requests by path."""
        return Counter(asked.path for asked in self.asked)

    @property
    def authority(self) -> str:
        return self.url.removeprefix("http://")

    def fetcher(self, *more: str, timeout_s: float = 5.0, max_redirects: int = 5) -> GuardedFetcher:
        """A fetcher whose operator has listed this site, and `more`."""
        return GuardedFetcher(Settings(allow=(self.authority, *more), timeout_s=timeout_s, max_redirects=max_redirects))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            path = head[0].split(" ")[1]
            headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
            self.asked.append(Asked(path, headers))
            await self._answer(writer, path, headers)
        writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, path: str, headers: Mapping[str, str]) -> None:
        found = self.pages.get(path, Page(status=404, body=b"not here"))
        page = Page(body=found.encode()) if isinstance(found, str) else found
        if self.all_fail is not None:
            page = Page(status=self.all_fail, body=b"trouble")
        if page.gate is not None:
            await page.gate.wait()
        writer.write(page.raw if page.raw is not None else self._head_and_body(page, headers))
        await writer.drain()
        while page.endless:
            writer.write(page.body)
            await writer.drain()

    def _head_and_body(self, page: Page, headers: Mapping[str, str]) -> bytes:
        tag = '"' + hashlib.sha256(page.body).hexdigest()[:16] + '"'
        same = self.tags and page.status == 200 and headers.get("if-none-match") == tag
        lines = [f"HTTP/1.1 {304 if same else page.status} Said", f"content-type: {page.media_type}"]
        if self.tags and page.status == 200:
            lines.append(f"etag: {tag}")
        lines += [f"{name}: {value}" for name, value in page.headers.items()]
        if not page.endless and not same:
            lines.append(f"content-length: {len(page.body)}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + (b"" if same else page.body)


@asynccontextmanager
async def running_site(pages: Mapping[str, str | Page] | None = None) -> AsyncIterator[Site]:
    site = Site(pages=dict(pages or {}))
    server = await asyncio.start_server(site.serve, "127.0.0.1", 0)
    site.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield site
    finally:
        server.close()


def table_of(pages: Sequence[str], template: str = "<h1>{0}</h1><p>All about {0}.</p>") -> dict[str, str | Page]:
    """Small pages by path, each with words of its own."""
    return {path: template.format(path.strip("/") or "start") for path in pages}
