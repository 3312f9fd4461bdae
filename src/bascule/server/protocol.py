"""uvicorn's HTTP/1.1 protocol with a cheaper way out: the head waits for the first piece of the body, so that a reply is one write.

Our own replies are built from checked values, so that the letters of every header need not be looked at again; a header that
comes from elsewhere must go through `failures.header_value`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterable
from typing import Any, Final
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from bascule.server.failures import to_reply
from bascule.server.in_flight import no_room

HEAD_S: Final = 15.0
LINGER_S: Final = 2.0
DATA: Final = "bascule.data"  # in a scope's state: the read that began with this request
MOST_BYTES: Final = 16_384  # of a request that may be answered as a whole: larger ones come in pieces anyway


class Cycle(RequestResponseCycle):
    """One request and its reply. Unlike the original it trusts the application to send messages in their order."""

    head: bytes = b""

    async def send(self, message: Any) -> None:
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if not self.response_started:
            self._start(message["status"], message["headers"])
            return
        if self.response_complete:
            raise RuntimeError("The response is complete already.")
        self._body(message["body"], message.get("more_body", False))

    def _start(self, status: int, headers: Any) -> None:
        self.response_started = True
        self.waiting_for_100_continue = False
        content = [STATUS_LINE[status]]
        closes = False
        self.chunked_encoding = self.scope["method"] != "HEAD" and status not in (204, 304)
        for name, value in (*self.default_headers, *headers):
            if name == b"content-length":
                self.chunked_encoding = False
            elif name == b"connection":
                closes = value == b"close"
            content += (name, b": ", value, b"\r\n")
        if closes:
            self.keep_alive = False
        elif not self.keep_alive:
            content.append(b"connection: close\r\n")
        if self.chunked_encoding:
            content.append(b"transfer-encoding: chunked\r\n")
        content.append(b"\r\n")
        self.head = b"".join(content)

    def _body(self, body: bytes, more: bool) -> None:
        out = self.head
        self.head = b""
        if self.scope["method"] != "HEAD":
            if not self.chunked_encoding:
                out += body
            elif body:
                out += b"%x\r\n%b\r\n" % (len(body), body)
        if not more and self.chunked_encoding:
            out += b"0\r\n\r\n"
        if out:
            self.transport.write(out)
        if not more:
            self.response_complete = True
            self.message_event.set()
            if not self.keep_alive:
                self.transport.close()
            self.on_response()


class Protocol(HttpToolsProtocol):
    """As uvicorn's, without what this server does not use: WebSockets, an access log, a root path, a limit of its own."""

    head_since_s = 0.0  # loop time of the first byte of a head that is not complete; 0.0 without one
    _used_s = 0.0  # loop time of the last answer
    _deaf = False  # told that it is not served: what still comes is thrown away
    _between = True  # no message has begun that has not ended
    _data: bytes | None = None  # what came last, if it began between messages

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.head_since_s = self.loop.time()
        # An application may answer what came as a whole without reading it.
        self._answer: Callable[[bytes, Any], bytes | None] | None = getattr(self.app, "answer", None)

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        if self._answer is not None and len(data) <= MOST_BYTES and self._is_idle():
            reply = self._answer(data, self.server_state.default_headers)
            if reply is not None:
                self.head_since_s = 0.0
                self.transport.write(reply)
                self.on_response_complete()
                return
            self._data = data
        super().data_received(data)
        self._data = None

    def send_400_response(self, msg: str) -> None:
        """Called for whatever breaks while a request is read: a want of memory is no fault of the request."""
        error = sys.exc_info()[1]
        if error is None or not isinstance(error.__context__, MemoryError):
            super().send_400_response(msg)
            return
        told = to_reply(no_room())
        head = (*self.server_state.default_headers, *told.headers, (b"content-type", told.content_type))
        lines = [name + b": " + value + b"\r\n" for name, value in head]
        length = b"content-length: %d\r\nconnection: close\r\n\r\n" % len(told.body)
        self.transport.write(b"".join((STATUS_LINE[told.status], *lines, length, told.body)))
        # Closed at once, what is still on its way would reset the connection, and the answer with it.
        self._deaf = True
        self.loop.call_later(LINGER_S, self.transport.close)

    def _is_idle(self) -> bool:
        """Everything asked for was answered, the client has read it, and another request may come."""
        cycle = self.cycle
        answered = cycle is None or (cycle.response_complete and cycle.keep_alive)
        return answered and self._between and not self.flow.write_paused and not self.transport.is_closing()

    @property
    def unread_bytes(self) -> int:
        """Of whole answers: what was handed over and the client has not taken. 0 while an answer is being made."""
        cycle = self.cycle
        if self.transport.is_closing() and not self.flow.write_paused:
            return 0
        if cycle is not None and not cycle.response_complete:
            return 0
        return int(self.transport.get_write_buffer_size())

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._rest()

    def _rest(self) -> None:
        """Wait for the next request. The timer of the last rest goes on: one for each would cost more than it is worth."""
        self._used_s = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._rest_for(self.timeout_keep_alive)

    def _rest_for(self, left_s: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(left_s, self.timeout_keep_alive_handler)

    def timeout_keep_alive_handler(self) -> None:
        busy = bool(self.head_since_s) or not (self.cycle is None or self.cycle.response_complete)
        left_s = self.timeout_keep_alive if busy else self._used_s + self.timeout_keep_alive - self.loop.time()
        if self.transport.is_closing() or left_s <= 0:
            super().timeout_keep_alive_handler()
        else:
            self._rest_for(left_s)

    def _unset_keepalive_if_required(self) -> None:
        """Not while the connection lives: see `_rest`."""

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        super()._unset_keepalive_if_required()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._between = False
        if not self.head_since_s:
            self.head_since_s = self.loop.time()

    def on_headers_complete(self) -> None:
        self.head_since_s = 0.0
        parser, scope = self.parser, self.scope
        version = parser.get_http_version()
        scope["method"] = parser.get_method().decode("ascii")
        if version != "1.1":
            scope["http_version"] = version
        url = self.url
        if b"?" in url or not url.startswith(b"/"):
            parsed = httptools.parse_url(url)
            raw, scope["query_string"] = parsed.path or b"/", parsed.query or b""
        else:
            raw, scope["query_string"] = url, b""
        path = raw.decode("ascii")
        scope["path"] = unquote(path) if "%" in path else path
        scope["raw_path"] = raw
        if self._data is not None:
            scope["state"][DATA] = self._data
        before = self.cycle
        self.cycle = Cycle(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        if before is None or before.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def on_message_complete(self) -> None:
        self._between = True
        super().on_message_complete()


def close_slow_heads(connections: Iterable[Any], now_s: float) -> int:
    """Close connections whose request's head has not come within HEAD_S (or that never sent one); how many there were."""
    slow = [c for c in connections if isinstance(c, Protocol) and c.head_since_s and now_s - c.head_since_s > HEAD_S]
    for connection in slow:
        connection.transport.abort()
    return len(slow)
