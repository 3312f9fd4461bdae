"""Tokens, money and slots are reserved before a call and settled after it (law 6), also when it is cancelled or cut.

Behind the cache and single-flight: a hit and a follower reserve nothing. All of a call's limits are reserved at once or not at
all. What a crashed process held comes back when its lease ends.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from typing import Final

from bascule.core.calls import Call, Usage
from bascule.core.chat import ChatChunk, ChatRequest, ChatResponse, ChatStream
from bascule.core.embedding import EmbeddingRequest, EmbeddingResponse
from bascule.core.errors import AllTargetsFailed, BasculeError, UpstreamTimeout
from bascule.core.state import StateStore
from bascule.gateway.budgets import Budgets, Plan
from bascule.gateway.estimate import BYTES_PER_TOKEN, Estimates
from bascule.gateway.hold import Hold
from bascule.gateway.layer import Model
from bascule.gateway.routes import Route

log = logging.getLogger(__name__)

UNPRICED: Final = "price_unknown"


class Reserve:
    """Raises LimitExceeded."""

    __slots__ = ("_budgets", "_estimates", "_next", "_routes", "_state", "_told", "_unpriced")

    def __init__(
        self, next: Model, routes: Mapping[str, Route], state: StateStore, budgets: Budgets, default_output_tokens: int
    ) -> None:
        self._next = next
        self._routes = routes
        self._state = state
        self._budgets = budgets
        self._estimates = Estimates(routes, default_output_tokens)
        self._told: set[str] = set()
        self._unpriced = {name for name, route in routes.items() if not all(t.priced for t in route.targets)}

    async def chat(self, request: ChatRequest, call: Call) -> ChatResponse:
        hold = await self._hold_chat(request, call)
        try:
            response = await self._next.chat(request, call)
        except BaseException as error:
            await _end(hold, error)
            raise
        if response.usage.estimated:
            hold.heard(response.text)
            await hold.settle(None)
        else:
            await hold.settle(response.usage)
        return response

    async def stream(self, request: ChatRequest, call: Call) -> ChatStream:
        hold = await self._hold_chat(request, call)
        try:
            inner = await self._next.stream(request, call)
        except BaseException as error:
            await _end(hold, error)
            raise

        async def close() -> None:
            await inner.aclose()
            await hold.settle(None)

        return ChatStream(
            _settling(inner, hold), wire=inner.wire, model=inner.model, provider=inner.provider, close=close
        )

    async def embed(self, request: EmbeddingRequest, call: Call) -> EmbeddingResponse:
        plan = self._budgets.plan(call.principal, request.model, request.view)
        chars = sum(map(len, request.texts))
        hold = self._open(request.model, call, plan, chars // BYTES_PER_TOKEN + len(request.texts))
        if plan is not None and plan.shares:
            tokens = self._embedded_tokens(request, chars, plan) if plan.counted else 0
            await hold.take(plan, tokens, 0, stated=True)
        try:
            response = await self._next.embed(request, call)
        except BaseException as error:
            await _end(hold, error)
            raise
        await hold.settle(None if response.usage.estimated else response.usage)
        return response

    async def _hold_chat(self, request: ChatRequest, call: Call) -> Hold:
        plan = self._budgets.plan(call.principal, request.model, request.view)
        roughly = len(request.body) // BYTES_PER_TOKEN + 1
        hold = self._open(request.model, call, plan, roughly)
        if plan is not None and plan.shares:
            if plan.counted:
                tokens = self._estimates.request_tokens(request, plan.far_below_tokens)
                output, stated = self._estimates.output_tokens(request.model, request.view)
                await hold.take(plan, tokens, output, stated=stated)
            else:
                await hold.take(plan, roughly, 0, stated=True)
        return hold

    def _open(self, model: str, call: Call, plan: Plan | None, input_tokens: int) -> Hold:
        if plan is not None and plan.priced and model in self._unpriced:
            call.degraded.append(UNPRICED)
            if model not in self._told:
                self._told.add(model)
                log.warning(
                    "model %s: a budget has no effect, as a target's price is not known; set it in [models]", model
                )
        return Hold(self._state, self._routes[model], call, self._estimates, plan, input_tokens)

    def _embedded_tokens(self, request: EmbeddingRequest, chars: int, plan: Plan) -> int:
        if chars <= plan.far_below_tokens:
            return chars + len(request.texts)
        return self._estimates.text_tokens(request.model, "\n".join(request.texts)) + len(request.texts)


async def _end(hold: Hold, error: BaseException) -> None:
    """A call that failed used nothing; one that was given up while a target worked has used its prompt and some of its answer."""
    failed = error.last if isinstance(error, AllTargetsFailed) else error
    if isinstance(failed, BasculeError) and not isinstance(failed, UpstreamTimeout):
        await hold.give_back()
    else:
        await hold.settle(None)


async def _settling(inner: ChatStream, hold: Hold) -> AsyncIterator[ChatChunk]:
    usage: Usage | None = None
    try:
        async for chunk in inner:
            usage = chunk.usage or usage
            hold.heard(chunk.text)
            if chunk.last:
                await hold.settle(usage)
            yield chunk
    finally:
        await inner.aclose()
        await hold.settle(usage, whole=False)
