"""In which order a route's targets are tried: as configured, by weight, or the least busy first.

Targets of one tier share the load; a later tier is asked only when the earlier ones have failed or are full.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Final, Literal

from bascule.gateway.deployments import Deployment

Balance = Literal["order", "weighted", "least_busy"]
Order = Callable[[], Sequence[Deployment]]
Uniform = Callable[[], float]


def order_of(balance: Balance, deployments: Sequence[Deployment], *, uniform: Uniform = random.random) -> Order:
    """Decided once, at start: a route in fixed order chooses nothing per call. `uniform` gives numbers in [0, 1)."""
    by_tier = sorted(deployments, key=_tier)  # stable: within a tier as configured
    if balance == "order":
        fixed = tuple(by_tier)
        return lambda: fixed
    tiers = [tuple(group) for _, group in groupby(by_tier, key=_tier)]
    arrange = _ARRANGE[balance]
    return lambda: [deployment for tier in tiers for deployment in arrange(tier, uniform)]


def _tier(deployment: Deployment) -> int:
    return deployment.target.tier


def _weighted(tier: Iterable[Deployment], uniform: Uniform) -> list[Deployment]:
    # Efraimidis and Spirakis, "Weighted random sampling with a reservoir" (2006): the largest u^(1/w) comes first, with
    # probability w over the sum of the weights, and what is left is in the same proportion.
    return sorted(tier, key=lambda d: uniform() ** (1.0 / d.target.weight), reverse=True)


def _least_busy(tier: Iterable[Deployment], uniform: Uniform) -> list[Deployment]:
    """By calls under way for each unit of weight; equals in random order, so that an idle tier is spread over."""
    return sorted(tier, key=lambda d: ((d.load.busy if d.load else 0) / d.target.weight, uniform()))


_ARRANGE: Final[Mapping[str, Callable[[Iterable[Deployment], Uniform], list[Deployment]]]] = {
    "weighted": _weighted,
    "least_busy": _least_busy,
}
