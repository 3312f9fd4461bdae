"""From the caller's model name to its targets: how a route is gone through is decided at start, one plan for each route."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol, TypeVar

import msgspec

from bascule.core.calls import Call
from bascule.core.chat import ChatRequest, ChatResponse, ChatStream
from bascule.core.embedding import EmbeddingRequest, EmbeddingResponse
from bascule.gateway.ask import ask
from bascule.gateway.balance import order_of
from bascule.gateway.chain import Chain
from bascule.gateway.deployments import Deployment, Deployments
from bascule.gateway.hedge import Hedged
from bascule.gateway.retry import RetryBudget
from bascule.gateway.routes import Options, Route, Target

T = TypeVar("T")


class Plan(Protocol):
    """How one route's targets are gone through."""

    async def go(self, call: Call, attempt: Callable[[Deployment, Call], Awaitable[T]], *, whole: bool = True) -> T:
        """`whole`: the answer is there when `attempt` returns; else only its beginning. Raises UpstreamError."""
        ...


class Single:
    """One target without a limit of its own: nothing to choose. Raises its own error."""

    __slots__ = ("_budget", "_deployment")

    def __init__(self, deployment: Deployment, budget: RetryBudget) -> None:
        self._deployment = deployment
        self._budget = budget

    async def go(self, call: Call, attempt: Callable[[Deployment, Call], Awaitable[T]], *, whole: bool = True) -> T:
        self._budget.called()
        return await ask(self._deployment, call, attempt, call.deadline)


class Routing:
    """Raises the target's own error where there is one target, AllTargetsFailed where there are several."""

    __slots__ = ("_plans",)

    def __init__(self, plans: Mapping[str, Plan]) -> None:
        self._plans = plans

    async def chat(self, request: ChatRequest, call: Call) -> ChatResponse:
        return await self._plans[request.model].go(call, lambda d, c: d.model.chat(_addressed(request, d.target), c))

    async def stream(self, request: ChatRequest, call: Call) -> ChatStream:
        return await self._plans[request.model].go(
            call, lambda d, c: d.model.stream(_addressed(request, d.target), c), whole=False
        )

    async def embed(self, request: EmbeddingRequest, call: Call) -> EmbeddingResponse:
        def embed(deployment: Deployment, call: Call) -> Awaitable[EmbeddingResponse]:
            asked = msgspec.structs.replace(request, model=deployment.target.model)
            return deployment.model.embed(asked, call)

        return await self._plans[request.model].go(call, embed)


def routing(routes: Mapping[str, Route], providers: Mapping[str, object], options: Options) -> Routing:
    """The routing layer of these routes. Raises ConfigError for a target whose provider is missing."""
    deployments = Deployments(routes, providers, options)
    return Routing({name: _plan(route, deployments, options) for name, route in routes.items()})


def _plan(route: Route, deployments: Deployments, options: Options) -> Plan:
    budget = RetryBudget(options.retry_share, options.retry_floor)
    found = deployments.of(route, budget)
    if len(found) == 1 and found[0].load is None and route.hedge_after_s is None:
        return Single(found[0], budget)
    chain = Chain(route.model, order_of(route.balance, found), budget)
    return chain if route.hedge_after_s is None else Hedged(chain, budget, route.hedge_after_s)


def _addressed(request: ChatRequest, target: Target) -> ChatRequest:
    return ChatRequest(
        wire=request.wire,
        body=request.body,
        view=request.view,
        model=target.model,
        stream=request.stream,
        betas=request.betas,
    )
