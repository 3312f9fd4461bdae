"""A deployment: one target with all that is kept about it between calls. Routes that name the same model share its health."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from bascule.core.errors import ConfigError
from bascule.gateway.breaker import Breaker
from bascule.gateway.layer import Model
from bascule.gateway.load import Load
from bascule.gateway.retry import Retry, RetryBudget
from bascule.gateway.routes import Options, Route, Target
from bascule.gateway.translate import in_any_wire

PATIENCE_S: Final = 1.0  # the longest wait before a retry while another target is left


class Deployment(msgspec.Struct, frozen=True):
    """A target, its model (the retry layer around the provider), its breaker, and its load where a route asks for it."""

    target: Target
    model: Model
    breaker: Breaker
    load: Load | None = None


class Deployments:
    """Makes them. One breaker and one load for each provider and model; of several limits given for it, the smallest holds."""

    def __init__(self, routes: Mapping[str, Route], providers: Mapping[str, object], options: Options) -> None:
        self._providers = providers
        self._options = options
        self._breakers: dict[tuple[str, str], Breaker] = {}
        self._loads = _loads(routes)

    def of(self, route: Route, budget: RetryBudget) -> tuple[Deployment, ...]:
        """In the order given. Raises ConfigError for a target whose provider is missing."""
        last = max(target.tier for target in route.targets)
        found = []
        for place, target in enumerate(route.targets):
            if target.provider not in self._providers:
                raise ConfigError(
                    f"models.{route.model}.targets names the provider {target.provider!r}, which is not there."
                )
            alone = len(route.targets) == 1 or (
                route.balance == "order" and place == len(route.targets) - 1 and target.tier == last
            )
            breaker = self._breaker(target)
            retry = Retry(
                in_any_wire(self._providers[target.provider]),
                target,
                self._options,
                breaker=breaker,
                budget=budget,
                longest_wait_s=float("inf") if alone else PATIENCE_S,
            )
            found.append(
                Deployment(
                    target=target,
                    model=retry,
                    breaker=breaker,
                    load=self._loads.get((target.provider, target.model)),
                )
            )
        return tuple(found)

    def _breaker(self, target: Target) -> Breaker:
        name = (target.provider, target.model)
        if name not in self._breakers:
            self._breakers[name] = Breaker(
                self._options.breaker_failures,
                self._options.breaker_open_s,
                provider=target.provider,
                model=target.model,
            )
        return self._breakers[name]


def _loads(routes: Mapping[str, Route]) -> dict[tuple[str, str], Load]:
    """Counting costs a little, so only what a limit or a balance needs is counted."""
    found: dict[tuple[str, str], Load] = {}
    for route in routes.values():
        for target in route.targets:
            if target.max_concurrent is None and route.balance != "least_busy":
                continue
            load = found.setdefault((target.provider, target.model), Load())
            if target.max_concurrent is not None:
                load.limit = min(target.max_concurrent, load.limit or target.max_concurrent)
    return found
