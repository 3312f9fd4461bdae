"""One GET over one connection to one address: HTTP/1.1 read by llhttp (httptools), bounded in every direction."""

from __future__ import annotations

import asyncio
import ssl
import zlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import httptools

from bascule.core.errors import IngestError
from bascule.core.urls import WebUrl

MAX_HEAD_BYTES: Final = 131_072  # as they come, interim answers counted
MAX_HEADERS: Final = 128
PIECE_BYTES: Final = 65_536
_ZIPPED: Final = frozenset({"gzip", "x-gzip", "deflate"})
_NO_BODY: Final = frozenset({204, 304})

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Dial = Callable[[str, int, ssl.SSLContext | None, str], Awaitable[Streams]]


def invalid(why: str) -> IngestError:
    return IngestError(f"The site's answer cannot be used: {why}.", reason="invalid_answer")


def unreachable() -> IngestError:
    return IngestError("The site cannot be reached.", reason="unreachable", transient=True)


def too_large(limit_bytes: int) -> IngestError:
    return IngestError(f"The page is larger than {limit_bytes:,} bytes. Raise the source's limit.", reason="too_large")


async def dial(address: str, port: int, context: ssl.SSLContext | None, name: str) -> Streams:
    """A connection to an address, never to a name; `name` is what the certificate must be for."""
    return await asyncio.open_connection(
        address, port, ssl=context, server_hostname=name if context is not None else None, limit=PIECE_BYTES
    )


def request_head(url: WebUrl, headers: Mapping[str, str]) -> bytes:
    lines = [f"GET {url.target} HTTP/1.1", f"host: {url.authority}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += ["accept-encoding: gzip, deflate", "connection: close"]
    if any(char in line for line in lines for char in "\r\n\0"):
        raise invalid("a header of the source holds a line break")
    try:
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
    except UnicodeEncodeError:
        raise invalid("a header of the source holds a letter that no header can hold") from None


class Exchange:
    """What has arrived of one answer. `read_head` and then, where wanted, `read_body`."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._parser = httptools.HttpResponseParser(self)
        self._parts: list[bytes] = []
        self._head_bytes = 0
        self._fields = 0
        self._framed = False
        self.headers: dict[str, str] = {}
        self.status = 0
        self._head_done = False
        self._ended = False

    async def read_head(self) -> None:
        while not self._head_done:
            await self._feed()

    async def read_body(self, limit_bytes: int) -> bytes:
        """Unpacked. Raises IngestError over `limit_bytes`, packed or unpacked, and for a body that is cut or cannot be unpacked."""
        length = self.headers.get("content-length", "")
        if length.isdigit() and int(length) > limit_bytes:
            raise too_large(limit_bytes)
        encoding = self.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in _ZIPPED and encoding != "identity":
            raise invalid("it is packed in a way that was not asked for")
        body = _Body(limit_bytes, packed=encoding != "identity")
        while True:
            for part in self._parts:
                body.add(part)
            self._parts.clear()
            if self._ended:
                return body.whole()
            await self._feed()

    async def _feed(self) -> None:
        data = await self._reader.read(PIECE_BYTES)
        if not data:
            if not self._head_done:
                raise unreachable()
            if self._framed and not self._ended:
                raise IngestError("The site cut its answer short.", reason="unreachable", transient=True)
            self._ended = True
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not self._ended:  # what follows a whole answer is nobody's business
                raise invalid("it is not proper HTTP, or its headers are too many") from None
        if not self._head_done:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                raise invalid("its headers are too long")

    # ------------------------------------------------------------ httptools callbacks

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields += 1
        if self._ended:
            return
        if self._fields > MAX_HEADERS:
            raise ValueError("too many headers")
        key, text = name.decode("latin-1").lower(), _text(value)
        if key == "location" and key in self.headers:
            return  # the first holds, for everyone
        self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text

    def on_headers_complete(self) -> None:
        if self._ended:
            return
        self.status = self._parser.get_status_code()
        if self.status < 200:  # an interim answer: the real one follows
            self.headers.clear()
            return
        self._head_done = True
        self._framed = "content-length" in self.headers or "transfer-encoding" in self.headers
        if self.status in _NO_BODY:
            self._ended = True

    def on_body(self, body: bytes) -> None:
        if not self._ended:
            self._parts.append(body)

    def on_message_complete(self) -> None:
        if self._head_done:
            self._ended = True


class _Body:
    """Bytes under a limit; a bomb unfolds in bounded pieces and ends at the limit."""

    def __init__(self, limit_bytes: int, *, packed: bool) -> None:
        self._limit_bytes = limit_bytes
        self._packed_bytes = 0
        self._unpack = zlib.decompressobj(47) if packed else None  # 47: gzip or zlib, told apart by their first bytes
        self._data = bytearray()

    def add(self, part: bytes) -> None:
        self._packed_bytes += len(part)
        if self._packed_bytes > self._limit_bytes:
            raise too_large(self._limit_bytes)
        if self._unpack is None:
            self._data += part
            return
        try:
            while part:
                self._data += self._unpack.decompress(part, PIECE_BYTES)
                if len(self._data) > self._limit_bytes:
                    raise too_large(self._limit_bytes)
                part = self._unpack.unconsumed_tail
        except zlib.error:
            raise invalid("it cannot be unpacked") from None

    def whole(self) -> bytes:
        if self._unpack is not None and self._packed_bytes and not self._unpack.eof:
            raise invalid("it cannot be unpacked")
        return bytes(self._data)


def _text(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")
