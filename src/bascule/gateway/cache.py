"""Good answers are kept and given again to whoever asks the very same thing within the same scope (law 3).

The key is a hash of everything that can change the answer: tenant (or key), route and its targets, wire format, operation and
the whole canonical body, unknown fields too. What is kept was complete and not empty; entries carry the ids of the documents
whose text was in the prompt, so that they go when a document goes.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from hashlib import blake2b
from typing import Final

import msgspec

from bascule.core.calls import Call, Usage
from bascule.core.chat import ChatChunk, ChatRequest, ChatResponse, ChatStream
from bascule.core.embedding import EmbeddingRequest, EmbeddingResponse
from bascule.core.errors import StorageError
from bascule.core.principals import Principal
from bascule.core.state import StateStore
from bascule.gateway.layer import Model
from bascule.gateway.routes import Route

HIT_REASON: Final = "the same request was answered before"


class _KeptResponse(msgspec.Struct, frozen=True, array_like=True):
    stored_at_s: float
    response: ChatResponse


class _KeptStream(msgspec.Struct, frozen=True, array_like=True):
    stored_at_s: float
    wire: str
    model: str
    provider: str
    chunks: list[ChatChunk]


class _KeptVector(msgspec.Struct, frozen=True, array_like=True):
    stored_at_s: float
    vector: bytes
    model: str
    provider: str
    fingerprint: str


_encode = msgspec.msgpack.Encoder().encode
_decode_response = msgspec.msgpack.Decoder(_KeptResponse).decode
_decode_stream = msgspec.msgpack.Decoder(_KeptStream).decode
_decode_vector = msgspec.msgpack.Decoder(_KeptVector).decode
_canonical = msgspec.json.Encoder(order="sorted").encode


def good_response(response: ChatResponse) -> bool:
    """Complete, and more than white space. A tool call without text is complete with a finish that says so."""
    return response.complete and (bool(response.text.strip()) or response.finish in TOOL_FINISHES)


TOOL_FINISHES: Final = frozenset({"tool_calls", "function_call", "tool_use"})
GOOD_FINISHES: Final = TOOL_FINISHES | {"stop", "end_turn", "stop_sequence"}


def good_stream(chunks: Sequence[ChatChunk]) -> bool:
    """Ended with the format's own end, finished as a good answer does in every choice, and not empty."""
    finishes = {chunk.finish for chunk in chunks if chunk.finish}
    if not chunks or not chunks[-1].last or not finishes or not finishes <= GOOD_FINISHES:
        return False
    return not finishes.isdisjoint(TOOL_FINISHES) or any(chunk.text.strip() for chunk in chunks)


