"""One HTTP exchange on bare ASGI: headers by hand, a bounded body, a reply or server-sent events, and whether the client left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from types import TracebackType
from typing import Any, Final, TypeVar

import msgspec
from starlette.types import Receive, Scope, Send

from bascule.core.calls import Call
from bascule.core.errors import InvalidRequest, RequestError, TooLarge
from bascule.core.ids import new_id
from bascule.gateway.again import Known
from bascule.gateway.alarm import rest, within
from bascule.server.in_flight import InFlight

Header = tuple[bytes, bytes]
T = TypeVar("T")

JSON: Final = b"application/json"
EVENTS: Final = b"text/event-stream; charset=utf-8"
# Every reply is one caller's own and never sniffed into another type.
BASE_HEADERS: Final[tuple[Header, ...]] = (
    (b"cache-control", b"private, no-store"),
    (b"x-content-type-options", b"nosniff"),
)
BODY_S: Final = 60.0  # a body that takes longer is a client that holds the connection, not one that sends
_FIRST_EVENT_S: Final = 1.0  # then the head goes out, whatever comes
_CLOSE: Final[Header] = (b"connection", b"close")
# A cache hit is answered before this, so that it costs no second task.
_WATCH_AFTER_S: Final = 0.02


class Reply(msgspec.Struct, frozen=True):
    """A complete response. `headers` come on top of the base headers and the request id."""

    status: int = 200
    body: bytes = b""
    content_type: bytes = JSON
    headers: tuple[Header, ...] = ()


class Events(msgspec.Struct, frozen=True):
    """A response of server-sent events. Each item is one encoded event (see `event`); iterate once, always closed."""

    items: AsyncIterator[bytes]
    headers: tuple[Header, ...] = ()


class BodyTooSlow(RequestError):
    """RFC 9110, section 15.5.9."""

    code = "request_timeout"
    http_status = 408


class ClientGone(Exception):
    """The client closed the connection before its answer was complete: nobody is left to tell."""


def event(data: bytes, name: str = "") -> bytes:
    """One server-sent event; a newline inside `data` continues it, as the format says."""
    if b"\n" in data or b"\r" in data:
        data = b"\ndata: ".join(data.splitlines())
    return b"event: %s\ndata: %s\n\n" % (name.encode(), data) if name else b"data: %s\n\n" % data


class Exchange:
    """What one request and its reply share. Owned by the task that serves the request.

    status   of the reply, 0 until it starts; for metrics
    started  headers are sent: an error can no longer change the status
    call     the model call this request is, once it is one: its verdicts go into the headers, of an error too
    known    after a cache hit: by what the same bytes may be answered at once
    """

    __slots__ = (
        "_held",
        "_in_flight",
        "_last",
        "_receive",
        "_send",
        "call",
        "complete",
        "headers",
        "known",
        "request_id",
        "scope",
        "started",
        "status",
    )

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, *, last: bool = False, in_flight: InFlight | None = None
    ) -> None:
        self.scope = scope
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.request_id = new_id()
        self.call: Call | None = None
        self.known: Known | None = None
        self.started = False
        self.complete = False
        self.status = 0
        self._receive = receive
        self._send = send
        self._in_flight = in_flight
        self._held = 0
        self._last = last  # the server is draining: the connection is not kept

    def header(self, name: bytes) -> str:
        """A header's value, "" when it is absent. `name` in lower case."""
        return self.headers.get(name, b"").decode("latin-1")

    @property
    def client_host(self) -> str:
        client = self.scope.get("client")
        return str(client[0]) if client else ""

    async def body(self, limit_bytes: int) -> bytes:
        """The whole body. Raises TooLarge over `limit_bytes` (before reading, where the length is declared), and
        ServerExhausted."""
        declared = self.headers.get(b"content-length", b"")
        if declared.isdigit() and int(declared) > limit_bytes:
            raise _too_large(limit_bytes)
        try:
            return await within(self._whole(limit_bytes), BODY_S)
        except TimeoutError:
            raise BodyTooSlow(f"The request's body did not arrive within {BODY_S:.0f} s.") from None

    async def _whole(self, limit_bytes: int) -> bytes:
        message = await self._receive()
        first: bytes = message.get("body", b"")
        if message["type"] == "http.request" and not message.get("more_body", False) and len(first) <= limit_bytes:
            return first
        parts, size = [first], len(first)
        self._hold(size)
        while message["type"] == "http.request" and message.get("more_body", False) and size <= limit_bytes:
            message = await self._receive()
            parts.append(message.get("body", b""))
            self._hold(len(parts[-1]))
            size += len(parts[-1])
        if message["type"] == "http.disconnect":
            raise ClientGone
        if size > limit_bytes:
            raise _too_large(limit_bytes)
        return b"".join(parts)

    def _hold(self, count: int) -> None:
        """Raises ServerExhausted when bodies take all the room there is for them."""
        if self._in_flight is not None and count:
            self._in_flight.take(count, self._held)
            self._held += count

    def forget(self) -> None:
        """The request is over, and its body with it."""
        if self._in_flight is not None and self._held:
            self._in_flight.give(self._held)
            self._held = 0

    async def stream(self, limit_bytes: int) -> AsyncIterator[bytes]:
        """The body in pieces, for forms. Raises TooLarge once more than `limit_bytes` came, ClientGone when it is cut."""
        declared = self.headers.get(b"content-length", b"")
        if declared.isdigit() and int(declared) > limit_bytes:
            raise _too_large(limit_bytes)
        size, more = 0, True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            piece: bytes = message.get("body", b"")
            self._hold(len(piece))
            size += len(piece)
            if size > limit_bytes:
                raise _too_large(limit_bytes)
            more = message.get("more_body", False)
            yield piece

    async def disconnected(self) -> None:
        """Return when the client has gone. Only after the body was read."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def reply(self, reply: Reply) -> None:
        length = (b"content-length", b"%d" % len(reply.body))
        await self._start(reply.status, reply.content_type, (length, *reply.headers))
        self.complete = True
        await self._send({"type": "http.response.body", "body": reply.body})

    async def begin_events(self, headers: Sequence[Header] = ()) -> None:
        # A proxy that buffers would hold the first token back.
        await self._start(200, EVENTS, ((b"x-accel-buffering", b"no"), *headers))

    async def push(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end_events(self) -> None:
        self.complete = True
        await self._send({"type": "http.response.body", "body": b""})

    async def send_events(self, events: Events) -> None:
        """An error before the first event, if it comes soon, is raised before the head goes out, and so told with its status."""
        # The head has a task of its own, not the events: what they time and cancel is the task that reads them.
        head = asyncio.create_task(self._head_soon(events.headers))
        try:
            try:
                item = await anext(events.items, None)
            finally:
                await self._settled(head)
            if not self.started:
                await self.begin_events(events.headers)
            while item is not None:
                await self.push(item)
                item = await anext(events.items, None)
        finally:
            aclose = getattr(events.items, "aclose", None)
            if aclose is not None:
                await aclose()
        await self.end_events()

    async def _head_soon(self, headers: Sequence[Header]) -> None:
        await asyncio.sleep(_FIRST_EVENT_S)
        await self.begin_events(headers)
        await self.push(b"")

    async def _settled(self, head: asyncio.Task[None]) -> None:
        """Not begun, it never will be; begun, it is waited for."""
        if not self.started:
            head.cancel()
        await asyncio.wait((head,))

    async def _start(self, status: int, content_type: bytes, headers: Sequence[Header]) -> None:
        self.started, self.status = True, status
        sent = [
            (b"content-type", content_type),
            (b"x-request-id", self.request_id.encode()),
            *BASE_HEADERS,
            *headers,
        ]
        if self._last:
            sent.append(_CLOSE)
        await self._send({"type": "http.response.start", "status": status, "headers": sent})


class Watch:
    """Cancels the request's own task when its client goes away, and turns that into ClientGone.

    Costs a timer for a request that is answered quickly, a task for one that is not.
    """

    __slots__ = ("_exchange", "_gone", "_task", "_timer", "_watcher")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._gone = False
        self._watcher: asyncio.Task[None] | None = None

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._timer = asyncio.get_running_loop().call_later(_WATCH_AFTER_S, self._begin)

    def _begin(self) -> None:
        self._watcher = self._task.get_loop().create_task(self._run())

    async def _run(self) -> None:
        await self._exchange.disconnected()
        if not self._exchange.complete:
            self._gone = True
            self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
        if self._gone and isinstance(error, asyncio.CancelledError) and self._task.uncancel() == 0:
            raise ClientGone from None


async def watched(exchange: Exchange, work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns; it is cancelled when the client goes away (raises ClientGone)."""
    try:
        first = work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    with Watch(exchange):
        return await rest(work, first)


def _too_large(limit_bytes: int) -> TooLarge:
    return TooLarge(f"The request body is larger than {limit_bytes} bytes.")


def decode_object(body: bytes) -> dict[str, object]:
    """A JSON object. Raises InvalidRequest for anything else."""
    try:
        view = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"The body is not valid JSON: {_plain(error)}.") from None
    if not isinstance(view, dict):
        raise InvalidRequest("The body must be a JSON object.")
    return view


def _plain(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    text = str(error) if isinstance(error, msgspec.DecodeError) else "it is not UTF-8"
    return text.removeprefix("JSON is malformed: ").rstrip(".")
