"""Good answers are kept and given again to whoever asks the very same thing within the same scope (law 3).

The key is a hash of everything that can change the answer: tenant (or key, or person), route and its targets, wire format,
operation and the whole canonical body, unknown fields too. What is kept was complete and not empty; entries carry the ids of the
documents whose text was in the prompt, so that they go when a document goes.

Where the route allows it, an answer that is past its lifetime stands in for an upstream that fails (RFC 5861,
stale-if-error): for the very same key only, marked STALE, and in time.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeVar

import msgspec

from bascule.core.calls import Call
from bascule.core.chat import ChatChunk, ChatRequest, ChatResponse, ChatStream
from bascule.core.embedding import EmbeddingRequest, EmbeddingResponse
from bascule.core.errors import AllTargetsFailed, StorageError, UpstreamError, UpstreamTimeout
from bascule.core.state import StateStore
from bascule.gateway.cache_key import chat_key, signature, tags
from bascule.gateway.kept import (
    RESPONSES,
    STREAMS,
    Kept,
    KeptBatch,
    KeptResponse,
    KeptStream,
    good_response,
    good_stream,
    pack,
    refuse_if_only_cached,
    replay,
    unpack,
)
from bascule.gateway.layer import Model
from bascule.gateway.routes import Options, Route
from bascule.gateway.vectors import Vectors

HIT_REASON: Final = "the same request was answered before"
# Kept back of the time that is left, so that a stale answer leaves before the deadline. Less than what `retry.silent` takes for
# silence: giving up on the upstream this late still counts as its fault.
RESERVE_S: Final = 0.03
RESERVE_SHARE: Final = 0.02
HANDED_OVER_S: Final = 10.0  # an embedding call's answer, for other servers that wait for it

T = TypeVar("T")


class Cache:
    """`keep_response` and `keep_stream` are called by single_flight, once for each shared call."""

    __slots__ = (
        "_jitter",
        "_jitter_share",
        "_max_entry_bytes",
        "_next",
        "_routes",
        "_signatures",
        "_state",
        "_vectors",
    )

    def __init__(
        self,
        next: Model,
        routes: Mapping[str, Route],
        state: StateStore,
        options: Options,
        *,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._next = next
        self._routes = routes
        self._state = state
        self._max_entry_bytes = options.cache_max_entry_bytes
        self._signatures = {name: signature(route) for name, route in routes.items()}
        self._jitter = jitter
        self._jitter_share = options.cache_ttl_jitter
        self._vectors = Vectors(self, next, routes, self._signatures)

    async def chat(self, request: ChatRequest, call: Call) -> ChatResponse:
        route = self._routes[request.model]
        if self._open(request, call, route, b"chat"):
            entry = await self.find(call, RESPONSES)
            if entry is not None:
                if self._fresh(entry, call):
                    return entry.response
                if _may_stand_in(entry.stored_at_s, route, call):
                    made = await _or_stale(lambda: self._next.chat(request, call), entry.stored_at_s, call)
                    return entry.response if made is None else made
        refuse_if_only_cached(call)
        return await self._next.chat(request, call)

    async def stream(self, request: ChatRequest, call: Call) -> ChatStream:
        route = self._routes[request.model]
        if self._open(request, call, route, b"stream"):
            entry = await self.find(call, STREAMS)
            if entry is not None:
                if self._fresh(entry, call):
                    return replay(entry)
                if _may_stand_in(entry.stored_at_s, route, call):
                    made = await _or_stale(lambda: self._next.stream(request, call), entry.stored_at_s, call)
                    return replay(entry) if made is None else made
        refuse_if_only_cached(call)
        return await self._next.stream(request, call)

    async def embed(self, request: EmbeddingRequest, call: Call) -> EmbeddingResponse:
        return await self._vectors.embed(request, call)

    def _open(self, request: ChatRequest, call: Call, route: Route, operation: bytes) -> bool:
        """Set the call's key and verdict; True when a kept answer may be looked for."""
        wishes = call.directives
        if wishes is not None and wishes.no_store:
            call.cache, call.cache_reason = "BYPASS", "no-store"
            return False
        # Calls in flight are shared also where nothing is kept.
        call.shared_key = chat_key(self._signatures[route.model], route, call.principal, operation, request)
        if not call.shared_key:
            call.cache, call.cache_reason = "BYPASS", "the body names a field twice"
            return False
        if route.cache_ttl_s <= 0:
            call.cache, call.cache_reason = "BYPASS", "off for this model"
            return False
        if wishes is not None and wishes.no_cache:
            call.cache, call.cache_reason = "BYPASS", "no-cache"
            return False
        call.cache, call.cache_reason = "MISS", "not asked before"
        return True

    def _fresh(self, entry: KeptResponse | KeptStream, call: Call) -> bool:
        """Whether it is a hit; else the call's reason says why not."""
        age_s = max(0.0, time.time() - entry.stored_at_s)
        wishes = call.directives
        if wishes is not None and wishes.max_age_s is not None and age_s > wishes.max_age_s:
            call.cache_reason = "older than max-age"
            return False
        if age_s > entry.fresh_s:
            call.cache_reason = "expired"
            return False
        call.cache, call.cache_reason, call.cost_usd, call.age_s = "HIT", HIT_REASON, 0.0, age_s
        return True

    # ------------------------------------------------------------ the store

    async def find(self, call: Call, decoder: msgspec.msgpack.Decoder[Kept]) -> Kept | None:
        """The entry of the call's key. What cannot be read is a miss, a store that does not answer a bypass."""
        try:
            value = await self._state.get(call.shared_key)
        except StorageError:
            call.cache, call.cache_reason = "BYPASS", "the cache did not answer"
            call.degraded.append("cache_unavailable")
            return None
        return None if value is None else unpack(value, decoder, self._max_entry_bytes)

    async def keep_response(self, request: ChatRequest, call: Call, response: ChatResponse) -> None:
        route = self._routes[request.model]
        if good_response(response) and self._may_keep(route, len(response.body)):
            await self.put(call.shared_key, KeptResponse(time.time(), self.lifetime_s(route), response), route, call)

    async def keep_stream(self, request: ChatRequest, call: Call, stream: ChatStream, chunks: list[ChatChunk]) -> None:
        route = self._routes[request.model]
        if self._may_keep(route, sum(len(chunk.data) for chunk in chunks)) and good_stream(chunks):
            lived_s = self.lifetime_s(route)
            kept = KeptStream(time.time(), lived_s, stream.wire, stream.model, stream.provider, chunks)
            await self.put(call.shared_key, kept, route, call)

    async def keep_batch(self, request: EmbeddingRequest, call: Call, response: EmbeddingResponse) -> None:
        route = self._routes[request.model]
        if self._may_keep(route, sum(map(len, response.vectors))):
            await self.put(call.shared_key, KeptBatch(time.time(), HANDED_OVER_S, response), route, call)

    def _may_keep(self, route: Route, size_bytes: int) -> bool:
        return route.cache_ttl_s > 0 and size_bytes <= self._max_entry_bytes

    def lifetime_s(self, route: Route) -> float:
        """Of one new entry: never longer than the route's, and at random, so that one burst does not expire in another."""
        return route.cache_ttl_s * (1.0 - self._jitter(0.0, self._jitter_share))

    async def put(self, key: str, kept: Kept, route: Route, call: Call) -> None:
        found = (*call.document_ids, *tags(route, call.principal))
        try:
            lived_s = kept.fresh_s + route.stale_if_error_s
            await self._state.put(key, await pack(kept), lived_s, found, call.elapsed_s, call.fence)
        except StorageError:
            call.degraded.append("cache_unavailable")


def _may_stand_in(stored_at_s: float, route: Route, call: Call) -> bool:
    """Whether this entry, which is not fresh, may be given if the upstream fails. A caller's max-age holds here too."""
    wishes = call.directives
    if route.stale_if_error_s <= 0 or (wishes is not None and (wishes.only_if_cached or wishes.max_age_s is not None)):
        return False
    return time.time() - stored_at_s <= route.cache_ttl_s + route.stale_if_error_s


async def _or_stale(ask: Callable[[], Awaitable[T]], stored_at_s: float, call: Call) -> T | None:
    """What the upstream says, or None where it failed and the stale answer is given: its own failure only, never a refusal or
    a limit of the caller's."""
    left_s = call.deadline.left_s()
    try:
        async with asyncio.timeout(left_s - max(RESERVE_S, RESERVE_SHARE * left_s)):
            return await ask()
    except TimeoutError:
        code = UpstreamTimeout.code
    except UpstreamError as error:
        if not error.retryable and not isinstance(error, AllTargetsFailed):
            raise
        code = error.code
    call.cache, call.cache_reason = "STALE", f"the model failed ({code})"
    call.age_s = max(0.0, time.time() - stored_at_s)
    call.degraded.append(f"stale:{code}")
    return None
