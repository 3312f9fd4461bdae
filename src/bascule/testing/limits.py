"""What tests of limits need: a state store that shows what is held, and gateways with limits of every scope."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence

from bascule.core.calls import Usage
from bascule.core.errors import LimitExceeded
from bascule.core.state import Admission, Claim, StateStore
from bascule.gateway.gateway import build
from bascule.gateway.routes import UNLIMITED, Limits, Options, Route, Target
from bascule.plugins.state_stores.memory import MemoryState
from bascule.testing.gateway import Bench, ScriptedModel, call, request, until


class Ledger(MemoryState):
    """A memory store that knows, by claim key, what is held now and what was the most ever held; windows are not looked at."""

    def __init__(self, **fields: object) -> None:
        super().__init__(**fields)  # type: ignore[arg-type]
        self.now: defaultdict[str, float] = defaultdict(float)
        self.most: defaultdict[str, float] = defaultdict(float)
        self.reserved = 0
        self._under_way: dict[str, Sequence[Claim]] = {}

    def held(self, prefix: str) -> float:
        return sum(amount for key, amount in self.now.items() if key.startswith(prefix))

    async def reserve(self, claims: Sequence[Claim], lease_s: float) -> tuple[str, Admission]:
        self.reserved += 1
        reservation_id, admission = await super().reserve(claims, lease_s)
        if reservation_id:
            self._under_way[reservation_id] = claims
            for claim in claims:
                self._move(claim.key, claim.amount)
        return reservation_id, admission

    async def settle(self, reservation_id: str, amounts: Sequence[float]) -> None:
        await super().settle(reservation_id, amounts)
        for claim, used in zip(self._under_way.pop(reservation_id, ()), amounts, strict=False):
            self._move(claim.key, (0.0 if claim.kind == "slot" else used) - claim.amount)

    def _move(self, key: str, by: float) -> None:
        self.now[key] += by
        self.most[key] = max(self.most[key], self.now[key])


def limited(
    provider: object,
    *,
    key: Limits = UNLIMITED,
    user: Limits = UNLIMITED,
    tenant: Limits = UNLIMITED,
    tenants: Mapping[str, Limits] | None = None,
    model: Limits = UNLIMITED,
    prices: tuple[float | None, float | None] = (1.0, 2.0),
    state: StateStore | None = None,
) -> Bench:
    """A gateway with the models `fast` (limited by `model`) and `other`, at prices in USD per million tokens in and out."""
    target = Target(provider="p", model="m", input_usd_per_mtok=prices[0], output_usd_per_mtok=prices[1])
    routes = {
        "fast": Route(model="fast", targets=(target,), limits=model, timeout_s=5.0),
        "other": Route(model="other", targets=(target,), timeout_s=5.0),
    }
    records: list[object] = []
    store = state or Ledger()
    options = Options(user_limits=user, tenant_limits=tenant, tenants=tenants or {}, max_attempts=1)
    gateway = build(routes, {"p": provider}, store, records.append, lambda _: key, options)
    return Bench(gateway, store, records)  # type: ignore[arg-type]


async def admitted(stores: Sequence[StateStore], limits: Limits, *, calls: int = 1000) -> list[LimitExceeded | None]:
    """What became of so many different calls of one key at once, in turn over a gateway on each of the stores (clients of one
    shared store, as in several processes). Each call's answer is 500 tokens long and costs 0.001 USD, as is reserved; all are
    answered only when each has been admitted or refused."""
    gate = asyncio.Event()
    model = ScriptedModel(gate=gate)
    model.usage = Usage(input_tokens=0, output_tokens=500)
    gateways = [limited(model, key=limits, prices=(0.0, 2.0), state=store).gateway for store in stores]
    running = [
        asyncio.create_task(gateways[i % len(gateways)].chat(request(f"q{i}", max_tokens=500), call(timeout_s=30.0)))
        for i in range(calls)
    ]
    await until(lambda: len(model.requests) + sum(task.done() for task in running) == calls, within_s=30.0)
    gate.set()
    found = await asyncio.gather(*running, return_exceptions=True)
    unforeseen = [error for error in found if isinstance(error, BaseException) and not isinstance(error, LimitExceeded)]
    assert unforeseen == []
    return [error if isinstance(error, LimitExceeded) else None for error in found]
