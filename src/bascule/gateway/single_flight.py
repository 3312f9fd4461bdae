"""Identical work runs once (law 5): one upstream call for any number of identical requests under way in one cache scope.

The shared call belongs to no caller. It runs in a task of its own under the route's deadline; each waiter waits under its own.
Whoever comes late to a stream gets it from its first event; it is read from upstream no faster than its fastest reader takes it.
When the last waiter leaves, the upstream call is cancelled. A refusal meant for the one who led (a limit, a crash) is never
shared: the next waiter leads. Over several servers `replicas` decides which of them makes the call.
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
from bascule.gateway.flight import AHEAD_BYTES, Flight, Waiter
from bascule.gateway.kept import BATCHES, RESPONSES, STREAMS, KeptStream, replay
from bascule.gateway.layer import Model
from bascule.gateway.metrics import SHARED
from bascule.gateway.replicas import Replicas
from bascule.gateway.routes import Route

JOINED_REASON: Final = "joined the same request under way"
# How long a leaving caller waits for the cancelled call to settle, so that its record says what it cost.
SETTLE_S: Final = 0.1

KeepResponse = Callable[[ChatRequest, Call, ChatResponse], Awaitable[None]]
KeepBatch = Callable[[EmbeddingRequest, Call, EmbeddingResponse], Awaitable[None]]
KeepStream = Callable[[ChatRequest, Call, ChatStream, list[ChatChunk]], Awaitable[None]]


class SingleFlight:
    """`replicas`: None where no other server shares the state store."""

    __slots__ = (
        "_flights",
        "_keep_batch",
        "_keep_response",
        "_keep_stream",
        "_max_stream_bytes",
        "_next",
        "_replicas",
        "_routes",
        "_tasks",
    )

    def __init__(
        self, next: Model, routes: Mapping[str, Route], max_stream_bytes: int, replicas: Replicas | None = None
    ) -> None:
        self._next = next
        self._routes = routes
        self._max_stream_bytes = max_stream_bytes
        self._replicas = replicas
        self._flights: dict[str, Flight] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._keep_response: KeepResponse | None = None
        self._keep_stream: KeepStream | None = None
        self._keep_batch: KeepBatch | None = None

    def keep_with(self, response: KeepResponse, stream: KeepStream) -> None:
        """What keeps a good answer: called once for each shared call, before anybody is told its end."""
        self._keep_response, self._keep_stream = response, stream

    def hand_over_with(self, batch: KeepBatch) -> None:
        """What keeps an embedding call's answer for other servers that wait for it."""
        self._keep_batch = batch

    @property
    def under_way(self) -> int:
        """Shared calls that have not ended."""
        return len(self._tasks)

    async def aclose(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._replicas is not None:
            await self._replicas.aclose()

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
        self, call: Call, model: str, run: Callable[[Flight], Coroutine[Any, Any, None]]
    ) -> tuple[Flight, Waiter]:
        """Join the flight of this key or lead a new one; returns when it has a first event or has landed well."""
        fresh = call.directives is not None and call.directives.no_cache
        while True:
            flight = None if fresh else self._flights.get(call.shared_key)
            waiter = Waiter(call, led=flight is None)
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

    async def _follow(self, flight: Flight, waiter: Waiter) -> AsyncIterator[ChatChunk]:
        seen = 0
        try:
            while True:
                while seen < len(flight.chunks):
                    seen += 1
                    yield flight.take(seen - 1)
                if flight.chunks[-1].last:
                    return
                if flight.landed:
                    error = flight.error or UpstreamUnavailable("The model's answer was cut off.")
                    raise error.with_traceback(None)
                await flight.wait(waiter)
        finally:
            await self._leave(flight, waiter)

    async def _leave(self, flight: Flight, waiter: Waiter) -> None:
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

    def _launch(self, call: Call, model: str, run: Callable[[Flight], Coroutine[Any, Any, None]]) -> Flight:
        own = Call(
            call.principal,
            Deadline.after(self._routes[model].timeout_s),
            id=call.id,
            directives=call.directives,
            document_ids=call.document_ids,
        )
        own.route, own.shared_key, own.started_s = call.route, call.shared_key, call.started_s
        own.cache = call.cache
        flight = self._flights[call.shared_key] = Flight(call.shared_key, own)
        task = flight.task = asyncio.create_task(run(flight))
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._land(flight, task))
        return flight

    def _land(self, flight: Flight, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._remove(flight)
        flight.error = None if task.cancelled() else task.exception()
        flight.landed = True
        if flight.call.fence and self._replicas is not None:
            self._replicas.end(flight.call, well=flight.error is None and not task.cancelled())
        if flight.error is None or isinstance(flight.error, BasculeError):
            flight.tell()
        flight.wake()

    def _remove(self, flight: Flight) -> None:
        """Nobody joins it any more."""
        if self._flights.get(flight.key) is flight:
            del self._flights[flight.key]

    async def _run_chat(self, flight: Flight, request: ChatRequest) -> None:
        # Only a miss: what the cache was not to be asked for, nor could be, is not looked for there.
        if self._replicas is not None and flight.call.cache == "MISS":
            kept = await self._replicas.lead(flight.call, RESPONSES)
            if kept is not None:
                flight.response = kept.response
                return
        try:
            with Alarm(flight.call.deadline.left_s()):
                response = await self._next.chat(request, flight.call)
        except TimeoutError:
            raise UpstreamTimeout("The model did not answer within the deadline.") from None
        if self._keep_response is not None:
            await self._keep_response(request, flight.call, response)
        flight.response = response

    async def _run_embed(self, flight: Flight, request: EmbeddingRequest) -> None:
        if self._replicas is not None and flight.call.cache == "MISS":
            kept = await self._replicas.lead(flight.call, BATCHES)
            if kept is not None:
                flight.response = kept.response
                return
        try:
            with Alarm(flight.call.deadline.left_s()):
                response = await self._next.embed(request, flight.call)
        except TimeoutError:
            raise UpstreamTimeout("The model did not answer within the deadline.") from None
        if self._keep_batch is not None and flight.call.fence:
            await self._keep_batch(request, flight.call, response)
        flight.response = response

    async def _run_stream(self, flight: Flight, request: ChatRequest) -> None:
        if self._replicas is not None and flight.call.cache == "MISS":
            kept = await self._replicas.lead(flight.call, STREAMS)
            if kept is not None:
                self._replay(flight, kept)
                return
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

    def _replay(self, flight: Flight, kept: KeptStream) -> None:
        """A stream that another server has read to its end."""
        flight.head = replay(kept)
        self._remove(flight)
        flight.tell()
        flight.chunks.extend(kept.chunks)
        flight.wake()

    async def _read(self, flight: Flight, stream: ChatStream) -> ChatChunk:
        """Share every event but the last, which is returned."""
        size_bytes = 0
        async for chunk in stream:
            if chunk.last:
                return chunk
            size_bytes += len(chunk.data)
            if size_bytes > self._max_stream_bytes:
                raise UpstreamInvalid("The model's answer is too large.", provider=stream.provider)
            flight.add(chunk)
            if flight.untaken_bytes > AHEAD_BYTES:
                await flight.room()
        raise UpstreamUnavailable("The model's answer was cut off.", provider=stream.provider)
