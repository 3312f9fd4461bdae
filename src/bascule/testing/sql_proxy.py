"""A proxy between Bascule and Postgres that cuts connections at COMMIT: before the server hears of it, or before its answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

from bascule.testing.postgres import PostgresServer

_READ_BYTES = 65_536


@dataclass(eq=False)
class SqlProxy:
    """`cuts` are used up one a COMMIT of a transaction that said `of`; with none left it only passes on."""

    socket: str
    port: int = 0
    cuts: list[Literal["before", "after"]] = field(default_factory=list)
    of: bytes = b""
    struck: int = 0

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{database}?sslmode=disable&gssencmode=disable"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            up_reader, up_writer = await asyncio.open_unix_connection(self.socket)
            back = asyncio.create_task(_copy(up_reader, writer))
            try:
                await self._forward(reader, up_writer, up_reader, back)
            finally:
                back.cancel()
                await asyncio.gather(back, return_exceptions=True)
                up_writer.close()
        writer.transport.abort()

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        up: asyncio.StreamWriter,
        answers: asyncio.StreamReader,
        back: asyncio.Task[None],
    ) -> None:
        ours = False
        while not back.done() and (piece := await reader.read(_READ_BYTES)):
            ours = (ours and b"BEGIN" not in piece) or (self.cuts != [] and self.of in piece)
            if b"COMMIT" in piece and ours and self.cuts:
                self.struck += 1
                if self.cuts.pop(0) == "after":
                    back.cancel()
                    await asyncio.gather(back, return_exceptions=True)
                    up.write(piece)
                    await answers.read(1)  # it is done; nobody is told
                return
            ours = ours and b"COMMIT" not in piece
            up.write(piece)
            await up.drain()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The server's end is the client's end too."""
    with contextlib.suppress(OSError):
        while piece := await reader.read(_READ_BYTES):
            writer.write(piece)
            await writer.drain()
    writer.transport.abort()


@asynccontextmanager
async def sql_proxy(server: PostgresServer) -> AsyncIterator[SqlProxy]:
    proxy = SqlProxy(server.socket)
    listening = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = listening.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        listening.close()
