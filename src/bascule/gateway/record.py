"""The outermost layer: every call leaves exactly one record, whatever becomes of it; a stream at its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from bascule.core.calls import Call, CallRecord, Outcome
from bascule.core.chat import ChatChunk, ChatRequest, ChatResponse, ChatStream
from bascule.core.embedding import EmbeddingRequest, EmbeddingResponse
from bascule.core.errors import BasculeError
from bascule.gateway.layer import Model
from bascule.gateway.metrics import CallMetrics


class Record:
    """`sink` takes each record; it must not block. Nothing of the prompt or the answer is in one."""

    __slots__ = ("_metrics", "_next", "_sink")

    def __init__(self, next: Model, sink: Callable[[CallRecord], None], metrics: CallMetrics) -> None:
        self._next = next
        self._sink = sink
        self._metrics = metrics

    async def chat(self, request: ChatRequest, call: Call) -> ChatResponse:
        try:
            response = await self._next.chat(request, call)
        except BaseException as error:
            self._fail(call, request.model, "chat", error)
            raise
        self._end(call, request.model, "chat", "ok", "")
        return response

    async def embed(self, request: EmbeddingRequest, call: Call) -> EmbeddingResponse:
        try:
            response = await self._next.embed(request, call)
        except BaseException as error:
            self._fail(call, request.model, "embed", error)
            raise
        self._end(call, request.model, "embed", "ok", "")
        return response

    async def stream(self, request: ChatRequest, call: Call) -> ChatStream:
        try:
            inner = await self._next.stream(request, call)
        except BaseException as error:
            self._fail(call, request.model, "stream", error)
            raise
        watched = _Watched(self, inner, request.model, call)
        return ChatStream(
            watched.chunks(), wire=inner.wire, model=inner.model, provider=inner.provider, close=watched.close
        )

    def _fail(self, call: Call, model: str, operation: str, error: BaseException, begun: bool = False) -> None:
        if isinstance(error, (asyncio.CancelledError, GeneratorExit)):
            self._end(call, model, operation, "cancelled", "")
            return
        code = error.code if isinstance(error, BasculeError) else BasculeError.code
        self._end(call, model, operation, "cut" if begun else "error", code)

    def _end(self, call: Call, model: str, operation: str, outcome: Outcome, error: str) -> None:
        last = call.attempts[-1] if call.attempts else None
        record = CallRecord(
            id=call.id,
            tenant=call.principal.tenant,
            subject=call.principal.subject,
            key_id=call.principal.key_id,
            operation=operation,
            model=model,
            provider=last.provider if last else "",
            provider_model=last.model if last else "",
            started_at_s=call.started_at_s,
            latency_s=call.elapsed_s,
            first_byte_s=call.first_byte_s,
            input_tokens=call.usage.input_tokens,
            output_tokens=call.usage.output_tokens,
            cost_usd=call.cost_usd,
            cache=call.cache,
            cache_reason=call.cache_reason,
            outcome=outcome,
            error=error,
            attempts=tuple(call.attempts),
            degraded=tuple(call.degraded),
        )
        self._metrics.count(record)
        self._sink(record)


class _Watched:
    """A stream on its way out: its record is written once, at its end, or when it is closed before."""

    __slots__ = ("_call", "_ended", "_inner", "_layer", "_model")

    def __init__(self, layer: Record, inner: ChatStream, model: str, call: Call) -> None:
        self._layer = layer
        self._inner = inner
        self._model = model
        self._call = call
        self._ended = False

    async def chunks(self) -> AsyncIterator[ChatChunk]:
        call, finished = self._call, False
        try:
            async for chunk in self._inner:
                if call.first_byte_s is None:
                    call.first_byte_s = call.elapsed_s
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
                self._layer._fail(call, self._model, "stream", error, begun=call.first_byte_s is not None)
            raise
        if not finished:
            self._finish("cut", "upstream_unavailable")

    async def close(self) -> None:
        await self._inner.aclose()
        self._finish("cancelled", "")

    def _finish(self, outcome: Outcome, error: str) -> None:
        if not self._ended:
            self._ended = True
            self._layer._end(self._call, self._model, "stream", outcome, error)
