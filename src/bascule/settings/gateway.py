"""Tables of the gateway: limits, policies, providers, models and their targets."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from bascule.settings.section import Section


class GatewaySettings(Section):
    timeout_s: float = Field(
        15.0, gt=0, description="Total deadline of an interactive call: retries, fallbacks and stream."
    )
    batch_timeout_s: float = Field(
        120.0, gt=0, description="Total deadline of background calls (embedding while ingesting)."
    )
    cache_ttl_s: float = Field(3600.0, ge=0, description="How long a good answer is kept; 0 switches the cache off.")
    cache_ttl_jitter: float = Field(
        0.1,
        ge=0,
        le=0.9,
        description="Entries live shorter by up to this share, at random, so that they do not expire at once.",
    )
    cache_max_bytes: int = Field(64_000_000, ge=0, description="Memory the cache may hold, over all entries.")
    cache_max_entry_bytes: int = Field(1_000_000, gt=0, description="Answers larger than this are not kept.")
    requests_per_min: int | None = Field(None, gt=0, description="Limit for keys that have none of their own.")
    tokens_per_min: int | None = Field(None, gt=0, description="Limit for keys that have none of their own.")
    concurrent: int | None = Field(None, gt=0, description="Limit for keys that have none of their own: calls at once.")
    usd_per_day: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="Budget for keys that have none of their own."
    )
    usd_per_month: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="Budget for keys that have none of their own."
    )
    default_output_tokens: int = Field(
        1024, gt=0, description="Reserved under a limit for a request that does not say how long its answer may be."
    )
    max_attempts: int = Field(3, ge=1, le=10, description="Tries at one target, the first included.")
    max_depth: int = Field(64, gt=0, description="Deepest nesting of a request body.")
    max_reply_bytes: int = Field(20_000_000, gt=0, description="Largest answer accepted from a provider.")
    http_client: str = Field(
        "httptools", description="Upstream HTTP client: the name of a file in plugins/http_clients."
    )
    pool_size: int = Field(256, gt=0, description="Most connections open to one upstream host.")
    policies: tuple[str, ...] = Field(
        (), description="Names under [policies], for every model that names none of its own."
    )
    records_waiting: int = Field(
        20_000, gt=0, description="Call records that may wait for the store; then new calls wait as well."
    )
    retention_days: int | None = Field(
        None, gt=0, description="How long call records are kept; without a number, for ever."
    )


class LimitSettings(Section):
    """What one tenant, end user or model may use; what is left out is not limited."""

    requests_per_min: int | None = Field(None, gt=0, description="Requests a minute, cache hits included.")
    tokens_per_min: int | None = Field(None, gt=0, description="Tokens a minute (UTC), in and out.")
    concurrent: int | None = Field(None, gt=0, description="Calls at once.")
    usd_per_day: float | None = Field(None, gt=0, allow_inf_nan=False, description="Budget of a day (UTC).")
    usd_per_month: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="Budget of a calendar month (UTC)."
    )


class LimitsSettings(Section):
    tenant: LimitSettings = LimitSettings()
    user: LimitSettings = LimitSettings()
    tenants: dict[str, LimitSettings] = Field(
        {}, description="Limits of single tenants by name; what one leaves out is as [limits.tenant] says."
    )


class PolicySettings(BaseModel):
    """`kind` names a file in plugins/policies; every other key belongs to that plugin's own Settings."""

    model_config = ConfigDict(frozen=True, extra="allow")
    kind: str


class ProviderSettings(BaseModel):
    """`kind` names a file in plugins/providers; every other key belongs to that plugin's own Settings."""

    model_config = ConfigDict(frozen=True, extra="allow")
    kind: str


class TargetSettings(Section):
    provider: str = Field(description="A name under [providers].")
    model: str = Field(description="The model's name at that provider.")
    input_usd_per_mtok: float | None = Field(None, ge=0, description="Price of a million input tokens.")
    output_usd_per_mtok: float | None = Field(None, ge=0, description="Price of a million output tokens.")
    cached_input_usd_per_mtok: float | None = Field(
        None, ge=0, description="Price of a million input tokens that the vendor had in its own cache."
    )
    weight: float = Field(
        1.0, gt=0, allow_inf_nan=False, description="Its share of the load, where the model balances."
    )
    tier: int = Field(
        0, ge=0, description="Lower ones are asked first; the next tier when they have failed or are full."
    )
    max_concurrent: int | None = Field(
        None, gt=0, description="Calls it may carry at once, over all models that name it; a full one is passed over."
    )


class SemanticCacheSettings(Section):
    """Answers from the cache for questions in nearly the same words."""

    embedding_model: str = Field(description="A name under [models] that embeds, or minilm for the built-in model.")
    threshold: float = Field(
        0.9, ge=0.5, le=1, description="Least cosine of the two questions; the verifier has to agree as well."
    )
    max_entries: int = Field(10_000, gt=0, le=1_000_000, description="Questions each process knows for the model.")
    timeout_s: float = Field(0.05, gt=0, le=5, description="Most that embedding may take; later, the model is asked.")


class ModelSettings(Section):
    targets: tuple[TargetSettings, ...] = Field(
        min_length=1, description="Tried in order: the first is the fallback's first."
    )
    timeout_s: float | None = Field(None, gt=0, description="This model's own deadline.")
    batch: bool = Field(False, description="For background work: gateway.batch_timeout_s is its deadline.")
    balance: Literal["order", "weighted", "least_busy"] = Field(
        "order", description="How targets of one tier share the calls: as given, by weight, or the least busy first."
    )
    hedge_after_s: float | None = Field(
        None, gt=0, description="Ask a second target when the first has not answered a plain call by then."
    )
    stale_if_error_s: float = Field(
        0.0, ge=0, description="How long past its lifetime an answer may stand in for a provider that fails; 0: never."
    )
    cache_ttl_s: float | None = Field(None, ge=0, description="This model's own cache lifetime; 0 switches it off.")
    cache_scope: Literal["tenant", "key", "user"] = Field(
        "tenant", description="Who shares cached answers: the whole tenant, one key, or one person (whatever the key)."
    )
    policies: tuple[str, ...] | None = Field(
        None, description="Names under [policies] that its texts pass, in this order; empty for none."
    )
    keep_text: bool = Field(
        False, description="Keep prompts and answers in the call records, masked, for holders of the scope audit."
    )
    remote_tools: bool = Field(
        False, description="Let requests name servers that the vendor calls (MCP), with credentials for them."
    )
    semantic_cache: SemanticCacheSettings | None = Field(
        None,
        description="Answer questions in nearly the same words from the cache: a table with `embedding_model`, `threshold` (0.9),"
        " `max_entries` (10000), `timeout_s` (0.05). Without it, only the very same request.",
    )
    default_output_tokens: int | None = Field(
        None, gt=0, description="This model's own, in place of gateway.default_output_tokens."
    )
    limits: LimitSettings | None = Field(
        None, description="Of all calls of this model together, whoever makes them: the keys of [limits.tenant]."
    )
