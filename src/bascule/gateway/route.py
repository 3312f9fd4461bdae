"""From the caller's model name to its targets, in order: a retryable failure goes on to the next, a refusal does not."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeVar

import msgspec

from bascule.core.calls import Call
from bascule.core.chat import ChatRequest, ChatResponse, ChatStream
from bascule.core.deadlines import Deadline
from bascule.core.embedding import EmbeddingRequest, EmbeddingResponse
from bascule.core.errors import (
    AllTargetsFailed,
    BasculeError,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from bascule.gateway.breaker import Breaker
from bascule.gateway.layer import Model
from bascule.gateway.routes import Target

log = logging.getLogger(__name__)

T = TypeVar("T")
# A call that is cancelled with less than this left was cancelled by its deadline: the target was silent.
SILENT_S: Final = 0.05


class Deployment(msgspec.Struct, frozen=True):
    """A target, its model (the retry layer around the provider) and its breaker."""

    target: Target
    model: Model
    breaker: Breaker


class Routing:
    """Raises the target's own error where there is one target, AllTargetsFailed where there are several."""

    __slots__ = ("_deployments",)

    def __init__(self, deployments: Mapping[str, tuple[Deployment, ...]]) -> None:
        self._deployments = deployments

    async def chat(self, request: ChatRequest, call: Call) -> ChatResponse:
        return await self._go(request.model, call, lambda d: d.model.chat(_addressed(request, d.target), call))

    async def stream(self, request: ChatRequest, call: Call) -> ChatStream:
        return await self._go(
            request.model, call, lambda d: d.model.stream(_addressed(request, d.target), call), whole=False
        )

    async def embed(self, request: EmbeddingRequest, call: Call) -> EmbeddingResponse:
        def embed(deployment: Deployment) -> Awaitable[EmbeddingResponse]:
            asked = msgspec.structs.replace(request, model=deployment.target.model)
            return deployment.model.embed(asked, call)

        return await self._go(request.model, call, embed)

    async def _go(
        self, model: str, call: Call, attempt: Callable[[Deployment], Awaitable[T]], *, whole: bool = True
    ) -> T:
        deployments = self._deployments[model]
        if len(deployments) == 1:
            return await self._ask(deployments[0], call, attempt, call.deadline)
        last: BasculeError | None = None
        for place, deployment in enumerate(deployments):
            final = place == len(deployments) - 1
            try:
                result = await self._ask_in_turn(deployment, call, attempt, final=final, whole=whole)
            except UpstreamError as error:
                if not error.retryable:
                    raise
                last = error
                if not final:
                    log.warning("model %s: target %d failed (%s), trying the next", model, place + 1, error.code)
                continue
            if last is not None:
                call.degraded.append(f"fallback:{last.code}")
            return result
        assert last is not None
        raise AllTargetsFailed("Every target of this model failed.", last=last)

    async def _ask_in_turn(
        self,
        deployment: Deployment,
        call: Call,
        attempt: Callable[[Deployment], Awaitable[T]],
        *,
        final: bool,
        whole: bool,
    ) -> T:
        """One target of several. Unless it is the last it gets half of the time that is left: to answer, or to begin to."""
        if final:
            return await self._ask(deployment, call, attempt, call.deadline)
        deadline = call.deadline
        half_s = deadline.check() / 2
        until = Deadline.after(half_s)
        if whole:
            call.deadline = until
        try:
            async with asyncio.timeout(half_s):
                return await self._ask(deployment, call, attempt, until)
        except TimeoutError:
            raise UpstreamTimeout("The target did not answer in its share of the time.") from None
        finally:
            call.deadline = deadline

    async def _ask(
        self, deployment: Deployment, call: Call, attempt: Callable[[Deployment], Awaitable[T]], until: Deadline
    ) -> T:
        breaker = deployment.breaker
        if not breaker.admits():
            message = "The model's provider has failed repeatedly and is not asked for a while."
            raise UpstreamUnavailable(message, provider=deployment.target.provider, retry_after_s=breaker.wait_s())
        try:
            result = await attempt(deployment)
        except BasculeError as error:
            if isinstance(error, UpstreamError) and error.retryable and not isinstance(error, UpstreamRateLimited):
                breaker.fault()
            else:
                breaker.success()
            raise
        except BaseException:
            if until.left_s() < SILENT_S:
                breaker.fault()
            else:
                breaker.unknown()
            raise
        breaker.success()
        return result


def _addressed(request: ChatRequest, target: Target) -> ChatRequest:
    return ChatRequest(
        wire=request.wire, body=request.body, view=request.view, model=target.model, stream=request.stream
    )
