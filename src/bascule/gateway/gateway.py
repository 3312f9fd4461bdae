"""The gateway: every layer joined, in the one order there is. Itself a ChatModel and an EmbeddingModel.

Record > Deadline > Guard > Limit > Cache > SingleFlight > Reserve > Route > Retry > provider
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from bascule.core.calls import Call, CallRecord
from bascule.core.chat import ChatRequest, ChatResponse, ChatStream
from bascule.core.deadlines import Deadline
from bascule.core.embedding import EmbeddingRequest, EmbeddingResponse, Purpose
from bascule.core.errors import ConfigError, UpstreamInvalid
from bascule.core.principals import Principal, system_principal
from bascule.core.state import StateStore
from bascule.gateway.breaker import Breaker
from bascule.gateway.cache import Cache
from bascule.gateway.deadline import Deadlines
from bascule.gateway.guard import Guard
from bascule.gateway.layer import Model, whole
from bascule.gateway.limit import Limit
from bascule.gateway.metrics import CallMetrics
from bascule.gateway.record import Record
from bascule.gateway.reserve import Reserve
from bascule.gateway.retry import Retry
from bascule.gateway.route import Deployment, Routing
from bascule.gateway.routes import Limits, Options, Route
from bascule.gateway.single_flight import SingleFlight

PATIENCE_S: Final = 1.0  # the longest wait before a retry while another target is left


class Gateway:
    """What `build` returns. `aclose` stops the shared calls that are still under way."""

    def __init__(self, outermost: Model, shared: SingleFlight, routes: Mapping[str, Route]) -> None:
        self._outermost = outermost
        self._shared = shared
        self._routes = routes

    async def chat(self, request: ChatRequest, call: Call) -> ChatResponse:
        return await self._outermost.chat(request, call)

    async def stream(self, request: ChatRequest, call: Call) -> ChatStream:
        return await self._outermost.stream(request, call)

    async def embed(self, request: EmbeddingRequest, call: Call) -> EmbeddingResponse:
        return await self._outermost.embed(request, call)

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
    limits_of: Callable[[Principal], Limits],
    options: Options,
) -> Gateway:
    """Join the layers. `providers` by the names that targets use; one that only chats or only embeds is fine.

    Raises ConfigError for a target whose provider is missing.
    """
    deployments = {name: _deployments(route, providers, options) for name, route in routes.items()}
    reserve = Reserve(Routing(deployments), routes, state, limits_of, options.default_output_tokens)
    shared = SingleFlight(reserve, routes, options.max_stream_bytes)
    cache = Cache(shared, routes, state, options.cache_max_entry_bytes)
    shared.keep_with(cache.keep_response, cache.keep_stream)
    guard = Guard(Limit(cache, state, limits_of), routes, options)
    record = Record(Deadlines(guard, routes, options.timeout_s), sink, CallMetrics(frozenset(routes)))
    return Gateway(record, shared, routes)


def _deployments(route: Route, providers: Mapping[str, object], options: Options) -> tuple[Deployment, ...]:
    found = []
    for place, target in enumerate(route.targets):
        if target.provider not in providers:
            raise ConfigError(
                f"models.{route.model}.targets names the provider {target.provider!r}, which is not there."
            )
        final = place == len(route.targets) - 1
        retry = Retry(
            whole(providers[target.provider]), target, options, longest_wait_s=float("inf") if final else PATIENCE_S
        )
        breaker = Breaker(
            options.breaker_failures, options.breaker_open_s, provider=target.provider, model=target.model
        )
        found.append(Deployment(target=target, model=retry, breaker=breaker))
    return tuple(found)
