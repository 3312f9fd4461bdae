"""A gateway whose model `fast` answers similar questions from its cache: for tests of the semantic mode."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Mapping
from typing import Any

from bascule.core.calls import Call, CallRecord, Usage
from bascule.core.embedding import EmbeddingRequest, EmbeddingResponse
from bascule.core.principals import Principal
from bascule.core.state import StateStore
from bascule.gateway.gateway import build
from bascule.gateway.routes import UNLIMITED, Limits, Options, Route, SemanticCache, Target
from bascule.plugins.state_stores.memory import MemoryState
from bascule.testing.gateway import Bench, call, request

NEAR = (1.0, 0.0)
FAR = (0.0, 1.0)
# Worded otherwise, asking the same.
ONE, OTHER = "What is the capital of France?", "hi, can you tell me what's the capital of france"


class NearEmbedder:
    """Every text is near to every other but those that `vectors` names. Embeds nothing while `gate` is closed."""

    def __init__(self, vectors: Mapping[str, tuple[float, float]] | None = None) -> None:
        self.vectors = vectors or {}
        self.texts: list[tuple[str, ...]] = []
        self.calls: list[Call] = []
        self.fails: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.fingerprint = "near:1"

    async def embed(self, request: EmbeddingRequest, call: Call) -> EmbeddingResponse:
        self.texts.append(request.texts)
        self.calls.append(call)
        if self.gate is not None:
            await self.gate.wait()
        if self.fails is not None:
            raise self.fails
        return EmbeddingResponse(
            vectors=tuple(array("f", self.vectors.get(text, NEAR)).tobytes() for text in request.texts), dimension=2,
            model=request.model, provider="near", fingerprint=self.fingerprint, usage=Usage(),
        )  # fmt: skip


def semantic_bench(
    model: object,
    embedder: object | None = None,
    *,
    state: StateStore | None = None,
    limits: Limits = UNLIMITED,
    semantic: Mapping[str, Any] | None = None,
    options: Options | None = None,
    **route: Any,
) -> Bench:
    """Routes `fast` and `other` over the same model, both with the semantic mode, and `near`, which embeds. `semantic`: its
    options that differ."""
    embedding = {"embedding_model": "near", "timeout_s": 2.0, **(semantic or {})}
    target = (Target(provider="chat", model="m"),)
    fields: dict[str, Any] = {"timeout_s": 5.0, "semantic_cache": SemanticCache(**embedding), **route}
    routes = {name: Route(model=name, targets=target, **fields) for name in ("fast", "other")}
    routes["near"] = Route(model="near", targets=(Target(provider="embed", model="e"),), timeout_s=5.0)
    records: list[CallRecord] = []
    store = state or MemoryState()
    providers = {"chat": model, "embed": embedder or NearEmbedder()}
    gateway = build(routes, providers, store, records.append, lambda who: limits, options or Options())
    return Bench(gateway, store, records)


async def asked(b: Bench, text: str, who: Principal | None = None, *, stream: bool = False, **fields: Any) -> Call:
    """The call, after the question was answered whole."""
    made = call(who, timeout_s=fields.pop("timeout_s", 5.0), directives=fields.pop("directives", None))
    wanted = request(text, stream=stream, **fields)
    if stream:
        opened = await b.gateway.stream(wanted, made)
        async for _ in opened:
            pass
        await opened.aclose()
    else:
        await b.gateway.chat(wanted, made)
    return made
