"""The optional semantic mode of the cache: the answer to a question is given to one that asks the same in nearly the same words.

It stands behind the cache, which has looked for the very same request and set the call's verdict, and before the shared flight:
so an exact hit never comes here, and what is asked of the model is still shared and kept under its exact key. In the chain only
where a model is configured for it.

Three must agree. Everything but the text of the last user message is identical, byte for byte and within the same scope: that
is a hash (`similar_place`). The verifier finds no word that could change the answer (`alike`). And an embedding model finds both
texts near: it is asked last, about questions that the verifier accepted, so that an ordinary miss costs no embedding. The answer
is then read from the state store, so that a purge or the end of its lifetime is decisive.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

from bascule.core.calls import CacheDirectives, Call
from bascule.core.chat import OPENAI_RESPONSES, ChatChunk, ChatRequest, ChatResponse, ChatStream
from bascule.core.deadlines import Deadline
from bascule.core.embedding import EmbeddingRequest, EmbeddingResponse
from bascule.core.errors import BasculeError, ConfigError, StorageError, UpstreamTimeout
from bascule.core.principals import system_principal
from bascule.core.state import StateStore
from bascule.gateway.alike import Question, alike, read
from bascule.gateway.cache_key import signature, similar_place
from bascule.gateway.kept import (
    RESPONSES,
    STREAMS,
    TOOL_FINISHES,
    KeptResponse,
    KeptStream,
    good_response,
    good_stream,
    replay,
    unpack,
)
from bascule.gateway.layer import Model
from bascule.gateway.metrics import SIMILAR
from bascule.gateway.routes import Options, Route, SemanticCache
from bascule.gateway.semantic_index import Asked, Index, cosine
from bascule.gateway.single_flight import KeepResponse, KeepStream

HIT_REASON: Final = "similar question"
DEADLINE_SHARE: Final = 0.1  # of the time a call has left: most that comparing may take
MAX_PENDING: Final = 4096  # questions whose answer is under way
# What is said before is at the vendor, or what is done depends on more than the words.
_STATEFUL: Final = ("tools", "functions", "mcp_servers", "previous_response_id", "conversation", "container")
_ALONE: Final = CacheDirectives(no_store=True)  # a question's vector is nowhere but in the index

Answer = TypeVar("Answer", KeptResponse, KeptStream)
Embed = Callable[[EmbeddingRequest, Call], Awaitable[EmbeddingResponse]]


class _Wanted(msgspec.Struct, frozen=True):
    """One question on its way to the model."""

    place: bytes
    text: str
    question: Question


class Semantic:
    """`keep_response` and `keep_stream` are called by single_flight in place of the cache's own, which they call.

    Raises ConfigError when the embedding model is not configured.
    """

    __slots__ = (
        "_embed",
        "_indexes",
        "_keep_response",
        "_keep_stream",
        "_max_entry_bytes",
        "_next",
        "_pending",
        "_routes",
        "_signatures",
        "_state",
    )

    def __init__(self, next: Model, routes: Mapping[str, Route], state: StateStore, options: Options) -> None:
        self._next = next
        self._routes = routes
        self._state = state
        self._max_entry_bytes = options.cache_max_entry_bytes
        self._indexes: dict[str, Index] = {}
        self._signatures: dict[str, bytes] = {}
        for name, route in routes.items():
            if route.semantic_cache is None:
                continue
            if route.semantic_cache.embedding_model not in routes:
                raise ConfigError(
                    f"models.{name}.semantic_cache names the embedding model {route.semantic_cache.embedding_model!r}, which is not"
                    " there. Name one under [models], or for the built-in one run: bascule models pull"
                )
            self._indexes[name] = Index(route.semantic_cache.max_entries)
            self._signatures[name] = signature(route)
        self._pending: OrderedDict[str, _Wanted] = OrderedDict()
        self._keep_response: KeepResponse
        self._keep_stream: KeepStream
        self._embed: Embed

    def keep_with(self, response: KeepResponse, stream: KeepStream) -> None:
        """What keeps answers: the cache."""
        self._keep_response, self._keep_stream = response, stream

    def embed_with(self, embed: Embed) -> None:
        """What embeds: the outermost layer, so that embedding has its deadline, its limits and its record like any call."""
        self._embed = embed

    async def chat(self, request: ChatRequest, call: Call) -> ChatResponse:
        wanted = self._wanted(request, call, b"chat")
        if wanted is not None:
            entry = await self._similar(wanted, request.model, call, RESPONSES)
            if entry is not None:
                return entry.response
            self._await(call.shared_key, wanted)
        return await self._next.chat(request, call)

    async def stream(self, request: ChatRequest, call: Call) -> ChatStream:
        wanted = self._wanted(request, call, b"stream")
        if wanted is not None:
            entry = await self._similar(wanted, request.model, call, STREAMS)
            if entry is not None:
                return replay(entry)
            self._await(call.shared_key, wanted)
        return await self._next.stream(request, call)

    async def embed(self, request: EmbeddingRequest, call: Call) -> EmbeddingResponse:
        return await self._next.embed(request, call)

    def _wanted(self, request: ChatRequest, call: Call, operation: bytes) -> _Wanted | None:
        """None where nothing but the very same request may be answered from the cache. An answer made from documents never:
        who may read them is asked each time (law 3)."""
        if request.model not in self._indexes or call.cache != "MISS" or call.document_ids:
            return None
        parted = without_question(request)
        question = read(parted[0]) if parted is not None else None
        if parted is None or question is None:
            return None
        route = self._routes[request.model]
        rest = [parted[1], question.core]
        place = similar_place(self._signatures[route.model], route, call.principal, operation, request, rest)
        return _Wanted(place, parted[0], question)

    # ------------------------------------------------------------ looking

    async def _similar(
        self, wanted: _Wanted, model: str, call: Call, decoder: msgspec.msgpack.Decoder[Answer]
    ) -> Answer | None:
        """The entry of the nearest question that is alike, and the call's verdict set; else None."""
        index, options = self._indexes[model], self._routes[model].semantic_cache
        assert options is not None
        shelf = [asked for asked in index.find(wanted.place) if asked.key != call.shared_key]
        if not shelf:
            return None
        found = [asked for asked in shelf if alike(wanted.question, asked.question)]
        nearest = await self._nearest(wanted.text, found, options, call) if found else "refused"
        if isinstance(nearest, str):
            SIMILAR.labels(model, nearest).inc()
            return None
        asked, score = nearest
        entry = await self._read(asked.key, call, decoder)
        if entry is None:
            index.drop(wanted.place, asked.key)
        outcome = "gone" if entry is None else "hit" if _fresh(entry, call) else "old"
        SIMILAR.labels(model, outcome).inc()
        if entry is None or outcome != "hit":
            return None
        call.cache, call.cache_reason, call.cost_usd = "HIT", f"{HIT_REASON} {score:.3f}", 0.0
        call.age_s = max(0.0, time.time() - entry.stored_at_s)
        return entry

    async def _nearest(
        self, text: str, found: Sequence[Asked], options: SemanticCache, call: Call
    ) -> tuple[Asked, float] | str:
        """Which of those found is nearest, and its cosine; or why none is: then it is a miss."""
        new = [asked for asked in found if asked.vector is None]
        left_s = min(options.timeout_s, DEADLINE_SHARE * call.deadline.left_s())
        asking = Call(system_principal(call.principal.tenant), Deadline.after(left_s), directives=_ALONE)
        texts = (text, *(asked.text for asked in new))
        request = EmbeddingRequest(model=options.embedding_model, texts=texts, purpose="query")
        try:
            response = await self._embed(request, asking)
        except UpstreamTimeout:
            return "late"
        except BasculeError:
            return "failed"
        own, *others = response.vectors
        for asked, vector in zip(new, others, strict=True):
            asked.vector, asked.fingerprint = vector, response.fingerprint
        scores = [_score(own, asked, response.fingerprint) for asked in found]
        place = max(range(len(scores)), key=scores.__getitem__)
        return (found[place], scores[place]) if scores[place] >= options.threshold else "far"

    async def _read(self, key: str, call: Call, decoder: msgspec.msgpack.Decoder[Answer]) -> Answer | None:
        try:
            value = await self._state.get(key)
        except StorageError:
            call.degraded.append("cache_unavailable")
            return None
        return None if value is None else unpack(value, decoder, self._max_entry_bytes)

    # ------------------------------------------------------------ learning

    def _await(self, key: str, wanted: _Wanted) -> None:
        self._pending[key] = wanted
        while len(self._pending) > MAX_PENDING:
            self._pending.popitem(last=False)

    async def keep_response(self, request: ChatRequest, call: Call, response: ChatResponse) -> None:
        await self._keep_response(request, call, response)
        wanted = self._pending.pop(call.shared_key, None)
        if wanted is not None and good_response(response) and response.finish not in TOOL_FINISHES:
            self._learn(wanted, request.model, call)

    async def keep_stream(self, request: ChatRequest, call: Call, stream: ChatStream, chunks: list[ChatChunk]) -> None:
        await self._keep_stream(request, call, stream, chunks)
        wanted = self._pending.pop(call.shared_key, None)
        if wanted is not None and good_stream(chunks) and not any(chunk.finish in TOOL_FINISHES for chunk in chunks):
            self._learn(wanted, request.model, call)

    def _learn(self, wanted: _Wanted, model: str, call: Call) -> None:
        """`call` is the shared one: somebody who has joined it may have brought documents."""
        if not call.document_ids:
            lived_s = self._routes[model].cache_ttl_s
            self._indexes[model].add(wanted.place, call.shared_key, wanted.text, wanted.question, lived_s)


