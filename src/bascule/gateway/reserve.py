"""Tokens and money are reserved before a call and settled after it (law 6), also when it is cancelled or cut."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

from bascule.core.calls import Call, Usage
from bascule.core.chat import ChatChunk, ChatRequest, ChatResponse, ChatStream
from bascule.core.embedding import EmbeddingRequest, EmbeddingResponse
from bascule.core.errors import BasculeError, LimitExceeded, StorageError
from bascule.core.principals import Principal
from bascule.core.state import Claim, StateStore
from bascule.gateway.layer import Model
from bascule.gateway.limit import caller
from bascule.gateway.routes import Limits, Route

MINUTE_S: Final = 60.0
DAY_S: Final = 86_400.0
BYTES_PER_TOKEN: Final = 4
LEASE_MARGIN_S: Final = 30.0


class _Hold:
    """What one call holds. Settled once, by what it used."""

    __slots__ = ("_call", "_claims", "_id", "_input_tokens", "_output_bytes", "_route", "_state", "done")

    def __init__(self, state: StateStore, route: Route, call: Call, input_tokens: int) -> None:
        self._state = state
        self._route = route
        self._call = call
        self._input_tokens = input_tokens
        self._output_bytes = 0
        self._id = ""
        self._claims: list[Claim] = []
        self.done = False

    async def take(self, claims: list[Claim]) -> None:
        if not claims:
            return
        self._id, admission = await self._state.reserve(claims, self._route.timeout_s + LEASE_MARGIN_S)
        if not admission.admitted:
            if any(claim.amount > claim.limit for claim in claims):
                message = f"This call alone may exceed the {admission.limit}. Ask for a shorter answer (max_tokens)."
                raise LimitExceeded(message, limit=admission.limit, retry_after_s=admission.retry_after_s)
            message = f"The limit of {admission.limit} is reached. Try again in {admission.retry_after_s:.0f} s."
            raise LimitExceeded(message, limit=admission.limit, retry_after_s=admission.retry_after_s)
        self._claims = claims

    def heard(self, text: str) -> None:
        self._output_bytes += len(text)

    async def settle(self, usage: Usage | None) -> None:
        """`usage` None: the vendor did not say, so it is estimated from what was sent and heard."""
        if self.done:
            return
        self.done = True
        if usage is None:
            output = -(-self._output_bytes // BYTES_PER_TOKEN)
            usage = Usage(input_tokens=self._input_tokens, output_tokens=output, estimated=True)
        call = self._call
        call.usage = usage
        if call.attempts:
            last = call.attempts[-1]
            call.cost_usd = self._route.cost_usd(last.provider, last.model, usage)
        if self._id:
            tokens = float(usage.input_tokens + usage.output_tokens)
            used = [tokens if c.window_s == MINUTE_S else call.cost_usd or 0.0 for c in self._claims]
            await self._settle(used)

    async def give_back(self) -> None:
        """Nothing was used: no target answered."""
        if not self.done:
            self.done = True
            if self._id:
                await self._settle([0.0] * len(self._claims))

    async def _settle(self, used: list[float]) -> None:
        try:
            await self._state.settle(self._id, used)
        except StorageError:
            # The lease runs out by itself; the answer is not lost for it.
            self._call.degraded.append("limits_unavailable")


class Reserve:
    """Raises LimitExceeded. An answer's length is what the request allows, or `default_output_tokens`.

    Without a stated length a call never claims more than the whole limit, so that a small limit still admits one call at a
    time; such a call may end above its limit, and the next ones then wait for it.
    """

    __slots__ = ("_default_output_tokens", "_limits_of", "_next", "_routes", "_state")

    def __init__(
        self,
        next: Model,
        routes: Mapping[str, Route],
        state: StateStore,
        limits_of: Callable[[Principal], Limits],
        default_output_tokens: int,
    ) -> None:
        self._next = next
        self._routes = routes
        self._state = state
        self._limits_of = limits_of
        self._default_output_tokens = default_output_tokens

    async def chat(self, request: ChatRequest, call: Call) -> ChatResponse:
        hold = await self._hold_chat(request, call)
        try:
            response = await self._next.chat(request, call)
        except BasculeError:
            await hold.give_back()
            raise
        except BaseException:
            # Cancelled while a target worked: it has read the prompt, so that much is charged.
            await hold.settle(None)
            raise
        hold.heard(response.text)
        await hold.settle(None if response.usage.estimated else response.usage)
        return response

    async def stream(self, request: ChatRequest, call: Call) -> ChatStream:
        hold = await self._hold_chat(request, call)
        try:
            inner = await self._next.stream(request, call)
        except BasculeError:
            await hold.give_back()
            raise
        except BaseException:
            # Cancelled while a target worked: it has read the prompt, so that much is charged.
            await hold.settle(None)
            raise

        async def close() -> None:
            await inner.aclose()
            await hold.settle(None)

        return ChatStream(
            _settling(inner, hold), wire=inner.wire, model=inner.model, provider=inner.provider, close=close
        )

    async def embed(self, request: EmbeddingRequest, call: Call) -> EmbeddingResponse:
        tokens = sum(len(text) for text in request.texts) // BYTES_PER_TOKEN + len(request.texts)
        hold = await self._hold(request.model, call, tokens, 0, stated=True)
        try:
            response = await self._next.embed(request, call)
        except BasculeError:
            await hold.give_back()
            raise
        except BaseException:
            # Cancelled while a target worked: it has read the prompt, so that much is charged.
            await hold.settle(None)
            raise
        await hold.settle(None if response.usage.estimated else response.usage)
        return response

    async def _hold_chat(self, request: ChatRequest, call: Call) -> _Hold:
        stated = _stated_output(request.view)
        output = self._default_output_tokens if stated is None else stated
        return await self._hold(
            request.model, call, len(request.body) // BYTES_PER_TOKEN + 1, output, stated=stated is not None
        )

    async def _hold(self, model: str, call: Call, input_tokens: int, output_tokens: int, *, stated: bool) -> _Hold:
        route = self._routes[model]
        limits = self._limits_of(call.principal)
        hold = _Hold(self._state, route, call, input_tokens)
        if limits.tokens_per_min is None and limits.usd_per_day is None:
            return hold
        who, claims = caller(call.principal), []
        if limits.tokens_per_min is not None:
            tokens = float(input_tokens + output_tokens)
            claims.append(_claim("tpm:" + who, tokens, limits.tokens_per_min, MINUTE_S, "tokens per minute", stated))
        if limits.usd_per_day is not None:
            usd = route.worst_cost_usd(input_tokens, output_tokens)
            claims.append(_claim("usd:" + who, usd, limits.usd_per_day, DAY_S, "USD per day", stated))
        await hold.take(claims)
        return hold


def _claim(key: str, amount: float, limit: float, window_s: float, name: str, stated: bool) -> Claim:
    if not stated:
        amount = min(amount, limit)
    return Claim(key=key, amount=amount, limit=limit, window_s=window_s, name=name + " of this key")


def _stated_output(view: Mapping[str, Any]) -> int | None:
    """The most tokens all choices of the answer may have, where the request says so."""
    for field in ("max_completion_tokens", "max_tokens"):
        value = view.get(field)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            choices = view.get("n")
            return value * (choices if isinstance(choices, int) and choices > 1 else 1)
    return None


async def _settling(inner: ChatStream, hold: _Hold) -> AsyncIterator[ChatChunk]:
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
        await hold.settle(usage)
