"""The answer of one exchange, as the port `HttpReply` describes it."""

from __future__ import annotations

import zlib
from collections.abc import AsyncGenerator, Mapping
from typing import Final

from bascule.core.errors import UpstreamInvalid
from bascule.plugins.http_clients.httptools.connection import Connection, Exchange

PIECE_BYTES: Final = 65_536
_ZIPPED: Final = frozenset({b"gzip", b"x-gzip", b"deflate"})


class HttptoolsReply:
    __slots__ = ("_connection", "_exchange", "_headers", "status")

    def __init__(self, connection: Connection, exchange: Exchange) -> None:
        self._connection = connection
        self._exchange = exchange
        self._headers: dict[str, str] | None = None
        self.status = exchange.status

    @property
    def headers(self) -> Mapping[str, str]:
        if self._headers is None:
            self._headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in self._exchange.headers}
        return self._headers

    async def read(self, limit_bytes: int) -> bytes:
        exchange = self._exchange
        if (exchange.length or 0) > limit_bytes:
            raise _too_large(limit_bytes)
        if exchange.ended and not exchange.encoding and exchange.held_bytes <= limit_bytes:
            return self._connection.take(exchange)
        parts, size_bytes = [], 0
        async for piece in self.chunks():
            size_bytes += len(piece)
            if size_bytes > limit_bytes:
                raise _too_large(limit_bytes)
            parts.append(piece)
        return b"".join(parts)

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        encoding = self._exchange.encoding
        if not encoding or encoding == b"identity":
            async for piece in self._raw():
                yield piece
            return
        if encoding not in _ZIPPED:
            raise UpstreamInvalid("The model's provider sent an encoding that was not asked for.")
        # 47: gzip or zlib, told apart by their first bytes. A bomb unfolds in bounded pieces, under the reader's limit.
        unpack = zlib.decompressobj(47)
        async for piece in self._raw():
            try:
                while piece:
                    unpacked = unpack.decompress(piece, PIECE_BYTES)
                    piece = unpack.unconsumed_tail
                    if unpacked:
                        yield unpacked
            except zlib.error:
                raise UpstreamInvalid("The model's provider sent a body that cannot be unpacked.") from None
        if not unpack.eof:
            raise UpstreamInvalid("The model's provider sent a body that cannot be unpacked.")

    async def _raw(self) -> AsyncGenerator[bytes, None]:
        connection, exchange = self._connection, self._exchange
        while True:
            if exchange.parts:
                yield connection.take(exchange)
            elif exchange.error is not None:
                raise exchange.error
            elif exchange.ended:
                return
            else:
                await connection.wait(exchange)

    async def aclose(self) -> None:
        self._connection.abandon(self._exchange)


def _too_large(limit_bytes: int) -> UpstreamInvalid:
    return UpstreamInvalid(f"The model's provider answered with more than {limit_bytes} bytes.")