class Cache:
    """`keep_response` and `keep_stream` are called by single_flight, once for each shared call."""

    __slots__ = ("_max_entry_bytes", "_next", "_routes", "_signatures", "_state")

    def __init__(self, next: Model, routes: Mapping[str, Route], state: StateStore, max_entry_bytes: int) -> None:
        self._next = next
        self._routes = routes
        self._state = state
        self._max_entry_bytes = max_entry_bytes
        # A changed configuration must not find what another target answered.
        self._signatures = {
            name: _canonical([name, [[t.provider, t.model] for t in route.targets]]) for name, route in routes.items()
        }

    async def chat(self, request: ChatRequest, call: Call) -> ChatResponse:
        route = self._routes[request.model]
        if self._open(request, call, route, b"chat"):
            kept = await self._get(call)
            if kept is not None:
                entry = _decode_response(kept)
                if _fresh(entry.stored_at_s, call):
                    _hit(call)
                    return entry.response
        return await self._next.chat(request, call)

    async def stream(self, request: ChatRequest, call: Call) -> ChatStream:
        route = self._routes[request.model]
        if self._open(request, call, route, b"stream"):
            kept = await self._get(call)
            if kept is not None:
                entry = _decode_stream(kept)
                if _fresh(entry.stored_at_s, call):
                    _hit(call)
                    return ChatStream(
                        _replay(entry.chunks), wire=entry.wire, model=entry.model, provider=entry.provider
                    )
        return await self._next.stream(request, call)

    def _open(self, request: ChatRequest, call: Call, route: Route, operation: bytes) -> bool:
        """Set the call's key and verdict; True when a kept answer may be looked for."""
        wishes = call.directives
        if wishes is not None and wishes.no_store:
            call.cache, call.cache_reason = "BYPASS", "no-store"
            return False
        # Calls in flight are shared also where nothing is kept.
        call.shared_key = _key(self._signatures[route.model], route, call.principal, operation, request)
        if route.cache_ttl_s <= 0:
            call.cache, call.cache_reason = "BYPASS", "off for this model"
            return False
        if wishes is not None and wishes.no_cache:
            call.cache, call.cache_reason = "BYPASS", "no-cache"
            return False
        call.cache, call.cache_reason = "MISS", "not asked before"
        return True

    async def _get(self, call: Call) -> bytes | None:
        try:
            return await self._state.get(call.shared_key)
        except StorageError:
            call.cache, call.cache_reason = "BYPASS", "the cache did not answer"
            call.degraded.append("cache_unavailable")
            return None

    async def keep_response(self, request: ChatRequest, call: Call, response: ChatResponse) -> None:
        if good_response(response):
            await self._keep(request.model, call, _KeptResponse(time.time(), response), len(response.body))

    async def keep_stream(self, request: ChatRequest, call: Call, stream: ChatStream, chunks: list[ChatChunk]) -> None:
        size_bytes = sum(len(chunk.data) for chunk in chunks)
        if size_bytes <= self._max_entry_bytes and good_stream(chunks):
            kept = _KeptStream(time.time(), stream.wire, stream.model, stream.provider, chunks)
            await self._keep(request.model, call, kept, size_bytes)

    async def _keep(self, model: str, call: Call, kept: msgspec.Struct, size_bytes: int) -> None:
        ttl_s = self._routes[model].cache_ttl_s
        if ttl_s <= 0 or size_bytes > self._max_entry_bytes:
            return
        await self._put(call.shared_key, _encode(kept), ttl_s, call)

    async def _put(self, key: str, value: bytes, ttl_s: float, call: Call) -> None:
        try:
            await self._state.put(key, value, ttl_s, tuple(call.document_ids), call.elapsed_s)
        except StorageError:
            call.degraded.append("cache_unavailable")

    # ------------------------------------------------------------ embeddings: one entry for each text

    async def embed(self, request: EmbeddingRequest, call: Call) -> EmbeddingResponse:
        route = self._routes[request.model]
        if not self._may_keep_vectors(request, call, route):
            return await self._next.embed(request, call)
        keys = self._vector_keys(request, call, route)
        known = await self._known(keys, call)
        missing = [i for i, key in enumerate(keys) if key not in known]
        if not missing:
            _hit(call)
            return _joined([known[key] for key in keys], Usage())
        call.cache, call.cache_reason = "MISS", f"{len(missing)} of {len(keys)} texts not embedded before"
        asked = msgspec.structs.replace(request, texts=tuple(request.texts[i] for i in missing)) if known else request
        call.shared_key = _batch_key([keys[i] for i in missing])
        response = await self._next.embed(asked, call)
        if any(entry.fingerprint != response.fingerprint for entry in known.values()):
            # Another target answered: vectors of two models must not be mixed.
            call.shared_key = _batch_key(keys)
            response, missing, known = await self._next.embed(request, call), list(range(len(keys))), {}
        for place, vector in zip(missing, response.vectors, strict=True):
            entry = _KeptVector(time.time(), vector, response.model, response.provider, response.fingerprint)
            known[keys[place]] = entry
            await self._put(keys[place], _encode(entry), route.cache_ttl_s, call)
        return _joined([known[key] for key in keys], response.usage)

    def _may_keep_vectors(self, request: EmbeddingRequest, call: Call, route: Route) -> bool:
        wishes = call.directives
        reason = ""
        if wishes is not None and (wishes.no_store or wishes.no_cache):
            reason = "no-store" if wishes.no_store else "no-cache"
        elif route.cache_ttl_s <= 0:
            reason = "off for this model"
        elif call.principal.system and request.purpose == "document":
            reason = "the catalogue keeps these"
        call.cache, call.cache_reason = "BYPASS", reason
        return not reason

    def _vector_keys(self, request: EmbeddingRequest, call: Call, route: Route) -> list[str]:
        scope = _canonical([*_scope(route, call.principal), request.purpose, request.dimensions])
        prefix = blake2b(self._signatures[route.model] + b"\0embed\0" + scope + b"\0", digest_size=20)
        keys = []
        for text in request.texts:
            digest = prefix.copy()
            digest.update(text.encode("utf-8", "surrogatepass"))
            keys.append("v:" + digest.hexdigest())
        return keys

    async def _known(self, keys: list[str], call: Call) -> dict[str, _KeptVector]:
        known: dict[str, _KeptVector] = {}
        for key in keys:
            call.shared_key = key
            value = await self._get(call)
            if value is not None:
                entry = _decode_vector(value)
                if _fresh(entry.stored_at_s, call):
                    known[key] = entry
        return known


def _scope(route: Route, principal: Principal) -> list[str]:
    if route.cache_scope == "key":
        return [principal.tenant, principal.key_id, principal.subject]
    return [principal.tenant]


def _key(signature: bytes, route: Route, principal: Principal, operation: bytes, request: ChatRequest) -> str:
    head = b"\0".join((signature, _canonical(_scope(route, principal)), operation, request.wire.encode(), b""))
    digest = blake2b(head, digest_size=20)
    digest.update(_canonical(request.view))
    return "c:" + digest.hexdigest()


def _batch_key(keys: list[str]) -> str:
    return "e:" + blake2b("".join(keys).encode(), digest_size=20).hexdigest()


def _fresh(stored_at_s: float, call: Call) -> bool:
    wishes = call.directives
    if wishes is None or wishes.max_age_s is None or time.time() - stored_at_s <= wishes.max_age_s:
        return True
    call.cache_reason = "older than max-age"
    return False


def _hit(call: Call) -> None:
    call.cache, call.cache_reason, call.cost_usd = "HIT", HIT_REASON, 0.0


def _joined(entries: list[_KeptVector], usage: Usage) -> EmbeddingResponse:
    first = entries[0]
    return EmbeddingResponse(
        vectors=tuple(entry.vector for entry in entries),
        dimension=len(first.vector) // 4,
        model=first.model,
        provider=first.provider,
        fingerprint=first.fingerprint,
        usage=usage,
    )


async def _replay(chunks: list[ChatChunk]) -> AsyncIterator[ChatChunk]:
    for chunk in chunks:
        yield chunk
