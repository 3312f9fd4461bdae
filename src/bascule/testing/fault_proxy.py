"""A proxy on loopback that stands between Bascule and a vendor and does what networks and broken vendors do.

Raw TCP, one `Plan` for each connection: late, silent, dripping, cut, reset, torn into tiny pieces, altered, or an answer of
its own that no HTTP library would send.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

HEADERS_END: Final = b"\r\n\r\n"
_READ_BYTES: Final = 65_536
_NEVER_S: Final = 3_600.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What befalls one connection, in the direction of the answer.

    fault        at `at`: "reset" (RST), "cut" (FIN), "stall" (half-open: nothing more, no FIN), "drip" (`drip_bytes` every
                 `drip_s` from there on), "pass" (nothing)
    at           how many bytes of the answer pass unharmed, its headers counted; or the bytes with whose end it strikes
    silent       a black hole: accepts and never answers; the vendor is not asked
    latency_s    before the first byte of the answer
    slice_bytes  pieces of that size, each sent by itself
    edit         what becomes of each piece that came from the vendor
    answer       from the request's body, these pieces instead of the vendor's answer, then FIN (or what `fault` says)
    early        `answer` goes out before the request is read
    """

    fault: Literal["pass", "reset", "cut", "stall", "drip"] = "pass"
    at: int | bytes = 0
    silent: bool = False
    latency_s: float = 0.0
    slice_bytes: int | None = None
    drip_s: float = 10.0
    drip_bytes: int = 1
    edit: Callable[[bytes], bytes] | None = None
    answer: Callable[[bytes], Iterable[bytes] | AsyncIterator[bytes]] | None = None
    early: bool = False


HEALTHY: Final = Plan()


def canned(*pieces: bytes, then: Literal["pass", "reset", "stall"] = "pass", early: bool = False) -> Plan:
    """These very bytes as the answer; then FIN, RST, or silence with the connection open."""
    at = sum(map(len, pieces)) if then != "pass" else 0
    return Plan(answer=lambda _: pieces, fault=then, at=at, early=early)


def http_answer(
    body: bytes,
    *,
    status: str = "200 OK",
    content_type: str = "application/json",
    length: int | None = None,
    headers: Iterable[str] = (),
) -> bytes:
    """An HTTP/1.1 answer by hand. `length` is what it claims, by default the truth."""
    lines = [f"HTTP/1.1 {status}", f"content-type: {content_type}", *headers]
    lines.append(f"content-length: {len(body) if length is None else length}")
    return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass(eq=False)
