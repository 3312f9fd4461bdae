"""What the operator configured about model calls: routes, targets, limits and options, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from bascule.core.calls import Usage


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment: a model at a provider. Prices are USD for a million tokens; None means unknown.

    weight          its share of the load among targets of its tier, where the route balances
    tier            lower ones are asked first, the next when they have failed or are full
    max_concurrent  calls it may carry at once; None means any number
    """

    provider: str
    model: str
    input_usd_per_mtok: float | None = None
    output_usd_per_mtok: float | None = None
    cached_input_usd_per_mtok: float | None = None
    weight: float = 1.0
    tier: int = 0
    max_concurrent: int | None = None

    @property
    def priced(self) -> bool:
        return self.input_usd_per_mtok is not None or self.output_usd_per_mtok is not None

    def cost_usd(self, input_tokens: int, output_tokens: int, cached_tokens: int = 0) -> float | None:
        """None where no price is known. Of `input_tokens`, `cached_tokens` have a price of their own where it is known."""
        if not self.priced:
            return None
        into, out = self.input_usd_per_mtok or 0.0, self.output_usd_per_mtok or 0.0
        cost = into * input_tokens + out * output_tokens
        if cached_tokens and self.cached_input_usd_per_mtok is not None:
            cost -= (into - self.cached_input_usd_per_mtok) * min(cached_tokens, input_tokens)
        return cost / 1_000_000


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one key, tenant, model or end user may use; None means no limit.

    concurrent     calls under way at once
    usd_per_month  of the calendar month (UTC), as usd_per_day is of the day
    """

    requests_per_min: int | None = None
    tokens_per_min: int | None = None
    concurrent: int | None = None
    usd_per_day: float | None = None
    usd_per_month: float | None = None

    def over(self, other: Limits) -> Limits:
        """These, and `other`'s where these say nothing."""
        pairs = {name: getattr(self, name) for name in self.__struct_fields__}
        return Limits(**{name: getattr(other, name) if value is None else value for name, value in pairs.items()})


UNLIMITED: Final = Limits()


class SemanticCache(msgspec.Struct, frozen=True, kw_only=True):
    """Answers for questions in nearly the same words. `threshold`: the least cosine of the two texts; `max_entries`: questions
    a process knows for the model; `timeout_s`: the most that embedding may take."""

    embedding_model: str
    threshold: float = 0.9
    max_entries: int = 10_000
    timeout_s: float = 0.05


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """The name callers use, and where its calls go: targets are tried tier by tier.

    balance      the order within a tier: as given, at random by weight, or by calls under way for each unit of weight
    hedge_after_s    ask a second target when the first has not answered a plain call by then; None: never
    cache_scope      who shares cached answers and calls in flight: everybody of the tenant, one key, or one person
    stale_if_error_s how long past its lifetime an answer may stand in for an upstream that fails; 0: never
    policies     names of the policies its texts pass, in this order
    keep_text    whether records keep prompt and answer, masked
    remote_tools whether a request may name servers for the vendor to call (MCP), with credentials for them
    limits       of all calls of this model together, whoever makes them
    semantic_cache   None: only the very same request is answered from the cache
    default_output_tokens  None: as the options say
    """

    model: str
    targets: tuple[Target, ...]
    timeout_s: float = 15.0
    cache_ttl_s: float = 3600.0
    cache_scope: Literal["tenant", "key", "user"] = "tenant"
    balance: Literal["order", "weighted", "least_busy"] = "order"
    hedge_after_s: float | None = None
    stale_if_error_s: float = 0.0
    policies: tuple[str, ...] = ()
    keep_text: bool = False
    remote_tools: bool = False
    limits: Limits = UNLIMITED
    semantic_cache: SemanticCache | None = None
    default_output_tokens: int | None = None

    def cost_usd(self, provider: str, model: str, usage: Usage) -> float | None:
        for target in self.targets:
            if target.model == model and target.provider == provider:
                return target.cost_usd(usage.input_tokens, usage.output_tokens, usage.cached_tokens)
        return None

    def worst_cost_usd(self, input_tokens: int, output_tokens: int) -> float:
        """At the dearest target; 0 where no price is known."""
        return max(t.cost_usd(input_tokens, output_tokens) or 0.0 for t in self.targets)


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for every route.

    default_output_tokens  reserved for a request that does not say how long its answer may be
    tenant_limits          of each tenant that `tenants` does not name
    user_limits            of each end user, within its tenant
    breaker_failures       consecutive faults of a deployment that open its breaker, for `breaker_open_s` seconds
    cache_ttl_jitter       an entry lives shorter than its route says by up to this share, at random
    retry_share            retries allowed for each call, on average: the most extra load, e.g. 0.1
    retry_floor            retries that are allowed at once, however few calls there are
    """

    timeout_s: float = 15.0
    max_attempts: int = 3
    max_depth: int = 64
    max_request_bytes: int = 10_000_000
    max_stream_bytes: int = 20_000_000
    cache_max_entry_bytes: int = 1_000_000
    cache_ttl_jitter: float = 0.1
    default_output_tokens: int = 1024
    tenant_limits: Limits = UNLIMITED
    tenants: Mapping[str, Limits] = {}
    user_limits: Limits = UNLIMITED
    breaker_failures: int = 5
    breaker_open_s: float = 10.0
    retry_share: float = 0.1
    retry_floor: float = 3.0