def without_question(request: ChatRequest) -> tuple[str, dict[str, Any]] | None:
    """The text of the last user message, and the whole body without it. None where there is more to that message than one
    text, or more to the request than what it says."""
    view = request.view
    if any(view.get(name) for name in _STATEFUL):
        return None
    field = "input" if request.wire == OPENAI_RESPONSES else "messages"
    turns = view.get(field)
    if isinstance(turns, str) and field == "input":
        return turns, {**view, field: None}
    last = turns[-1] if isinstance(turns, list) and turns else None
    if not isinstance(last, dict) or last.get("role") != "user":
        return None
    parted = _without_text(last.get("content"))
    if parted is None or not isinstance(turns, list):
        return None
    return parted[0], {**view, field: [*turns[:-1], {**last, "content": parted[1]}]}


def _without_text(content: object) -> tuple[str, object] | None:
    if isinstance(content, str):
        return content, None
    part = content[0] if isinstance(content, list) and len(content) == 1 else None
    if isinstance(part, dict) and part.get("type") in ("text", "input_text") and isinstance(part.get("text"), str):
        return part["text"], [{**part, "text": None}]
    return None


def _score(own: bytes, asked: Asked, fingerprint: str) -> float:
    """Vectors of two models do not compare; the older one is made anew next time."""
    if asked.vector is None or asked.fingerprint != fingerprint:
        asked.vector = None
        return -1.0
    return cosine(own, asked.vector)


def _fresh(entry: KeptResponse | KeptStream, call: Call) -> bool:
    age_s = time.time() - entry.stored_at_s
    wishes = call.directives
    return age_s <= entry.fresh_s and (wishes is None or wishes.max_age_s is None or age_s <= wishes.max_age_s)
