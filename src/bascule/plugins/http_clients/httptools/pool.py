"""Connections by upstream host: kept alive, bounded, and handed to the one who waited longest."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Mapping
from typing import Final

import msgspec

from bascule.core.errors import UpstreamTimeout
from bascule.core.upstream import no_connection
from bascule.plugins.http_clients.httptools.connection import Connection, failed, too_slow

IDLE_S: Final = 20.0  # vendors' load balancers drop idle connections after 60 s and more


class Origin(msgspec.Struct, frozen=True):
    """Scheme, host and port: what connections are shared by."""

    tls: bool
    host: str
    port: int


class Pool:
    """The connections to one origin: at most `size`, the most recently used first."""

    def __init__(self, origin: Origin, size: int, context: ssl.SSLContext | None) -> None:
        self._origin = origin
        self._size = size
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._opening = 0
        self._waiting: deque[asyncio.Future[Connection | None]] = deque()
        self._closed = False

    def ready(self) -> Connection | None:
        """A kept connection that is free now."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if not connection.closed:
                if self._loop.time() - connection.idle_since_s < IDLE_S:
                    return connection
                connection.close()
        return None

    async def get(self, until_s: float) -> Connection:
        """A free connection, a new one, or the next to become free. Raises UpstreamTimeout, UpstreamUnavailable."""
        while not self._closed:
            connection = self.ready()
            if connection is not None:
                return connection
            if len(self._open) + self._opening < self._size:
                return await self.open(until_s)
            handed = await self._wait(until_s)
            if handed is not None and not handed.closed:
                return handed
        raise failed()

    async def _wait(self, until_s: float) -> Connection | None:
        """The next free connection; None when there is room for a new one instead."""
        waiter: asyncio.Future[Connection | None] = self._loop.create_future()
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout_at(until_s):
                return await waiter
        except TimeoutError:
            self._pass_on(waiter)
            raise UpstreamTimeout("No connection to the model's provider became free in time.") from None
        except asyncio.CancelledError:
            self._pass_on(waiter)
            raise

    def _pass_on(self, waiter: asyncio.Future[Connection | None]) -> None:
        """What was handed to somebody who has left in the same moment goes to the next."""
        if waiter.done() and not waiter.cancelled():
            connection = waiter.result()
            if connection is not None and not connection.closed:
                self._release(connection)
            else:
                self._make_room()
        elif waiter in self._waiting:
            self._waiting.remove(waiter)

    async def open(self, until_s: float) -> Connection:
        origin = self._origin
        self._opening += 1
        try:
            async with asyncio.timeout_at(until_s):
                _, connection = await self._loop.create_connection(
                    lambda: Connection(self._loop, self._release, self._lose),
                    origin.host,
                    origin.port,
                    ssl=self._context,
                    server_hostname=origin.host if self._context is not None else None,
                )
        except TimeoutError:
            raise too_slow() from None
        except (OSError, ssl.SSLError, UnicodeError) as error:
            raise no_connection(error) from None
        finally:
            self._opening -= 1
            self._make_room()
        self._open.add(connection)
        return connection

    def _release(self, connection: Connection) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        if self._closed:
            connection.close()
            return
        connection.idle_since_s = self._loop.time()
        self._idle.append(connection)

    def _lose(self, connection: Connection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._make_room()

    def _make_room(self) -> None:
        while self._waiting and len(self._open) + self._opening < self._size:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def sweep(self, now_s: float) -> None:
        """Close what has been idle for long."""
        while self._idle and now_s - self._idle[0].idle_since_s >= IDLE_S:
            self._idle.pop(0).close()

    def close(self) -> None:
        self._closed = True
        for connection in list(self._open):
            connection.close()
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)


def render(path: str, host: str, headers: Mapping[str, str]) -> bytes:
    """The head of a request, up to and including `content-length: `. Raises ValueError for what could end a line early."""
    lines = [f"POST {path} HTTP/1.1", f"host: {host}", "accept-encoding: identity", "user-agent: bascule"]
    given = {name.lower(): value for name, value in headers.items()}
    lines = [line for line in lines if line.partition(":")[0] not in given]
    lines += [f"{name}: {value}" for name, value in given.items()]
    head = "\r\n".join([*lines, "content-length: "])
    if any(c in line for line in lines for c in "\r\n\0"):
        raise ValueError("a header holds a line break")
    return head.encode("latin-1")
