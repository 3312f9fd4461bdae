"""From settings to what the gateway is built of: providers, routes, limits and options."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bascule.access.authenticate import Authenticator
from bascule.bootstrap.prices import Prices
from bascule.core.keys import KeyRecord
from bascule.core.principals import Principal
from bascule.gateway.prices import Price
from bascule.gateway.routes import UNLIMITED, Limits, Options, Route, SemanticCache, Target
from bascule.settings import (
    GatewaySettings,
    LimitSettings,
    ModelSettings,
    ProviderSettings,
    SemanticCacheSettings,
    Settings,
    TargetSettings,
)
from bascule.settings.rag import LOCAL_MODEL

BUILT_IN_MODEL = "minilm"
MAX_KNOWN_KEYS = 100_000
NO_PRICES: Prices = {}


def with_built_in(settings: Settings) -> tuple[dict[str, ProviderSettings], dict[str, ModelSettings], list[str]]:
    """Providers and models, plus `rag.local_model` and the built-in embedding model where each is wanted, not configured and
    present."""
    providers, models = dict(settings.providers), dict(settings.models)
    if settings.rag.local_model is not None and LOCAL_MODEL not in models:
        providers["built_in_llama"] = ProviderSettings.model_validate(
            {"kind": "llama", "file": settings.rag.local_model}
        )
        models[LOCAL_MODEL] = ModelSettings(targets=(TargetSettings(provider="built_in_llama", model=LOCAL_MODEL),))
    wanted = {model.semantic_cache.embedding_model for model in models.values() if model.semantic_cache is not None}
    for_search = settings.rag.embedding_model if settings.rag.enabled else None
    if BUILT_IN_MODEL not in (for_search, *wanted) or BUILT_IN_MODEL in models:
        return providers, models, []
    if not (settings.models_path / BUILT_IN_MODEL / "model.onnx").is_file():
        lost = "lexical_only: no embedding model; run `bascule models pull`"
        return providers, models, [lost] if for_search == BUILT_IN_MODEL else []
    providers["built_in_onnx"] = ProviderSettings(kind="onnx")
    models[BUILT_IN_MODEL] = ModelSettings(
        targets=(TargetSettings(provider="built_in_onnx", model=BUILT_IN_MODEL),),
        timeout_s=settings.gateway.batch_timeout_s,
    )
    return providers, models, []


def routes(models: Mapping[str, ModelSettings], settings: Settings, prices: Prices = NO_PRICES) -> dict[str, Route]:
    """`prices`: of the targets whose operator gave none."""
    gateway = settings.gateway
    return {
        name: Route(
            model=name,
            targets=tuple(_target(t, prices.get((t.provider, t.model))) for t in model.targets),
            timeout_s=settings.timeout_s(model),
            cache_ttl_s=gateway.cache_ttl_s if model.cache_ttl_s is None else model.cache_ttl_s,
            cache_scope=model.cache_scope,
            balance=model.balance,
            hedge_after_s=model.hedge_after_s,
            stale_if_error_s=model.stale_if_error_s,
            policies=gateway.policies if model.policies is None else model.policies,
            keep_text=model.keep_text,
            remote_tools=model.remote_tools,
            limits=_limits(model.limits) if model.limits is not None else UNLIMITED,
            semantic_cache=_semantic_cache(model.semantic_cache),
            default_output_tokens=model.default_output_tokens,
        )
        for name, model in models.items()
    }


def _semantic_cache(given: SemanticCacheSettings | None) -> SemanticCache | None:
    if given is None:
        return None
    return SemanticCache(
        embedding_model=given.embedding_model,
        threshold=given.threshold,
        max_entries=given.max_entries,
        timeout_s=given.timeout_s,
    )


def _target(given: TargetSettings, price: Price | None) -> Target:
    """The operator's own figures win; one of them is enough to leave the tables aside."""
    own = given.input_usd_per_mtok is not None or given.output_usd_per_mtok is not None
    source = given if own or price is None else price
    cached = given.cached_input_usd_per_mtok
    return Target(
        provider=given.provider,
        model=given.model,
        weight=given.weight,
        tier=given.tier,
        max_concurrent=given.max_concurrent,
        input_usd_per_mtok=source.input_usd_per_mtok,
        output_usd_per_mtok=source.output_usd_per_mtok,
        cached_input_usd_per_mtok=source.cached_input_usd_per_mtok if cached is None else cached,
    )


def _limits(given: LimitSettings | GatewaySettings | KeyRecord) -> Limits:
    return Limits(
        requests_per_min=given.requests_per_min,
        tokens_per_min=given.tokens_per_min,
        concurrent=given.concurrent,
        usd_per_day=given.usd_per_day,
        usd_per_month=given.usd_per_month,
    )


def limits_of(settings: Settings, authenticator: Authenticator) -> Callable[[Principal], Limits]:
    """A key's own limits and, where it has none, those of [gateway]; made once for each key as the catalogue has it."""
    default = _limits(settings.gateway)
    known: dict[str, tuple[KeyRecord, Limits]] = {}

    def of(principal: Principal) -> Limits:
        key = authenticator.record(principal)
        if key is None:
            return default
        found = known.get(key.id)
        if found is None or found[0] is not key:
            if len(known) >= MAX_KNOWN_KEYS:
                known.clear()
            found = known[key.id] = (key, _limits(key).over(default))
        return found[1]

    return of


def options(settings: Settings) -> Options:
    gateway, tenant = settings.gateway, _limits(settings.limits.tenant)
    return Options(
        cache_max_entry_bytes=gateway.cache_max_entry_bytes,
        cache_ttl_jitter=gateway.cache_ttl_jitter,
        default_output_tokens=gateway.default_output_tokens,
        tenant_limits=tenant,
        tenants={name: _limits(own).over(tenant) for name, own in settings.limits.tenants.items()},
        user_limits=_limits(settings.limits.user),
        max_attempts=gateway.max_attempts,
        max_depth=gateway.max_depth,
        max_request_bytes=settings.server.max_body_bytes,
        max_stream_bytes=gateway.max_reply_bytes,
        timeout_s=gateway.timeout_s,
    )
