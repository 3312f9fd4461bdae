"""One connection to the server that many calls use at once: commands go out together, answers come back in order.

A connection for each call would cost each call its own writes and reads, and would have to be thrown away whenever a call is
cancelled in the middle. Here a cancelled call's answer is read and dropped. The library connects, authenticates and parses.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from valkey.asyncio.connection import AbstractConnection
from valkey.exceptions import ResponseError, ValkeyError

# After its time is up, an answer may be here and not yet be read, where this process was busy.
GRACE_S: Final = 0.02


class Lost(Exception):
    """The connection broke, or the server was silent. Whether it did what it was asked to is not known."""


class Line:
    """`on_lost` is called once, with the reason, when the connection breaks or an answer takes longer than `timeout_s`."""

    def __init__(
        self, connection: AbstractConnection, timeout_s: float, on_lost: Callable[[str], None] = lambda reason: None
    ) -> None:
        self._connection = connection
        self._timeout_s = timeout_s
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._out: list[bytes] = []
        self._waiting: deque[tuple[float, asyncio.Future[Any]]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._overdue: asyncio.Future[Any] | None = None
        self._reader: asyncio.Task[None] | None = None
        self._reason = ""

    @property
    def lost(self) -> str:
        """Why it can no longer be used; "" while it can."""
        return self._reason

    async def open(self) -> None:
        """Raises ValkeyError and OSError."""
        try:
            await self._connection.connect()  # type: ignore[no-untyped-call]
        except BaseException:
            self.close()
            raise
        self._reader = self._loop.create_task(self._read())

    def ask(self, *command: str | bytes | int | float) -> asyncio.Future[Any]:
        """The answer is a future that may raise Lost and ResponseError. Commands are carried out in the order of asking."""
        future: asyncio.Future[Any] = self._loop.create_future()
        if self._reason:
            future.set_exception(Lost(self._reason))
            return future
        if not self._out:
            self._loop.call_soon(self._send)
        self._out.extend(self._connection.pack_command(*command))
        until_s = self._loop.time() + self._timeout_s
        self._waiting.append((until_s, future))
        if self._timer is None:
            self._timer = self._loop.call_at(until_s, self._check)
        return future

    def close(self, reason: str = "closed") -> None:
        """Drop the connection at once: what was not sent is never carried out."""
        if self._reason:
            return
        self._reason = reason
        if self._timer is not None:
            self._timer.cancel()
        if self._reader is not None:
            self._reader.cancel()
        abort(self._connection)
        self._out.clear()
        while self._waiting:
            future = self._waiting.popleft()[1]
            if not future.done():
                future.set_exception(Lost(reason))
                future.exception()  # whoever waits still gets it; nobody may be waiting

    async def aclose(self) -> None:
        self.close()
        if self._reader is not None:
            with suppress(asyncio.CancelledError):
                await self._reader

    def _send(self) -> None:
        writer = self._connection._writer
        if not self._reason and writer is not None:
            writer.writelines(self._out)
        self._out.clear()

    async def _read(self) -> None:
        try:
            while True:
                try:
                    answer = await self._connection.read_response()
                except ResponseError as error:
                    answer = error
                future = self._waiting.popleft()[1]
                if future.done():
                    continue  # its caller left
                if isinstance(answer, ResponseError):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)
        except (ValkeyError, OSError) as error:
            self._lose(str(error) or type(error).__name__)
        except IndexError:
            self._lose("an answer to nothing")

    def _check(self) -> None:
        """Whether the oldest answer is overdue: all come in order, so that the others wait for it."""
        self._timer = None
        if not self._waiting:
            return
        until_s, future = self._waiting[0]
        now_s = self._loop.time()
        if until_s > now_s:
            self._timer = self._loop.call_at(until_s, self._check)
        elif self._overdue is not future:
            self._overdue = future
            self._timer = self._loop.call_later(GRACE_S, self._check)
        else:
            self._lose(f"no answer within {self._timeout_s} s")

    def _lose(self, reason: str) -> None:
        if not self._reason:
            self.close(reason)
            self._on_lost(reason)


def abort(connection: AbstractConnection) -> None:
    """Close without sending what is still buffered; the library's own way waits for that."""
    writer = connection._writer
    connection._reader = connection._writer = None
    connection._parser.on_disconnect()  # type: ignore[no-untyped-call]
    if writer is not None:
        writer.transport.abort()
