"""Identical work runs once (law 5): one upstream call for any number of identical requests under way in one cache scope.

The shared call belongs to no caller. It runs in a task of its own under the route's deadline; each waiter waits under its own.
Whoever comes late to a stream gets it from its first event. When the last waiter leaves, the upstream call is cancelled. A
refusal meant for the one who led (a limit, a crash) is never shared: the next waiter leads.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any, Final

from bascule.core.calls import Call
from bascule.core.chat import ChatChunk, ChatRequest, ChatResponse, ChatStream
from bascule.core.deadlines import Deadline
from bascule.core.embedding import EmbeddingRequest, EmbeddingResponse
from bascule.core.errors import BasculeError, UpstreamError, UpstreamInvalid, UpstreamTimeout, UpstreamUnavailable
from bascule.gateway.alarm import Alarm
from bascule.gateway.layer import Model
from bascule.gateway.metrics import SHARED
from bascule.gateway.routes import Route

JOINED_REASON: Final = "joined the same request under way"
# How long a leaving caller waits for the cancelled call to settle, so that its record says what it cost.
SETTLE_S: Final = 0.1

KeepResponse = Callable[[ChatRequest, Call, ChatResponse], Awaitable[None]]
KeepStream = Callable[[ChatRequest, Call, ChatStream, list[ChatChunk]], Awaitable[None]]


class _Waiter:
    __slots__ = ("call", "led", "woken")

    def __init__(self, call: Call, led: bool) -> None:
        self.call = call
        self.led = led
        self.woken: asyncio.Future[None] | None = None


class _Flight:
    """One shared call. `call` is its own; what happened to it is told to the first waiter, who pays for it."""

    __slots__ = ("call", "chunks", "error", "head", "key", "landed", "response", "task", "told", "waiters")

    def __init__(self, key: str, call: Call) -> None:
        self.key = key
        self.call = call
        self.chunks: list[ChatChunk] = []
        self.head: ChatStream | None = None
        self.response: Any = None
        self.error: BaseException | None = None
        self.landed = False
        self.told = False
        self.waiters: list[_Waiter] = []
        self.task: asyncio.Task[None]

    def wake(self) -> None:
        for waiter in self.waiters:
            if waiter.woken is not None and not waiter.woken.done():
                waiter.woken.set_result(None)

    async def wait(self, waiter: _Waiter) -> None:
        """Until something has changed since the waiter last looked."""
        waiter.woken = asyncio.get_running_loop().create_future()
        try:
            await waiter.woken
        finally:
            waiter.woken = None

    def tell(self) -> None:
        """Write the facts into the waiters' calls: once, before they see the end."""
        if self.told or not self.waiters:
            return
        self.told = True
        own = self.call
        for place, waiter in enumerate(self.waiters):
            call = waiter.call
            call.degraded.extend(own.degraded)
            if place == 0:
                call.attempts, call.usage, call.cost_usd = own.attempts, own.usage, own.cost_usd
            else:
                call.cost_usd = 0.0


