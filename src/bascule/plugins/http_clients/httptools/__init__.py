"""The upstream HTTP client of our own: HTTP/1.1 POST over pooled connections, parsed by llhttp (httptools).

It does what a gateway needs and no more: no redirects, no cookies, no proxy from the environment, nothing asked to be compressed.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Final
from urllib.parse import quote, urlsplit

from pydantic import BaseModel, ConfigDict, Field

from bascule.core.errors import ConfigError, UpstreamUnavailable
from bascule.plugins.http_clients.httptools.connection import Connection, Exchange, failed
from bascule.plugins.http_clients.httptools.pool import Origin, Pool, render
from bascule.plugins.http_clients.httptools.reply import HttptoolsReply

SWEEP_EVERY_S: Final = 5.0
MAX_HEADS: Final = 1024


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    pool_size: int = Field(256, gt=0, description="Most connections open to one upstream host.")


class _Place:
    """Where one URL's requests go, and the head they share while their headers stay the same."""

    __slots__ = ("head", "headers", "host", "path", "pool")

    def __init__(self, pool: Pool, host: str, path: str) -> None:
        self.pool = pool
        self.host = host
        self.path = path
        self.headers: Mapping[str, str] | None = None
        self.head = b""


class HttptoolsClient:
    def __init__(self, pool_size: int) -> None:
        self._pool_size = pool_size
        self._loop = asyncio.get_running_loop()
        self._places: dict[str, _Place] = {}
        self._pools: dict[Origin, Pool] = {}
        self._context: ssl.SSLContext | None = None

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, timeout_s: float) -> HttptoolsReply:
        place = self._places.get(url) or self._place(url)
        if place.headers != headers:
            self._set_head(place, headers)
        until_s = self._loop.time() + max(timeout_s, 0.001)
        request = b"%b%d\r\n\r\n%b" % (place.head, len(body), body)
        connection = place.pool.ready() or await place.pool.get(until_s)
        used, connection.used = connection.used, True
        exchange = connection.begin(request, until_s)
        await self._head(connection, exchange)
        if used and not exchange.headers and isinstance(exchange.error, UpstreamUnavailable):
            # The host had closed this kept connection as we began to use it, and answered nothing: once more, on a new one.
            connection = await place.pool.open(until_s)
            connection.used = True
            exchange = connection.begin(request, until_s)
            await self._head(connection, exchange)
        if not exchange.head_done:
            raise exchange.error or failed()
        return HttptoolsReply(connection, exchange)

    async def _head(self, connection: Connection, exchange: Exchange) -> None:
        try:
            while not exchange.head_done and exchange.error is None:
                await connection.wait(exchange)
        except BaseException:
            connection.abandon(exchange)
            raise

    def _set_head(self, place: _Place, headers: Mapping[str, str]) -> None:
        try:
            place.head = render(place.path, place.host, headers)
        except (ValueError, UnicodeEncodeError):
            raise ConfigError(
                "A header for the model's provider holds a line break or a letter that no header can hold."
            ) from None
        place.headers = dict(headers)

    def _place(self, url: str) -> _Place:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            raise ConfigError("base_url is not a URL.") from None
        if parts.scheme not in ("http", "https") or not host:
            raise ConfigError("base_url must begin with http:// or https:// and name a host.")
        tls = parts.scheme == "https"
        origin = Origin(tls, host, port or (443 if tls else 80))
        pool = self._pools.get(origin)
        if pool is None:
            pool = self._pools[origin] = Pool(origin, self._pool_size, self._tls() if tls else None)
        path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._") + ("?" + parts.query if parts.query else "")
        named = f"[{host}]" if ":" in host else host.encode("idna").decode()
        if len(self._places) >= MAX_HEADS:
            self._places.clear()
        place = self._places[url] = _Place(pool, named + (f":{port}" if port else ""), path)
        return place

    def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = ssl.create_default_context()
            self._context.set_alpn_protocols(["http/1.1"])
        return self._context

    async def sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_EVERY_S)
            for pool in self._pools.values():
                pool.sweep(self._loop.time())

    async def aclose(self) -> None:
        for pool in self._pools.values():
            pool.close()
        await asyncio.sleep(0)  # lets the transports close


@asynccontextmanager
async def connect(settings: Settings) -> AsyncGenerator[HttptoolsClient]:
    client = HttptoolsClient(settings.pool_size)
    sweeping = asyncio.create_task(client.sweep())
    try:
        yield client
    finally:
        sweeping.cancel()
        with suppress(asyncio.CancelledError):
            await sweeping
        await client.aclose()
