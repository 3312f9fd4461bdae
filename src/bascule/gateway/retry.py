"""Tries at one target: only what is retryable, with full jitter, honouring Retry-After, inside the deadline and a retry budget.

Full jitter: Brooker, "Exponential Backoff And Jitter" (2015). Retry budget: as in Finagle's RetryBudget.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from bascule.core.calls import Attempt, Call
from bascule.core.chat import ChatRequest, ChatResponse, ChatStream
from bascule.core.deadlines import Deadline
from bascule.core.embedding import EmbeddingRequest, EmbeddingResponse
from bascule.core.errors import BasculeError, UpstreamError, UpstreamTimeout
from bascule.gateway.breaker import Breaker
from bascule.gateway.layer import Model
from bascule.gateway.routes import Options, Target

T = TypeVar("T")
BASE_S: Final = 0.25
LONGEST_S: Final = 4.0
CREDIT_MAX: Final = 100.0
FLOOR_PER_S: Final = 0.2
# A call that is cancelled this close to its end (seconds, or a share of its time) was cancelled by its deadline.
SILENT_S: Final = 0.05
SILENT_SHARE: Final = 0.03


class RetryBudget:
    """Of one route, all its targets together: what is asked again or twice (hedged) is paid from it.

    `share` of a retry is earned by each call; besides, `floor` retries are always allowed, renewed slowly.
    """

    __slots__ = ("_at_s", "_clock", "_credit", "_floor", "_share")

    def __init__(self, share: float, floor: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._share = share
        self._floor = floor
        self._clock = clock
        self._credit = floor
        self._at_s = clock()

    def called(self) -> None:
        self._credit = min(CREDIT_MAX, self._credit + self._share)

    def take(self) -> bool:
        """Spend one retry; False when there is none."""
        now_s = self._clock()
        if self._credit < self._floor:
            self._credit = min(self._floor, self._credit + (now_s - self._at_s) * FLOOR_PER_S)
        self._at_s = now_s
        if self._credit < 1.0:
            return False
        self._credit -= 1.0
        return True


def silent(call: Call, until: Deadline) -> bool:
    """Whether a call cancelled now has had all the time there was: its target kept silent, its caller did not leave."""
    return until.left_s() < max(SILENT_S, SILENT_SHARE * (until.at_s - call.started_s))


class Retry:
    """`longest_wait_s`: with other targets behind this one, a long Retry-After is better spent there. `breaker`: the target's own,
    under which nothing is tried again while it is open or its probe is under way."""

    __slots__ = ("_breaker", "_budget", "_jitter", "_longest_wait_s", "_max_attempts", "_next", "_target")

    def __init__(
        self,
        next: Model,
        target: Target,
        options: Options,
        *,
        breaker: Breaker | None = None,
        budget: RetryBudget | None = None,
        longest_wait_s: float = float("inf"),
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._next = next
        self._target = target
        self._max_attempts = options.max_attempts
        self._breaker = breaker
        self._budget = budget or RetryBudget(options.retry_share, options.retry_floor)
        self._longest_wait_s = longest_wait_s
        self._jitter = jitter

    async def chat(self, request: ChatRequest, call: Call) -> ChatResponse:
        return await self._try(lambda: self._next.chat(request, call), call)

    async def stream(self, request: ChatRequest, call: Call) -> ChatStream:
        """Until the first event: what the caller has seen begin cannot be begun again."""
        return await self._try(lambda: self._next.stream(request, call), call)

    async def embed(self, request: EmbeddingRequest, call: Call) -> EmbeddingResponse:
        return await self._try(lambda: self._next.embed(request, call), call)

    async def _try(self, attempt: Callable[[], Awaitable[T]], call: Call) -> T:
        for tried in range(1, self._max_attempts + 1):
            began_s = time.monotonic()
            try:
                result = await attempt()
            except BasculeError as error:
                self._note(call, began_s, error.code)
                wait_s = self._wait_s(error, tried, call)
                if wait_s is None:
                    raise
                failed = error
            except BaseException:
                # Cancelled at its deadline, the target was silent; cancelled before, its caller has left.
                self._note(call, began_s, UpstreamTimeout.code if silent(call, call.deadline) else "cancelled")
                raise
            else:
                self._note(call, began_s, "")
                return result
            await asyncio.sleep(wait_s)
            if self._breaker is not None and not self._breaker.closed:
                raise failed.with_traceback(None)  # others have opened it meanwhile
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _note(self, call: Call, began_s: float, error: str) -> None:
        call.attempts.append(
            Attempt(
                provider=self._target.provider,
                model=self._target.model,
                latency_s=time.monotonic() - began_s,
                error=error,
                after_s=began_s - call.started_s,
            )
        )

    def _wait_s(self, error: BasculeError, tried: int, call: Call) -> float | None:
        """How long to wait before the next try; None to give up."""
        if tried >= self._max_attempts or not error.retryable or not isinstance(error, UpstreamError):
            return None
        if self._breaker is not None and not self._breaker.closed:
            return None
        wait_s = self._jitter(0.0, min(LONGEST_S, BASE_S * 2.0 ** (tried - 1)))
        if error.retry_after_s is not None:
            wait_s += error.retry_after_s
        if wait_s >= call.deadline.left_s() or wait_s > self._longest_wait_s or not self._budget.take():
            return None
        return wait_s
