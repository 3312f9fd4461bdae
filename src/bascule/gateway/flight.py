"""One shared call while it is under way: what has come so far, who waits for it, and how far it may run ahead of its readers."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from bascule.core.calls import Call
from bascule.core.chat import ChatChunk, ChatStream

# The upstream is not read further while nobody has taken the last so many bytes: a client that reads slowly, or not at all,
# costs this much and no more. It is some hundred thousand words: no answer for a person comes near it.
AHEAD_BYTES: Final = 1_000_000


class Waiter:
    __slots__ = ("call", "led", "woken")

    def __init__(self, call: Call, led: bool) -> None:
        self.call = call
        self.led = led
        self.woken: asyncio.Future[None] | None = None


class Flight:
    """`call` is its own; what happened to it is told to the first waiter, who pays for it.

    taken         how many chunks the fastest reader has had
    untaken_bytes of those that nobody has had yet
    """

    __slots__ = (
        "_room",
        "call",
        "chunks",
        "error",
        "head",
        "key",
        "landed",
        "response",
        "taken",
        "task",
        "told",
        "untaken_bytes",
        "waiters",
    )

    def __init__(self, key: str, call: Call) -> None:
        self.key = key
        self.call = call
        self.chunks: list[ChatChunk] = []
        self.head: ChatStream | None = None
        self.response: Any = None
        self.error: BaseException | None = None
        self.landed = False
        self.told = False
        self.waiters: list[Waiter] = []
        self.taken = 0
        self.untaken_bytes = 0
        self._room: asyncio.Future[None] | None = None
        self.task: asyncio.Task[None]

    def wake(self) -> None:
        for waiter in self.waiters:
            if waiter.woken is not None and not waiter.woken.done():
                waiter.woken.set_result(None)

    async def wait(self, waiter: Waiter) -> None:
        """Until something has changed since the waiter last looked."""
        waiter.woken = asyncio.get_running_loop().create_future()
        try:
            await waiter.woken
        finally:
            waiter.woken = None

    def add(self, chunk: ChatChunk) -> None:
        self.chunks.append(chunk)
        self.untaken_bytes += len(chunk.data)
        self.wake()

    async def room(self) -> None:
        """Until the fastest reader has taken half of what lies before it."""
        self._room = asyncio.get_running_loop().create_future()
        try:
            await self._room
        finally:
            self._room = None

    def take(self, place: int) -> ChatChunk:
        """The chunk at this place, for one reader."""
        chunk = self.chunks[place]
        if place == self.taken:
            self.taken += 1
            self.untaken_bytes -= len(chunk.data)
            if self._room is not None and self.untaken_bytes <= AHEAD_BYTES // 2 and not self._room.done():
                self._room.set_result(None)
        return chunk

    def tell(self) -> None:
        """Write the facts into the waiters' calls: once, before they see the end."""
        if self.told or not self.waiters:
            return
        self.told = True
        own = self.call
        for place, waiter in enumerate(self.waiters):
            call = waiter.call
            call.degraded.extend(own.degraded)
            if own.cache == "HIT":
                call.cache, call.cache_reason, call.age_s = "HIT", own.cache_reason, own.age_s
            if place == 0:
                call.attempts, call.usage, call.cost_usd = own.attempts, own.usage, own.cost_usd
            else:
                call.cost_usd = 0.0
