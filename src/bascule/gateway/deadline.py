"""One total deadline per request (law 7): everything below lives inside it, a stream to its end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from bascule.core.calls import Call
from bascule.core.chat import ChatChunk, ChatRequest, ChatResponse, ChatStream
from bascule.core.deadlines import Deadline
from bascule.core.embedding import EmbeddingRequest, EmbeddingResponse
from bascule.core.errors import UpstreamTimeout
from bascule.gateway.alarm import LongAlarm, within
from bascule.gateway.layer import Model
from bascule.gateway.routes import Route

_MESSAGE = "The model did not answer within the deadline."


class Deadlines:
    """A call's own deadline may be shorter than its route's, never longer. Raises UpstreamTimeout."""

    __slots__ = ("_default_s", "_next", "_timeouts_s")

    def __init__(self, next: Model, routes: Mapping[str, Route], default_s: float) -> None:
        self._next = next
        self._timeouts_s = {name: route.timeout_s for name, route in routes.items()}
        self._default_s = default_s

    async def chat(self, request: ChatRequest, call: Call) -> ChatResponse:
        try:
            left_s = self._left_s(request.model, call)
            return await within(self._next.chat(request, call), left_s)
        except TimeoutError:
            raise UpstreamTimeout(_MESSAGE) from None

    async def embed(self, request: EmbeddingRequest, call: Call) -> EmbeddingResponse:
        try:
            left_s = self._left_s(request.model, call)
            return await within(self._next.embed(request, call), left_s)
        except TimeoutError:
            raise UpstreamTimeout(_MESSAGE) from None

    async def stream(self, request: ChatRequest, call: Call) -> ChatStream:
        try:
            left_s = self._left_s(request.model, call)
            inner = await within(self._next.stream(request, call), left_s)
        except TimeoutError:
            raise UpstreamTimeout(_MESSAGE) from None
        return ChatStream(
            _timed(inner, call.deadline),
            wire=inner.wire,
            model=inner.model,
            provider=inner.provider,
            close=inner.aclose,
        )

    def _left_s(self, model: str, call: Call) -> float:
        longest = Deadline(call.started_s + self._timeouts_s.get(model, self._default_s))
        if longest.at_s < call.deadline.at_s:
            call.deadline = longest
        return call.deadline.check()


async def _timed(inner: ChatStream, deadline: Deadline) -> AsyncIterator[ChatChunk]:
    # The timeout never spans a yield: it would then cancel whatever the caller does with the chunk.
    chunks, alarm = aiter(inner), LongAlarm(deadline.left_s())
    try:
        while True:
            deadline.check()
            with alarm:
                try:
                    chunk = await anext(chunks)
                except StopAsyncIteration:
                    return
            yield chunk
    except TimeoutError:
        raise UpstreamTimeout(_MESSAGE) from None
    finally:
        alarm.off()
        await inner.aclose()
