"""What one call holds of its limits, from the moment before it goes to a vendor until it is known what it used."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Final

import msgspec

from bascule.core.calls import Call, Usage
from bascule.core.errors import LimitExceeded, StorageError
from bascule.core.state import Admission, Claim, StateStore
from bascule.gateway.budgets import Plan
from bascule.gateway.estimate import BYTES_PER_TOKEN, Estimates
from bascule.gateway.limit import ALONE
from bascule.gateway.routes import Route

LEASE_MARGIN_S: Final = 30.0
TOKENS_PER_S: Final = 50.0  # what a model writes, where a call is given up before it has said anything

_late: set[asyncio.Task[None]] = set()  # settlements whose caller left while they were on their way


class Hold:
    """Settled once, by what the call used; or given back, when no target answered."""

    __slots__ = (
        "_began_s",
        "_call",
        "_estimates",
        "_id",
        "_input_tokens",
        "_output_tokens",
        "_plan",
        "_route",
        "_state",
        "_texts",
        "_wordless",
        "done",
    )

    def __init__(
        self, state: StateStore, route: Route, call: Call, estimates: Estimates, plan: Plan | None, input_tokens: int
    ) -> None:
        self._state = state
        self._route = route
        self._call = call
        self._estimates = estimates
        self._plan = plan
        self._id = ""
        self._input_tokens = input_tokens
        self._output_tokens = 0
        self._texts: list[str] = []
        self._wordless = 0
        self._began_s = 0.0
        self.done = False

    async def take(self, plan: Plan, input_tokens: int, output_tokens: int, *, stated: bool) -> None:
        """Reserve every share of the plan, or raise LimitExceeded. Without a `stated` length a call never claims more than a
        whole limit, so that a small one still admits one call at a time."""
        self._input_tokens, self._output_tokens = input_tokens, output_tokens
        self._began_s = time.monotonic()
        tokens, usd = (
            float(input_tokens + output_tokens),
            plan.input_usd * input_tokens + plan.output_usd * output_tokens,
        )
        claims = []
        for share in plan.shares:
            amount = tokens if share.unit == "tokens" else usd if share.unit == "usd" else 1.0
            if not stated and amount > share.limit:
                amount = share.limit
            claims.append(
                Claim(
                    key=share.key,
                    amount=amount,
                    limit=share.limit,
                    window_s=share.window_s,
                    name=share.name,
                    kind=share.kind,
                )
            )
        self._id, admission = await self._state.reserve(claims, self._route.timeout_s + LEASE_MARGIN_S)
        if admission.degraded and ALONE not in self._call.degraded:
            self._call.degraded.append(ALONE)
        if not admission.admitted:
            raise _refusal(claims, admission)

    def heard(self, text: str) -> None:
        """A piece of the answer. One without text (a part of a tool call or of hidden reasoning) counts as a token."""
        if text:
            self._texts.append(text)
        else:
            self._wordless += 1

    async def settle(self, usage: Usage | None, *, whole: bool = True) -> None:
        """`usage` None: the vendor did not say, so it is estimated from what was sent and heard. Not `whole`: the answer was
        cut, and what the vendor said before may not be all of it."""
        if self.done:
            return
        self.done = True
        call = self._call
        if usage is not None and min(usage.input_tokens, usage.output_tokens, usage.cached_tokens) < 0:
            usage = None  # a vendor that reports nonsense must not give back what others hold
        if usage is None or not whole:
            usage = self._estimated(usage)
        call.usage = usage
        if call.attempts:
            last = call.attempts[-1]
            call.cost_usd = self._route.cost_usd(last.provider, last.model, usage)
        if self._id and self._plan is not None:
            tokens, usd = float(usage.input_tokens + usage.output_tokens), call.cost_usd or 0.0
            used = [tokens if s.unit == "tokens" else usd if s.unit == "usd" else 0.0 for s in self._plan.shares]
            await self._settle(used)

    async def give_back(self) -> None:
        """Nothing was used: no target answered."""
        if not self.done:
            self.done = True
            if self._id and self._plan is not None:
                await self._settle([0.0] * len(self._plan.shares))

    def _estimated(self, said: Usage | None) -> Usage:
        text = "".join(self._texts)
        if self._plan is None or not self._plan.counted:
            output = -(-len(text) // BYTES_PER_TOKEN) + self._wordless
        elif text or self._wordless:
            output = self._estimates.text_tokens(self._route.model, text) + self._wordless
        else:
            written = math.ceil((time.monotonic() - self._began_s) * TOKENS_PER_S)
            output = min(self._output_tokens, written)
        if said is None:
            return Usage(input_tokens=self._input_tokens, output_tokens=output, estimated=True)
        return msgspec.structs.replace(said, output_tokens=max(said.output_tokens, output), estimated=True)

    async def _settle(self, used: list[float]) -> None:
        try:
            await self._state.settle(self._id, used)
        except StorageError:
            # The lease runs out by itself; the answer is not lost for it.
            self._call.degraded.append("limits_unavailable")
        except asyncio.CancelledError:
            # Whoever leaves at the right moment would have called for nothing. Settling twice changes nothing.
            task = asyncio.get_running_loop().create_task(self._settle(used))
            _late.add(task)
            task.add_done_callback(_late.discard)
            raise


def _refusal(claims: list[Claim], admission: Admission) -> LimitExceeded:
    name, wait_s = admission.limit, admission.retry_after_s
    if any(claim.name == name and claim.amount > claim.limit for claim in claims):
        message = f"This call alone may exceed the {name}. Ask for a shorter answer (max_tokens)."
    else:
        message = f"The limit of {name} is reached. Try again in {wait_s:.0f} s."
    return LimitExceeded(message, limit=name, retry_after_s=wait_s)
