"""What the operator configured about model calls: routes, targets, limits and options, as plain values."""

from __future__ import annotations

from typing import Literal

import msgspec

from bascule.core.calls import Usage


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment: a model at a provider. Prices are USD for a million tokens; None means unknown."""

    provider: str
    model: str
    input_usd_per_mtok: float | None = None
    output_usd_per_mtok: float | None = None

    def cost_usd(self, input_tokens: int, output_tokens: int) -> float | None:
        """None where a price is not known."""
        if self.input_usd_per_mtok is None and self.output_usd_per_mtok is None:
            return None
        into, out = self.input_usd_per_mtok or 0.0, self.output_usd_per_mtok or 0.0
        return (into * input_tokens + out * output_tokens) / 1_000_000


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """The name callers use, and where its calls go: targets are tried in order.

    cache_scope  who shares cached answers and calls in flight: everybody of the tenant, or one key alone
    """

    model: str
    targets: tuple[Target, ...]
    timeout_s: float = 15.0
    cache_ttl_s: float = 3600.0
    cache_scope: Literal["tenant", "key"] = "tenant"

    def cost_usd(self, provider: str, model: str, usage: Usage) -> float | None:
        for target in self.targets:
            if target.model == model and target.provider == provider:
                return target.cost_usd(usage.input_tokens, usage.output_tokens)
        return None

    def worst_cost_usd(self, input_tokens: int, output_tokens: int) -> float:
        """At the dearest target; 0 where no price is known."""
        return max(t.cost_usd(input_tokens, output_tokens) or 0.0 for t in self.targets)


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Of one key; None means no limit."""

    requests_per_min: int | None = None
    tokens_per_min: int | None = None
    usd_per_day: float | None = None


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for every route.

    default_output_tokens  reserved for a request that does not say how long its answer may be
    breaker_failures       consecutive faults of a deployment that open its breaker, for `breaker_open_s` seconds
    retry_share            retries allowed for each call, on average: the most extra load, e.g. 0.1
    retry_floor            retries that are allowed at once, however few calls there are
    """

    timeout_s: float = 15.0
    max_attempts: int = 3
    max_depth: int = 64
    max_request_bytes: int = 10_000_000
    max_stream_bytes: int = 20_000_000
    cache_max_entry_bytes: int = 1_000_000
    default_output_tokens: int = 1024
    breaker_failures: int = 5
    breaker_open_s: float = 10.0
    retry_share: float = 0.1
    retry_floor: float = 3.0
