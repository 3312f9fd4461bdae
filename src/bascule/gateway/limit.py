"""Requests a minute: of the key, the end user, the tenant and the model. Exact under any concurrency; cache hits count too."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Final

from bascule.core.calls import Call
from bascule.core.chat import ChatRequest, ChatResponse, ChatStream
from bascule.core.embedding import EmbeddingRequest, EmbeddingResponse
from bascule.core.errors import LimitExceeded
from bascule.core.state import StateStore
from bascule.gateway.budgets import MINUTE_S, Budgets, Gate
from bascule.gateway.layer import Model

ALONE: Final = "limits_alone"  # the shared store is away: this process decides by a stricter share of its own


class Limit:
    """Raises LimitExceeded with `retry_after_s` and the limit's name.

    The methods are no coroutines themselves: a call that nothing limits goes to the next layer as if this one were not there.
    """

    __slots__ = ("_budgets", "_next", "_state")

    def __init__(self, next: Model, state: StateStore, budgets: Budgets) -> None:
        self._next = next
        self._state = state
        self._budgets = budgets

    def chat(self, request: ChatRequest, call: Call) -> Coroutine[Any, Any, ChatResponse]:
        plan = self._budgets.plan(call.principal, request.model, request.view)
        if plan is None or not plan.gates:
            return self._next.chat(request, call)
        return self._chat(plan.gates, request, call)

    def stream(self, request: ChatRequest, call: Call) -> Coroutine[Any, Any, ChatStream]:
        plan = self._budgets.plan(call.principal, request.model, request.view)
        if plan is None or not plan.gates:
            return self._next.stream(request, call)
        return self._stream(plan.gates, request, call)

    def embed(self, request: EmbeddingRequest, call: Call) -> Coroutine[Any, Any, EmbeddingResponse]:
        plan = self._budgets.plan(call.principal, request.model, request.view)
        if plan is None or not plan.gates:
            return self._next.embed(request, call)
        return self._embed(plan.gates, request, call)

    async def _chat(self, gates: tuple[Gate, ...], request: ChatRequest, call: Call) -> ChatResponse:
        await self._admit(gates, call)
        return await self._next.chat(request, call)

    async def _stream(self, gates: tuple[Gate, ...], request: ChatRequest, call: Call) -> ChatStream:
        await self._admit(gates, call)
        return await self._next.stream(request, call)

    async def _embed(self, gates: tuple[Gate, ...], request: EmbeddingRequest, call: Call) -> EmbeddingResponse:
        await self._admit(gates, call)
        return await self._next.embed(request, call)

    async def _admit(self, gates: tuple[Gate, ...], call: Call) -> None:
        for gate in gates:
            admission = await self._state.admit(gate.key, gate.limit, MINUTE_S)
            if admission.degraded and ALONE not in call.degraded:
                call.degraded.append(ALONE)
            if not admission.admitted:
                message = f"The limit of {gate.name} is reached. Try again in {admission.retry_after_s:.0f} s."
                raise LimitExceeded(message, limit=gate.name, retry_after_s=admission.retry_after_s)
