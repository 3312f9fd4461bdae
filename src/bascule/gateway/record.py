"""The outermost layer: every call leaves exactly one record, whatever becomes of it; a stream at its end."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final, Protocol

from bascule.core.calls import Call, CallRecord, KeptText, Outcome
from bascule.core.chat import ChatChunk, ChatRequest, ChatResponse, ChatStream
from bascule.core.deadlines import Deadline
from bascule.core.embedding import EmbeddingRequest, EmbeddingResponse
from bascule.core.errors import BasculeError
from bascule.gateway.kept_text import MAX_CHARS, kept_text
from bascule.gateway.layer import Model
from bascule.gateway.metrics import CallMetrics
from bascule.gateway.routes import Route

_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


class Room(Protocol):
    """Where records wait to be written. While it is full no call begins: a call whose record has no place could be lost."""

    @property
    def full(self) -> bool: ...

    async def wait(self, deadline: Deadline) -> None:
        """Until there is room. Raises StorageError when there is none before the deadline."""
        ...


class Record:
    """`sink` takes each record; it must not block. Nothing of the prompt or the answer is in one, unless the operator wants it
    for this model (`keep_text`)."""

    __slots__ = ("_metrics", "_next", "_room", "_routes", "_sink")

    def __init__(
        self,
        next: Model,
        sink: Callable[[CallRecord], None],
        metrics: CallMetrics,
        routes: Mapping[str, Route],
        room: Room | None = None,
    ) -> None:
        self._next = next
        self._sink = sink
        self._metrics = metrics
        self._routes = routes
        self._room = room

    async def chat(self, request: ChatRequest, call: Call) -> ChatResponse:
        if self._room is not None and self._room.full:
            await self._room.wait(call.deadline)
        try:
            response = await self._next.chat(request, call)
        except BaseException as error:
            self._fail(call, request, "chat", error)
            raise
        call.finish = response.finish or ""
        self._end(call, request, "chat", "ok", "", response.text)
        return response

    async def embed(self, request: EmbeddingRequest, call: Call) -> EmbeddingResponse:
        if self._room is not None and self._room.full:
            await self._room.wait(call.deadline)
        try:
            response = await self._next.embed(request, call)
        except BaseException as error:
            self._fail(call, request, "embed", error)
            raise
        self._end(call, request, "embed", "ok", "")
        return response

    async def stream(self, request: ChatRequest, call: Call) -> ChatStream:
        if self._room is not None and self._room.full:
            await self._room.wait(call.deadline)
        try:
            inner = await self._next.stream(request, call)
        except BaseException as error:
            self._fail(call, request, "stream", error)
            raise
        answer: list[str] = []
        if self.keeps(request.model):
            inner = ChatStream(
                _heard(inner, answer), wire=inner.wire, model=inner.model, provider=inner.provider, close=inner.aclose
            )
        watched = _Watched(self, inner, request, call, answer)
        return ChatStream(
            watched.chunks(), wire=inner.wire, model=inner.model, provider=inner.provider, close=watched.close
        )

    @property
    def must_wait(self) -> bool:
        return self._room is not None and self._room.full

    def write(self, record: CallRecord) -> None:
        self._metrics.count(record)
        self._sink(record)

    def keeps(self, model: str) -> bool:
        route = self._routes.get(model)
        return route is not None and route.keep_text

    def _fail(
        self,
        call: Call,
        request: ChatRequest | EmbeddingRequest,
        operation: str,
        error: BaseException,
        *,
        begun: bool = False,
        answer: str = "",
    ) -> None:
        if isinstance(error, (asyncio.CancelledError, GeneratorExit)):
            self._end(call, request, operation, "cancelled", "", answer)
            return
        code = error.code if isinstance(error, BasculeError) else BasculeError.code
        self._end(call, request, operation, "cut" if begun else "error", code, answer)

    def _end(
        self,
        call: Call,
        request: ChatRequest | EmbeddingRequest,
        operation: str,
        outcome: Outcome,
        error: str,
        answer: str = "",
    ) -> None:
        last = call.attempts[-1] if call.attempts else None
        usage = call.usage
        record = CallRecord(
            id=call.id,
            tenant=call.principal.tenant,
            subject=call.principal.subject,
            key_id=call.principal.key_id,
            operation=operation,
            model=request.model,
            provider=last.provider if last else "",
            provider_model=last.model if last else "",
            started_at_s=call.started_at_s,
            latency_s=call.elapsed_s,
            first_byte_s=call.first_byte_s,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cost_usd=call.cost_usd,
            cache=call.cache,
            cache_reason=call.cache_reason,
            outcome=outcome,
            error=error,
            attempts=tuple(call.attempts),
            degraded=tuple(call.degraded),
            cached_tokens=usage.cached_tokens,
            estimated=usage.estimated,
            finish=call.finish,
            end_user=call.end_user,
            policies=call.policies,
            traceparent=_checked(call.traceparent) if call.traceparent else "",
            text=self._text(request, answer, call),
        )
        self.write(record)

    def _text(self, request: ChatRequest | EmbeddingRequest, answer: str, call: Call) -> KeptText | None:
        # Texts to embed are documents' own: the catalogue keeps those, and lets them go.
        if isinstance(request, EmbeddingRequest) or not self.keeps(request.model):
            return None
        return kept_text(request, answer, call.document_ids)


def _checked(traceparent: str) -> str:
    """W3C Trace Context, version 00 and those compatible with it; "" for anything else."""
    found = _TRACEPARENT.match(traceparent)
    return found.group() if found else ""


class _Watched:
    """A stream on its way out: its record is written once, at its end, or when it is closed before."""

    __slots__ = ("_answer", "_call", "_ended", "_inner", "_layer", "_request")

    def __init__(self, layer: Record, inner: ChatStream, request: ChatRequest, call: Call, answer: list[str]) -> None:
        self._layer = layer
        self._inner = inner
        self._request = request
        self._call = call
        self._ended = False
        self._answer = answer

    async def chunks(self) -> AsyncIterator[ChatChunk]:
        call, finished = self._call, False
        try:
            async for chunk in self._inner:
                if call.first_byte_s is None:
                    call.first_byte_s = call.elapsed_s
                if chunk.finish is not None:
                    call.finish = chunk.finish
                finished = finished or chunk.last
                if finished:
                    # Facts are complete now, and the caller may close without asking for what follows the last event.
                    await self._inner.aclose()
                    self._finish("ok", "")
                yield chunk
        except BaseException as error:
            await self._inner.aclose()
            if not self._ended:
                self._ended = True
                begun = call.first_byte_s is not None
                self._layer._fail(call, self._request, "stream", error, begun=begun, answer="".join(self._answer))
            raise
        if not finished:
            self._finish("cut", "upstream_unavailable")

    async def close(self) -> None:
        await self._inner.aclose()
        self._finish("cancelled", "")

    def _finish(self, outcome: Outcome, error: str) -> None:
        if not self._ended:
            self._ended = True
            self._layer._end(self._call, self._request, "stream", outcome, error, "".join(self._answer))


async def _heard(inner: ChatStream, answer: list[str]) -> AsyncIterator[ChatChunk]:
    """Note the answer's text, up to what may be kept of it."""
    size = 0
    async for chunk in inner:
        if chunk.text and size < MAX_CHARS:
            size += len(chunk.text)
            answer.append(chunk.text)
        yield chunk
