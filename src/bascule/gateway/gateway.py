"""The gateway: every layer joined, in the one order there is. Itself a ChatModel and an EmbeddingModel.

Record > Deadline > Guard > Limit > (Policies) > Cache > (Semantic) > SingleFlight > Reserve > Route > Retry > provider

A request that comes again byte by byte after a hit takes the steps of Record, Limit and Cache at once: see `again`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from bascule.core.calls import Call, CallRecord
from bascule.core.chat import ChatRequest, ChatResponse, ChatStream
from bascule.core.deadlines import Deadline
from bascule.core.embedding import EmbeddingRequest, EmbeddingResponse, Purpose
from bascule.core.errors import ConfigError, UpstreamInvalid
from bascule.core.policies import Policy
from bascule.core.principals import Principal, system_principal
from bascule.core.state import StateStore
from bascule.gateway.again import Again, Known
from bascule.gateway.budgets import Budgets
from bascule.gateway.cache import Cache
from bascule.gateway.deadline import Deadlines
from bascule.gateway.guard import Guard
from bascule.gateway.layer import Model
from bascule.gateway.limit import Limit
from bascule.gateway.metrics import CallMetrics
from bascule.gateway.policy import Policies
from bascule.gateway.record import Record, Room
from bascule.gateway.replicas import Replicas
from bascule.gateway.reserve import Reserve
from bascule.gateway.route import routing
from bascule.gateway.routes import Limits, Options, Route
from bascule.gateway.semantic import Semantic
from bascule.gateway.single_flight import SingleFlight


class Gateway:
    """What `build` returns. `aclose` stops the shared calls that are still under way."""

    def __init__(self, outermost: Model, shared: SingleFlight, routes: Mapping[str, Route], again: Again) -> None:
        self._outermost = outermost
        self._shared = shared
        self._routes = routes
        self._again = again

    async def chat(self, request: ChatRequest, call: Call) -> ChatResponse:
        return await self._outermost.chat(request, call)

    async def stream(self, request: ChatRequest, call: Call) -> ChatStream:
        return await self._outermost.stream(request, call)

    async def embed(self, request: EmbeddingRequest, call: Call) -> EmbeddingResponse:
        return await self._outermost.embed(request, call)

    def learn(self, request: ChatRequest, call: Call) -> Known | None:
        """After `chat`: what the same request may be answered by next time, if it was a hit."""
        return self._again.learn(request, call)

    def answer(self, known: Known, call_id: str) -> tuple[ChatResponse, float] | None:
        """The same request again, in one step: the kept answer and its age. None: ask `chat`. Whoever calls this has checked
        that the sender is still `known.principal`."""
        return self._again.answer(known, call_id)

    def models(self) -> list[str]:
        """The names callers may use: from the configuration alone, so that it never depends on a vendor."""
        return list(self._routes)

    def route(self, model: str) -> Route | None:
        return self._routes.get(model)

    @property
    def under_way(self) -> int:
        """Shared upstream calls that have not ended."""
        return self._shared.under_way

    async def embedder(self, model: str, *, tenant: str = "system") -> GatewayEmbedder:
        """The embedder of one model. Its fingerprint and dimension are learnt by embedding one word.

        Raises ConfigError for an unknown model, UpstreamError when it is not in reach.
        """
        route = self._routes.get(model)
        if route is None:
            raise ConfigError(f"There is no model {model!r} under [models].")
        call = Call(system_principal(tenant), Deadline.after(route.timeout_s))
        response = await self.embed(EmbeddingRequest(model=model, texts=("bridge",), purpose="document"), call)
        return GatewayEmbedder(self, model, response.fingerprint, response.dimension)

    def adopt(self, new: Gateway) -> Gateway:
        """From now on be `new`. Calls and streams under way go on in what was, which is returned to be closed after them."""
        was = Gateway(self._outermost, self._shared, self._routes, self._again)
        self._outermost, self._shared, self._routes = new._outermost, new._shared, new._routes
        self._again = new._again
        return was

    async def aclose(self) -> None:
        await self._shared.aclose()


class GatewayEmbedder:
    """Embedder: one model of the gateway, held to the fingerprint it had at first."""

    def __init__(self, gateway: Gateway, model: str, fingerprint: str, dimension: int) -> None:
        self._gateway = gateway
        self._model = model
        self.fingerprint = fingerprint
        self.dimension = dimension

    async def embed(self, texts: Sequence[str], purpose: Purpose, call: Call) -> tuple[bytes, ...]:
        """Raises UpstreamInvalid when the model has become another: its vectors would not compare with those kept."""
        if not texts:
            return ()
        response = await self._gateway.embed(
            EmbeddingRequest(model=self._model, texts=tuple(texts), purpose=purpose), call
        )
        if response.fingerprint != self.fingerprint:
            raise UpstreamInvalid("The embedding model has changed. Restart the server and embed the documents again.")
        return response.vectors


def build(
    routes: Mapping[str, Route],
    providers: Mapping[str, object],
    state: StateStore,
    sink: Callable[[CallRecord], None],
    limits_of: Callable[[Principal], Limits] | None,
    options: Options,
    *,
    policies: Mapping[str, Policy] | None = None,
    room: Room | None = None,
) -> Gateway:
    """Join the layers. `providers` by the names that targets use; one that only chats or only embeds is fine. `policies` by
    the names that routes use; `room` makes calls wait while records cannot be taken. `limits_of` None: keys have no limits.

    Raises ConfigError for a target whose provider is missing.
    """
    budgets = Budgets(routes, options, limits_of)
    reserve = Reserve(routing(routes, providers, options), routes, state, budgets, options.default_output_tokens)
    replicas = Replicas(state, options.cache_max_entry_bytes) if state.shared else None
    shared = SingleFlight(reserve, routes, options.max_stream_bytes, replicas)
    semantic = _semantic(shared, routes, state, options)
    cache = Cache(semantic or shared, routes, state, options)
    keeper = semantic or cache
    shared.keep_with(keeper.keep_response, keeper.keep_stream)
    shared.hand_over_with(cache.keep_batch)
    for name in {name for route in routes.values() for name in route.policies} - set(policies or ()):
        raise ConfigError(f"A model names the policy {name!r}, which is not there.")
    kept: Model = Policies(cache, routes, policies) if policies else cache
    guard = Guard(kept if budgets.none else Limit(kept, state, budgets), routes, options)
    record = Record(Deadlines(guard, routes, options.timeout_s), sink, CallMetrics(frozenset(routes)), routes, room)
    if semantic is not None:
        semantic.keep_with(cache.keep_response, cache.keep_stream)
        semantic.embed_with(record.embed)
    return Gateway(record, shared, routes, Again(record, routes, state, budgets, options))


def _semantic(
    shared: SingleFlight, routes: Mapping[str, Route], state: StateStore, options: Options
) -> Semantic | None:
    """In the chain only where a model is configured for it."""
    if all(route.semantic_cache is None for route in routes.values()):
        return None
    return Semantic(shared, routes, state, options)