class FaultProxy:
    """`plans` are used up one by one, a connection each; then `always` holds. `heal()` makes it a plain proxy.

    accepted    connections so far
    open        connections that Bascule holds at this moment
    sent_bytes  of answers, over all connections: what Bascule's side has taken
    """

    vendor: tuple[str, int]
    plans: deque[Plan] = field(default_factory=deque)
    always: Plan = HEALTHY
    accepted: int = 0
    sent_bytes: int = 0
    port: int = 0
    _open: dict[asyncio.Task[None], Plan] = field(default_factory=dict)
    _server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def open(self) -> int:
        return len(self._open)

    @property
    def ill(self) -> int:
        """Open connections under a plan other than HEALTHY: 0 once Bascule has given up on them."""
        return sum(plan is not HEALTHY for plan in self._open.values())

    def heal(self) -> None:
        self.plans.clear()
        self.always = HEALTHY

    async def open_door(self) -> None:
        """Listen, on the same port as before."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=_READ_BYTES, backlog=2048)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close_door(self) -> None:
        """Refuse new connections and end those there are."""
        if self._server is not None:
            self._server.close()
            self._server = None
        await self.drop()

    async def drop(self) -> None:
        tasks = list(self._open)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        plan = self.plans.popleft() if self.plans else self.always
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = plan
        try:
            await self._relay(plan, reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # its peer left, or the proxy is closed
        finally:
            del self._open[task]
            writer.close()

    async def _relay(self, plan: Plan, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        valve = _Valve(self, plan, writer)
        if plan.silent:
            await _until_end(reader)
        elif plan.answer is not None:
            await self._canned(plan, reader, valve)
        else:
            up_reader, up_writer = await asyncio.open_connection(*self.vendor)
            try:
                await _first_of(_copy(reader, up_writer), valve.pump(up_reader), _gone(writer))
            finally:
                up_writer.close()

    async def _canned(self, plan: Plan, reader: asyncio.StreamReader, valve: _Valve) -> None:
        assert plan.answer is not None
        body = b"" if plan.early else await _read_request(reader)
        # Bascule may close while an answer without an end is being sent.
        await _first_of(valve.send_all(plan.answer(body)), _until_end(reader))


class _Valve:
    """Lets an answer through as its plan says."""

    def __init__(self, proxy: FaultProxy, plan: Plan, writer: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._plan = plan
        self._writer = writer
        self._passed = 0
        self._tail = b""
        self._begun = False

    async def pump(self, reader: asyncio.StreamReader) -> None:
        while piece := await reader.read(_READ_BYTES):
            await self._send(piece if self._plan.edit is None else self._plan.edit(piece))

    async def send_all(self, pieces: Iterable[bytes] | AsyncIterator[bytes]) -> None:
        if isinstance(pieces, AsyncIterator):
            async for piece in pieces:
                await self._send(piece)
        else:
            for piece in pieces:
                await self._send(piece)
        await self._writer.drain()

    async def _send(self, piece: bytes) -> None:
        if not self._begun:
            self._begun = True
            await asyncio.sleep(self._plan.latency_s)
        if self._plan.fault == "pass":
            await self._put(piece)
            return
        whole, rest = self._split(piece)
        await self._put(whole)
        if rest is not None:
            await self._strike(rest)

    def _split(self, piece: bytes) -> tuple[bytes, bytes | None]:
        """(what passes, what is left where the fault strikes; None before it does)."""
        at, before = self._plan.at, self._passed
        if isinstance(at, int):
            place = at - before
        else:
            block = self._tail + piece
            found = block.find(at)
            place = len(piece) + 1 if found < 0 else found + len(at) - len(self._tail)
            self._tail = block[-len(at) :]
        self._passed += len(piece)
        return (piece, None) if place > len(piece) else (piece[:place], piece[place:])

    async def _strike(self, rest: bytes) -> None:
        await self._writer.drain()
        if self._plan.fault == "reset":
            connection = self._writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._writer.transport.abort()
            raise ConnectionResetError
        if self._plan.fault == "cut":
            raise ConnectionAbortedError
        if self._plan.fault == "stall":
            await asyncio.sleep(_NEVER_S)
        for place in range(0, len(rest), self._plan.drip_bytes):
            await self._put(rest[place : place + self._plan.drip_bytes])
            await asyncio.sleep(self._plan.drip_s)

    async def _put(self, data: bytes) -> None:
        size = self._plan.slice_bytes or len(data)
        for place in range(0, len(data), size or 1):
            self._writer.write(data[place : place + size])
            await self._writer.drain()
            self._proxy.sent_bytes += min(size, len(data) - place)
            if size < len(data):
                await asyncio.sleep(0)


async def _read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(HEADERS_END)
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return await reader.readexactly(int(value))
    return b""


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(_READ_BYTES):
        writer.write(piece)
        await writer.drain()


async def _until_end(reader: asyncio.StreamReader) -> None:
    while await reader.read(_READ_BYTES):
        pass


async def _gone(writer: asyncio.StreamWriter) -> None:
    """Return when the connection is lost, also while nobody reads from it."""
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def _first_of(*works: object) -> None:
    """Run them side by side; when one ends, the others are cancelled. What one raised is raised."""
    tasks = [asyncio.ensure_future(work) for work in works]  # type: ignore[call-overload]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        await task


@asynccontextmanager
async def fault_proxy(vendor_url: str, plan: Plan = HEALTHY) -> AsyncIterator[FaultProxy]:
    """A proxy to the vendor at `vendor_url` (http://HOST:PORT/...), on a free loopback port."""
    host, _, port = vendor_url.split("/")[2].rpartition(":")
    proxy = FaultProxy((host, int(port)), always=plan)
    await proxy.open_door()
    try:
        yield proxy
    finally:
        await proxy.close_door()


@asynccontextmanager
async def full_backlog() -> AsyncIterator[str]:
    """The base URL of a server that never accepts and whose queue is full: a connection to it is never made."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect(listener.getsockname())
        await asyncio.sleep(0)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"


@asynccontextmanager
async def self_signed_server(folder: Path) -> AsyncIterator[str]:
    """The base URL of a server whose certificate nobody vouches for. `folder` takes the certificate."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    making = await asyncio.create_subprocess_exec(
        "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=127.0.0.1",
        "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    if await making.wait() != 0:
        raise RuntimeError("openssl could not make a certificate")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    async with server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
