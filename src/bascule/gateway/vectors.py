"""Embeddings in the cache: one entry for each text, so that a batch asks only for what is new."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Protocol

import msgspec

from bascule.core.calls import Call, Usage
from bascule.core.embedding import EmbeddingRequest, EmbeddingResponse
from bascule.gateway.cache_key import batch_key, vector_keys
from bascule.gateway.kept import VECTORS, KeptVector, refuse_if_only_cached
from bascule.gateway.layer import Model
from bascule.gateway.routes import Route


class Shelf(Protocol):
    """The part of the cache that finds and puts entries."""

    async def find(self, call: Call, decoder: msgspec.msgpack.Decoder[KeptVector]) -> KeptVector | None: ...

    async def put(self, key: str, kept: KeptVector, route: Route, call: Call) -> None: ...

    def lifetime_s(self, route: Route) -> float: ...


class Vectors:
    __slots__ = ("_next", "_routes", "_shelf", "_signatures")

    def __init__(self, shelf: Shelf, next: Model, routes: Mapping[str, Route], signatures: Mapping[str, bytes]) -> None:
        self._shelf = shelf
        self._next = next
        self._routes = routes
        self._signatures = signatures

    async def embed(self, request: EmbeddingRequest, call: Call) -> EmbeddingResponse:
        route = self._routes[request.model]
        call.cache, call.cache_reason = "BYPASS", _not_kept(request, call, route)
        if call.cache_reason:
            refuse_if_only_cached(call)
            return await self._next.embed(request, call)
        keys = vector_keys(self._signatures[route.model], route, call.principal, request)
        known = await self._known(keys, call)
        missing = [i for i, key in enumerate(keys) if key not in known]
        if not missing:
            call.cache, call.cache_reason, call.cost_usd = "HIT", "these texts were embedded before", 0.0
            return _joined([known[key] for key in keys], Usage())
        if not call.cache_reason:  # else the store did not answer
            call.cache, call.cache_reason = "MISS", f"{len(missing)} of {len(keys)} texts not embedded before"
        refuse_if_only_cached(call)
        asked = msgspec.structs.replace(request, texts=tuple(request.texts[i] for i in missing)) if known else request
        call.shared_key = batch_key([keys[i] for i in missing])
        response = await self._next.embed(asked, call)
        if any(entry.fingerprint != response.fingerprint for entry in known.values()):
            # Another target answered: vectors of two models must not be mixed.
            call.shared_key = batch_key(keys)
            response, missing, known = await self._next.embed(request, call), list(range(len(keys))), {}
        for place, vector in zip(missing, response.vectors, strict=True):
            lived_s = self._shelf.lifetime_s(route)
            entry = KeptVector(time.time(), lived_s, vector, response.model, response.provider, response.fingerprint)
            known[keys[place]] = entry
            await self._shelf.put(keys[place], entry, route, call)
        return _joined([known[key] for key in keys], response.usage)

    async def _known(self, keys: list[str], call: Call) -> dict[str, KeptVector]:
        known: dict[str, KeptVector] = {}
        for key in keys:
            call.shared_key = key
            entry = await self._shelf.find(call, VECTORS)
            if entry is not None and _fresh(entry, call):
                known[key] = entry
        return known


def _fresh(entry: KeptVector, call: Call) -> bool:
    wishes = call.directives
    age_s = max(0.0, time.time() - entry.stored_at_s)
    return age_s <= entry.fresh_s and (wishes is None or wishes.max_age_s is None or age_s <= wishes.max_age_s)


def _not_kept(request: EmbeddingRequest, call: Call, route: Route) -> str:
    """Why the cache is not used for this request; "" when it is."""
    wishes = call.directives
    if wishes is not None and (wishes.no_store or wishes.no_cache):
        return "no-store" if wishes.no_store else "no-cache"
    if route.cache_ttl_s <= 0:
        return "off for this model"
    return "the catalogue keeps these" if call.principal.system and request.purpose == "document" else ""


def _joined(entries: list[KeptVector], usage: Usage) -> EmbeddingResponse:
    first = entries[0]
    return EmbeddingResponse(
        vectors=tuple(entry.vector for entry in entries),
        dimension=len(first.vector) // 4,
        model=first.model,
        provider=first.provider,
        fingerprint=first.fingerprint,
        usage=usage,
    )
