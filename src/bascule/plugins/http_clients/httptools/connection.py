"""One HTTP/1.1 connection to an upstream host: an asyncio protocol around llhttp (by way of httptools).

It carries one exchange at a time. When an answer has ended as it should, the connection is free again; in every other case it is
closed, so that no byte of one answer can ever be taken for part of another.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, cast

import httptools

from bascule.core.errors import UpstreamError, UpstreamInvalid, UpstreamTimeout, UpstreamUnavailable

MAX_HEADERS: Final = 256
MAX_HEADER_BYTES: Final = 65_536
MAX_HEAD_BYTES: Final = 262_144  # as they come, interim answers counted: a header line without an end is in no callback
HIGH_WATER_BYTES: Final = 262_144
LOW_WATER_BYTES: Final = 65_536


def failed() -> UpstreamUnavailable:
    return UpstreamUnavailable("The connection to the model's provider failed.")


def too_slow() -> UpstreamTimeout:
    return UpstreamTimeout("The model's provider did not answer in time.")


class Exchange:
    """What has arrived of one answer. `wake` ends the wait of its one reader."""

    __slots__ = (
        "encoding",
        "ended",
        "error",
        "head_done",
        "headers",
        "held_bytes",
        "length",
        "parts",
        "status",
        "waiter",
    )

    def __init__(self) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.head_done = False
        self.length: int | None = None  # content-length
        self.encoding = b""  # content-encoding; b"" for none
        self.parts: deque[bytes] = deque()
        self.held_bytes = 0
        self.ended = False
        self.error: UpstreamError | None = None
        self.waiter: asyncio.Future[None] | None = None

    def wake(self) -> None:
        waiter = self.waiter
        if waiter is not None:
            self.waiter = None
            if not waiter.done():
                waiter.set_result(None)


class Connection(asyncio.Protocol):
    """`released` is called once after each exchange that left the connection usable, `lost` once when it is gone."""

    __slots__ = (
        "_at_s",
        "_chunked",
        "_exchange",
        "_head_bytes",
        "_keep",
        "_loop",
        "_lost",
        "_parser",
        "_reading",
        "_released",
        "_timer",
        "_transport",
        "_unread_bytes",
        "closed",
        "idle_since_s",
        "used",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        released: Callable[[Connection], None],
        lost: Callable[[Connection], None],
    ) -> None:
        self._loop = loop
        self._released = released
        self._lost = lost
        self._parser = httptools.HttpResponseParser(self)
        self._exchange: Exchange | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport
        self._reading = True
        self._chunked = False
        self._keep = False
        self._head_bytes = 0
        self._unread_bytes = 0
        self.closed = False
        self.used = False
        self.idle_since_s = 0.0

    # ------------------------------------------------------------ one exchange

    def begin(self, request: bytes, until_s: float) -> Exchange:
        """Send a whole request. `until_s` (loop time) bounds the exchange to the last byte of its body."""
        exchange = self._exchange = Exchange()
        self._unread_bytes = 0
        self._timer = self._loop.call_at(until_s, self._expire)
        self._transport.write(request)
        return exchange

    async def wait(self, exchange: Exchange) -> None:
        """Until something more has arrived, or the exchange has ended or failed."""
        waiter = exchange.waiter = self._loop.create_future()
        try:
            await waiter
        finally:
            exchange.waiter = None

    def take(self, exchange: Exchange) -> bytes:
        """All body bytes that have arrived and were not taken yet."""
        parts = exchange.parts
        data = parts.popleft() if len(parts) == 1 else b"".join(parts)
        parts.clear()
        exchange.held_bytes = 0
        if not self._reading and self._exchange is exchange:
            self._reading = True
            self._transport.resume_reading()
        return data

    def abandon(self, exchange: Exchange) -> None:
        """The reader is done with it. Before its end this closes the connection, which tells the upstream to stop."""
        if self._exchange is exchange:
            self._finish(exchange, failed())
            self.close()

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._transport.abort()

    def _expire(self) -> None:
        exchange = self._exchange
        if exchange is not None:
            self._finish(exchange, too_slow())
            self.close()

    def _finish(self, exchange: Exchange, error: UpstreamError | None) -> None:
        self._exchange = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if error is None:
            exchange.ended = True
        else:
            exchange.error = error
        exchange.wake()

    # ------------------------------------------------------------ asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None:  # bytes nobody asked for: whatever they are, they are not the next answer
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._break(exchange)
        except httptools.HttpParserUpgrade:
            self._break(exchange)
        if not exchange.head_done:
            self._unread_bytes += len(data)
            if self._unread_bytes > MAX_HEAD_BYTES:
                self._break(exchange)

    def _break(self, exchange: Exchange) -> None:
        """What came is not HTTP, or not to be had. An answer that had ended before the trouble stays whole."""
        if self._exchange is exchange:
            self._finish(exchange, UpstreamInvalid("The model's provider did not answer in proper HTTP."))
        self.close()

    def eof_received(self) -> None:
        exchange = self._exchange
        if exchange is not None and exchange.head_done and exchange.length is None and not self._chunked:
            # Neither length nor chunks: such a body ends with its connection (RFC 9112, section 6.3).
            self._finish(exchange, None)
        self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        exchange = self._exchange
        if exchange is not None:
            self._finish(exchange, failed())
        self._lost(self)

    # ------------------------------------------------------------ httptools callbacks

    def on_message_begin(self) -> None:
        if self._exchange is None:  # a second answer to one request: the two sides no longer agree where messages begin
            self.close()
        self._head_bytes = 0
        self._chunked = False

    def on_header(self, name: bytes, value: bytes) -> None:
        exchange = self._exchange
        if exchange is None:
            return
        name = name.lower()
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > MAX_HEADER_BYTES or len(exchange.headers) >= MAX_HEADERS:
            raise ValueError("too many headers")
        exchange.headers.append((name, value))
        if name == b"content-length":
            exchange.length = int(value)
        elif name == b"transfer-encoding":
            self._chunked = True
        elif name == b"content-encoding":
            exchange.encoding = value.strip().lower()

    def on_headers_complete(self) -> None:
        exchange = self._exchange
        if exchange is None:
            return
        status = self._parser.get_status_code()
        if status < 200:  # an interim answer (RFC 9110, section 15.2): the real one follows
            exchange.headers.clear()
            exchange.length = None
            exchange.encoding = b""
            return
        self._keep = self._parser.should_keep_alive()
        exchange.status = status
        exchange.head_done = True
        if exchange.length != 0 or self._chunked:
            exchange.wake()

    def on_body(self, body: bytes) -> None:
        exchange = self._exchange
        if exchange is None:
            return
        exchange.parts.append(body)
        exchange.held_bytes += len(body)
        if exchange.held_bytes > HIGH_WATER_BYTES and self._reading:
            self._reading = False
            self._transport.pause_reading()
        if exchange.waiter is not None:
            exchange.wake()

    def on_message_complete(self) -> None:
        exchange = self._exchange
        if exchange is None or not exchange.head_done:
            return
        self._finish(exchange, None)
        if not self._reading:
            self._reading = True
            self._transport.resume_reading()
        # An answer that came before its request was sent whole leaves the rest of it in the pipe.
        if self._keep and not self.closed and not self._transport.get_write_buffer_size():
            self._released(self)
        else:
            self.close()
