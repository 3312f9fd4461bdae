"""Hears over pub/sub what any process removes, and keeps the near cache shut while it cannot.

The server sends messages and answers to PING in order on one connection: when the answer to a PING sent at T is here, so is every
message from before T. So the near cache is certain until `CERTAIN_S` after T.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from valkey.asyncio.connection import AbstractConnection
from valkey.exceptions import InvalidResponse, ValkeyError

from bascule.plugins.state_stores.valkey.line import abort
from bascule.plugins.state_stores.valkey.near import Near

PING_EVERY_S: Final = 0.5
CERTAIN_S: Final = 1.0
SILENT_S: Final = 2.0
RETRY_S: Final = 1.0
OPEN_S: Final = 1.0


class Feed:
    def __init__(self, make: Callable[[], AbstractConnection], channel: bytes, near: Near) -> None:
        self._make = make
        self._channel = channel
        self._near = near
        self._heard_s = 0.0
        self._sent: deque[bytes] = deque()

    async def run(self) -> None:
        while True:
            try:
                await self._listen()
            except (ValkeyError, OSError, TimeoutError):
                pass  # the commands' connections tell of it
            finally:
                self._near.shut()
            await asyncio.sleep(RETRY_S)

    async def _listen(self) -> None:
        connection = self._make()
        pinger: asyncio.Task[None] | None = None
        try:
            async with asyncio.timeout(OPEN_S):
                await connection.connect()  # type: ignore[no-untyped-call]
                await connection.send_command("SUBSCRIBE", self._channel)
            self._heard_s = time.monotonic()
            self._sent.clear()
            pinger = asyncio.create_task(self._ping(connection))
            while True:
                self._hear(await connection.read_response())
        finally:
            if pinger is not None:
                pinger.cancel()
            abort(connection)

    def _hear(self, message: list[Any]) -> None:
        kind, what = message[0], message[-1]
        if kind == b"pong":
            if not self._sent or what != self._sent.popleft():
                raise InvalidResponse("something between here and the server has lost an answer")
            self._heard_s = time.monotonic()
            self._near.extend(float(what) + CERTAIN_S)
        elif kind == b"subscribe":
            self._near.clear()
        elif what[:1] == b"t":
            self._near.purge(what[1:].decode("utf-8", "replace"))
        else:
            self._near.remove(what[1:].decode("utf-8", "replace"))

    async def _ping(self, connection: AbstractConnection) -> None:
        while True:
            if time.monotonic() - self._heard_s > SILENT_S:
                abort_later(connection)
                return
            writer = connection._writer
            if writer is None:
                return
            sent = repr(time.monotonic()).encode()
            self._sent.append(sent)
            writer.writelines(connection.pack_command("PING", sent))
            await asyncio.sleep(PING_EVERY_S)


def abort_later(connection: AbstractConnection) -> None:
    """End the connection under its reader, who then sees its end."""
    writer = connection._writer
    if writer is not None:
        writer.transport.abort()