class SingleFlight:
    __slots__ = ("_flights", "_keep_response", "_keep_stream", "_max_stream_bytes", "_next", "_routes", "_tasks")

    def __init__(self, next: Model, routes: Mapping[str, Route], max_stream_bytes: int) -> None:
        self._next = next
        self._routes = routes
        self._max_stream_bytes = max_stream_bytes
        self._flights: dict[str, _Flight] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._keep_response: KeepResponse | None = None
        self._keep_stream: KeepStream | None = None

    def keep_with(self, response: KeepResponse, stream: KeepStream) -> None:
        """What keeps a good answer: called once for each shared call, before anybody is told its end."""
        self._keep_response, self._keep_stream = response, stream

    @property
    def under_way(self) -> int:
        """Shared calls that have not ended."""
        return len(self._tasks)

    async def aclose(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def chat(self, request: ChatRequest, call: Call) -> ChatResponse:
        if not call.shared_key:
            return await self._next.chat(request, call)
        flight, waiter = await self._board(call, request.model, lambda flight: self._run_chat(flight, request))
        flight.waiters.remove(waiter)
        response: ChatResponse = flight.response
        return response

    async def embed(self, request: EmbeddingRequest, call: Call) -> EmbeddingResponse:
        if not call.shared_key:
            return await self._next.embed(request, call)
        flight, waiter = await self._board(call, request.model, lambda flight: self._run_embed(flight, request))
        flight.waiters.remove(waiter)
        response: EmbeddingResponse = flight.response
        return response

    async def stream(self, request: ChatRequest, call: Call) -> ChatStream:
        if not call.shared_key:
            return await self._next.stream(request, call)
        flight, waiter = await self._board(call, request.model, lambda flight: self._run_stream(flight, request))
        head = flight.head
        assert head is not None

        async def close() -> None:
            await self._leave(flight, waiter)

        return ChatStream(
            self._follow(flight, waiter), wire=head.wire, model=head.model, provider=head.provider, close=close
        )

    # ------------------------------------------------------------ waiters

    async def _board(
        self, call: Call, model: str, run: Callable[[_Flight], Coroutine[Any, Any, None]]
    ) -> tuple[_Flight, _Waiter]:
        """Join the flight of this key or lead a new one; returns when it has a first event or has landed well."""
        fresh = call.directives is not None and call.directives.no_cache
        while True:
            flight = None if fresh else self._flights.get(call.shared_key)
            waiter = _Waiter(call, led=flight is None)
            if flight is None:
                flight = self._launch(call, model, run)
            else:
                SHARED.inc()
                call.cache_reason = JOINED_REASON
                flight.call.document_ids |= call.document_ids
            flight.waiters.append(waiter)
            try:
                while not flight.landed and not flight.chunks:
                    await flight.wait(waiter)
            except BaseException:
                await self._leave(flight, waiter)
                raise
            if flight.chunks or flight.response is not None:
                return flight, waiter
            flight.waiters.remove(waiter)
            error = flight.error
            if isinstance(error, UpstreamError) or (waiter.led and error is not None):
                raise error.with_traceback(None)
            if waiter.led:
                raise UpstreamUnavailable("The call was stopped.")

    async def _follow(self, flight: _Flight, waiter: _Waiter) -> AsyncIterator[ChatChunk]:
        seen = 0
        try:
            while True:
                while seen < len(flight.chunks):
                    seen += 1
                    yield flight.chunks[seen - 1]
                if flight.chunks[-1].last:
                    return
                if flight.landed:
                    error = flight.error or UpstreamUnavailable("The model's answer was cut off.")
                    raise error.with_traceback(None)
                await flight.wait(waiter)
        finally:
            await self._leave(flight, waiter)

    async def _leave(self, flight: _Flight, waiter: _Waiter) -> None:
        if waiter not in flight.waiters:
            return
        if len(flight.waiters) == 1 and not flight.task.done():
            self._remove(flight)
            flight.task.cancel()
            await asyncio.wait({flight.task}, timeout=SETTLE_S)
            flight.tell()
        with suppress(ValueError):
            flight.waiters.remove(waiter)

    # ------------------------------------------------------------ the shared call

    def _launch(self, call: Call, model: str, run: Callable[[_Flight], Coroutine[Any, Any, None]]) -> _Flight:
        own = Call(
            call.principal,
            Deadline.after(self._routes[model].timeout_s),
            id=call.id,
            directives=call.directives,
            document_ids=call.document_ids,
        )
        own.route, own.shared_key, own.started_s = call.route, call.shared_key, call.started_s
        flight = self._flights[call.shared_key] = _Flight(call.shared_key, own)
        task = flight.task = asyncio.create_task(run(flight))
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._land(flight, task))
        return flight

    def _land(self, flight: _Flight, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._remove(flight)
        flight.error = None if task.cancelled() else task.exception()
        flight.landed = True
        if flight.error is None or isinstance(flight.error, BasculeError):
            flight.tell()
        flight.wake()

    def _remove(self, flight: _Flight) -> None:
        """Nobody joins it any more."""
        if self._flights.get(flight.key) is flight:
            del self._flights[flight.key]

    async def _run_chat(self, flight: _Flight, request: ChatRequest) -> None:
        try:
            with Alarm(flight.call.deadline.left_s()):
                response = await self._next.chat(request, flight.call)
        except TimeoutError:
            raise UpstreamTimeout("The model did not answer within the deadline.") from None
        if self._keep_response is not None:
            await self._keep_response(request, flight.call, response)
        flight.response = response

    async def _run_embed(self, flight: _Flight, request: EmbeddingRequest) -> None:
        try:
            with Alarm(flight.call.deadline.left_s()):
                flight.response = await self._next.embed(request, flight.call)
        except TimeoutError:
            raise UpstreamTimeout("The model did not answer within the deadline.") from None

    async def _run_stream(self, flight: _Flight, request: ChatRequest) -> None:
        try:
            with Alarm(flight.call.deadline.left_s()):
                stream = await self._next.stream(request, flight.call)
                flight.head = stream
                try:
                    last = await self._read(flight, stream)
                finally:
                    await stream.aclose()
        except TimeoutError:
            raise UpstreamTimeout("The model did not finish within the deadline.") from None
        # Kept and told before anybody sees the end, so that whoever asks next finds it.
        if self._keep_stream is not None:
            await self._keep_stream(request, flight.call, stream, [*flight.chunks, last])
        self._remove(flight)
        flight.tell()
        flight.chunks.append(last)
        flight.wake()

    async def _read(self, flight: _Flight, stream: ChatStream) -> ChatChunk:
        """Share every event but the last, which is returned."""
        size_bytes = 0
        async for chunk in stream:
            if chunk.last:
                return chunk
            size_bytes += len(chunk.data)
            if size_bytes > self._max_stream_bytes:
                raise UpstreamInvalid("The model's answer is too large.", provider=stream.provider)
            flight.chunks.append(chunk)
            flight.wake()
        raise UpstreamUnavailable("The model's answer was cut off.", provider=stream.provider)
