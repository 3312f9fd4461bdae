"""Several targets in turn: a retryable failure goes on to the next, a refusal does not; a full one is passed over."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from bascule.core.calls import Call
from bascule.core.deadlines import Deadline
from bascule.core.errors import AllTargetsFailed, UpstreamError, UpstreamRateLimited, UpstreamTimeout
from bascule.gateway.ask import ask, ask_holding
from bascule.gateway.deployments import Deployment
from bascule.gateway.load import Load, first_place
from bascule.gateway.retry import RetryBudget

log = logging.getLogger(__name__)

T = TypeVar("T")
FULL_RETRY_S: Final = 1.0  # what a caller is told to wait when every deployment stayed full
Order = Callable[[], Sequence[Deployment]]


class Failures:
    """What has failed so far on one call, and the soonest any of those targets wants to be asked again."""

    __slots__ = ("_again_at_s", "last")

    def __init__(self) -> None:
        self.last: UpstreamError | None = None
        self._again_at_s: float | None = None

    def add(self, error: UpstreamError) -> None:
        self.last = error
        if error.retry_after_s is not None:
            again_at_s = time.monotonic() + error.retry_after_s
            self._again_at_s = again_at_s if self._again_at_s is None else min(again_at_s, self._again_at_s)

    def all_failed(self, targets: int) -> UpstreamError:
        """The error for the caller, with what remains of the shortest Retry-After."""
        last = self.last
        assert last is not None
        if targets == 1:
            return last
        error = AllTargetsFailed("Every target of this model failed.", last=last)
        if self._again_at_s is not None:
            error.retry_after_s = max(0.0, self._again_at_s - time.monotonic())
        return error


class Chain:
    """Raises AllTargetsFailed; the target's own error where there is one; UpstreamRateLimited when all stayed full."""

    __slots__ = ("_budget", "_model", "_order")

    def __init__(self, model: str, order: Order, budget: RetryBudget) -> None:
        self._model = model
        self._order = order
        self._budget = budget

    async def go(self, call: Call, attempt: Callable[[Deployment, Call], Awaitable[T]], *, whole: bool = True) -> T:
        self._budget.called()
        order = self._order()
        return await self.walk(order, call, attempt, Failures(), len(order), whole=whole)

    def order(self) -> Sequence[Deployment]:
        return self._order()

    async def walk(
        self,
        order: Sequence[Deployment],
        call: Call,
        attempt: Callable[[Deployment, Call], Awaitable[T]],
        failed: Failures,
        targets: int,
        *,
        whole: bool,
    ) -> T:
        """The first good answer of these, asked in turn; `failed` may hold earlier failures of the route's `targets`."""
        full: list[Deployment] = []
        for place, deployment in enumerate(order):
            load = deployment.load
            if load is not None and not load.take():
                full.append(deployment)
                continue
            final = place == len(order) - 1 and not full
            try:
                result = await self.ask_in_turn(deployment, call, attempt, load, final=final, whole=whole)
            except UpstreamError as error:
                if not error.retryable:
                    raise
                failed.add(error)
                if not final:
                    log.warning("model %s: a target failed (%s), trying the next", self._model, error.code)
                continue
            return _told(call, failed, result)
        if full:
            return _told(call, failed, await self._wait(full, call, attempt, failed))
        raise failed.all_failed(targets)

    async def _wait(
        self,
        full: Sequence[Deployment],
        call: Call,
        attempt: Callable[[Deployment, Call], Awaitable[T]],
        failed: Failures,
    ) -> T:
        """For a place on any of these: at most half of the time that is left, so that the other half is for an answer."""
        load = await first_place([d.load for d in full if d.load is not None], call.deadline.check() / 2)
        if load is None:
            if failed.last is not None:
                raise failed.all_failed(2)
            message = "Every deployment of this model is full."
            raise UpstreamRateLimited(message, provider=full[0].target.provider, retry_after_s=FULL_RETRY_S)
        deployment = next(d for d in full if d.load is load)
        return await ask_holding(deployment, call, attempt, call.deadline, load)

    async def ask_one(
        self,
        deployment: Deployment,
        call: Call,
        attempt: Callable[[Deployment, Call], Awaitable[T]],
        *,
        final: bool,
    ) -> T:
        """One target alone, waiting for a place on it where it is full."""
        load = deployment.load
        if load is not None and not load.take():
            return await self._wait((deployment,), call, attempt, Failures())
        return await self.ask_in_turn(deployment, call, attempt, load, final=final, whole=True)

    async def ask_in_turn(
        self,
        deployment: Deployment,
        call: Call,
        attempt: Callable[[Deployment, Call], Awaitable[T]],
        load: Load | None,
        *,
        final: bool,
        whole: bool,
    ) -> T:
        """One target of several, whose place on `load` is taken. Unless it is the last it gets half of the time that is left:
        to answer, or to begin to."""
        if final:
            return await _ask(deployment, call, attempt, call.deadline, load)
        deadline = call.deadline
        try:
            half_s = deadline.check() / 2
            until = Deadline.after(half_s)
        except UpstreamTimeout:
            if load is not None:
                load.release()
            raise
        if whole:
            call.deadline = until
        try:
            async with asyncio.timeout(half_s):
                return await _ask(deployment, call, attempt, until, load)
        except TimeoutError:
            raise UpstreamTimeout("The target did not answer in its share of the time.") from None
        finally:
            call.deadline = deadline


def _told(call: Call, failed: Failures, result: T) -> T:
    if failed.last is not None:
        call.degraded.append(f"fallback:{failed.last.code}")
    return result


async def _ask(
    deployment: Deployment,
    call: Call,
    attempt: Callable[[Deployment, Call], Awaitable[T]],
    until: Deadline,
    load: Load | None,
) -> T:
    if load is None:
        return await ask(deployment, call, attempt, until)
    return await ask_holding(deployment, call, attempt, until, load)
