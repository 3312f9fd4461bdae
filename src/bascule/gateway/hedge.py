"""A second target is asked when the first is slow: the first good answer wins and the other call is cancelled.

After Dean and Barroso, "The Tail at Scale" (2013): hedged requests. Only for plain calls, and only within the retry budget.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from copy import copy
from typing import TypeVar, cast

import msgspec

from bascule.core.calls import Call, Usage
from bascule.core.chat import ChatResponse
from bascule.core.embedding import EmbeddingResponse
from bascule.core.errors import UpstreamError
from bascule.gateway.chain import Chain, Failures
from bascule.gateway.deployments import Deployment
from bascule.gateway.retry import RetryBudget

T = TypeVar("T")
HEDGED = "hedged"


class _Leg:
    """One of two tries at once. Its call is its own, so that neither writes into the other's facts."""

    __slots__ = ("call", "task")

    def __init__(self, call: Call) -> None:
        self.call = copy(call)
        self.call.attempts, self.call.degraded = [], []
        self.task: asyncio.Task[object]

    def won(self) -> bool:
        return self.task.done() and not self.task.cancelled() and self.task.exception() is None


class Hedged:
    """The first two of the chain's order race (one target alone races itself); the rest are its fallback."""

    __slots__ = ("_after_s", "_budget", "_chain")

    def __init__(self, chain: Chain, budget: RetryBudget, after_s: float) -> None:
        self._chain = chain
        self._budget = budget
        self._after_s = after_s

    async def go(self, call: Call, attempt: Callable[[Deployment, Call], Awaitable[T]], *, whole: bool = True) -> T:
        if not whole:
            return await self._chain.go(call, attempt, whole=False)
        self._budget.called()
        order = self._chain.order()
        legs: list[_Leg] = []
        failed = Failures()
        try:
            found = await self._race(order, call, attempt, legs, failed)
        finally:
            await _stop(legs)
            for leg in sorted(legs, key=_Leg.won):  # the winner's tries come last: they are the answer's
                call.attempts += leg.call.attempts
                call.degraded += leg.call.degraded
        if found is not None:
            if failed.last is not None:
                call.degraded.append(f"fallback:{failed.last.code}")
            return _with_lost(cast("T", found.task.result()), len(legs), failed)
        if not order[2:]:
            raise failed.all_failed(len(order))
        return await self._chain.walk(order[2:], call, attempt, failed, len(order), whole=True)

    async def _race(
        self,
        order: Sequence[Deployment],
        call: Call,
        attempt: Callable[[Deployment, Call], Awaitable[T]],
        legs: list[_Leg],
        failed: Failures,
    ) -> _Leg | None:
        """The leg that won; None when all that were asked have failed. Raises a refusal."""
        second = order[1] if len(order) > 1 else order[0]
        final = len(order) <= 2
        self._start(legs, order[0], call, attempt, final=final)
        await asyncio.wait({legs[0].task}, timeout=self._after_s)
        running = {legs[0].task}
        if not legs[0].task.done() and self._ready(second) and self._budget.take():
            call.degraded.append(HEDGED)
            self._start(legs, second, call, attempt, final=final)
            running.add(legs[1].task)
        while running:
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for leg in legs:
                if leg.task in done and _good(leg, failed):
                    return leg
            if not running and len(legs) == 1 and len(order) > 1:
                self._start(legs, second, call, attempt, final=final)
                running = {legs[1].task}
        return None

    def _ready(self, deployment: Deployment) -> bool:
        load = deployment.load
        return deployment.breaker.ready() and (load is None or load.limit is None or load.busy < load.limit)

    def _start(
        self,
        legs: list[_Leg],
        deployment: Deployment,
        call: Call,
        attempt: Callable[[Deployment, Call], Awaitable[T]],
        *,
        final: bool,
    ) -> None:
        leg = _Leg(call)
        legs.append(leg)
        leg.task = asyncio.create_task(self._chain.ask_one(deployment, leg.call, attempt, final=final))


def _good(leg: _Leg, failed: Failures) -> bool:
    """Whether this ended leg has an answer. Raises its error unless another target may do better."""
    error = leg.task.exception()
    if error is None:
        return True
    if not isinstance(error, UpstreamError) or not error.retryable:
        raise error.with_traceback(None)
    failed.add(error)
    return False


async def _stop(legs: Sequence[_Leg]) -> None:
    """Cancel whoever still runs, so that its upstream call is aborted, and wait until it has written what it did."""
    running = [leg.task for leg in legs if not leg.task.done()]
    for task in running:
        task.cancel()
    await asyncio.gather(*(leg.task for leg in legs), return_exceptions=True)


def _with_lost(result: T, asked: int, failed: Failures) -> T:
    """The target whose call was cancelled has read the same prompt: its tokens, which nobody reports, are counted as well."""
    if asked < 2 or failed.last is not None:
        return result
    if isinstance(result, (ChatResponse, EmbeddingResponse)):
        usage: Usage = result.usage
        twice = msgspec.structs.replace(usage, input_tokens=2 * usage.input_tokens)
        return cast("T", msgspec.structs.replace(result, usage=twice))
    return result
