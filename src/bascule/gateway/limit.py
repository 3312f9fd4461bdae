"""Requests a minute, per key: exact under any concurrency. Cache hits count too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bascule.core.calls import Call
from bascule.core.chat import ChatRequest, ChatResponse, ChatStream
from bascule.core.embedding import EmbeddingRequest, EmbeddingResponse
from bascule.core.errors import LimitExceeded
from bascule.core.principals import Principal
from bascule.core.state import StateStore
from bascule.gateway.layer import Model
from bascule.gateway.routes import Limits

WINDOW_S: Final = 60.0
NAME: Final = "requests per minute of this key"


def caller(principal: Principal) -> str:
    """Whom a limit counts: the key, or the subject of a caller without one. Lengths keep names from running together."""
    return f"{len(principal.tenant)}:{principal.tenant}:{principal.key_id or 'user:' + principal.subject}"


class Limit:
    """Raises LimitExceeded with `retry_after_s` and the limit's name."""

    __slots__ = ("_limits_of", "_next", "_state")

    def __init__(self, next: Model, state: StateStore, limits_of: Callable[[Principal], Limits]) -> None:
        self._next = next
        self._state = state
        self._limits_of = limits_of

    async def chat(self, request: ChatRequest, call: Call) -> ChatResponse:
        await self._admit(call)
        return await self._next.chat(request, call)

    async def stream(self, request: ChatRequest, call: Call) -> ChatStream:
        await self._admit(call)
        return await self._next.stream(request, call)

    async def embed(self, request: EmbeddingRequest, call: Call) -> EmbeddingResponse:
        await self._admit(call)
        return await self._next.embed(request, call)

    async def _admit(self, call: Call) -> None:
        limit = self._limits_of(call.principal).requests_per_min
        if limit is None:
            return
        admission = await self._state.admit("rpm:" + caller(call.principal), limit, WINDOW_S)
        if not admission.admitted:
            message = f"This key may send {limit} requests a minute. Try again in {admission.retry_after_s:.0f} s."
            raise LimitExceeded(message, limit=NAME, retry_after_s=admission.retry_after_s)
