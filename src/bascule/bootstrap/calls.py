"""From settings to what the gateway is built of: providers, routes, limits and options."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bascule.access.authenticate import Authenticator
from bascule.core.principals import Principal
from bascule.gateway.routes import Limits, Options, Route, Target
from bascule.settings import ModelSettings, ProviderSettings, Settings, TargetSettings

BUILT_IN_MODEL = "minilm"


def with_built_in(settings: Settings) -> tuple[dict[str, ProviderSettings], dict[str, ModelSettings], list[str]]:
    """Providers and models, plus the built-in embedding model where it is wanted, not configured and present."""
    providers, models = dict(settings.providers), dict(settings.models)
    wanted = settings.rag.embedding_model if settings.rag.enabled else None
    if wanted != BUILT_IN_MODEL or wanted in models:
        return providers, models, []
    if not (settings.models_path / BUILT_IN_MODEL / "model.onnx").is_file():
        return providers, models, ["lexical_only: no embedding model; run `bascule models pull`"]
    providers["built_in_onnx"] = ProviderSettings(kind="onnx")
    models[BUILT_IN_MODEL] = ModelSettings(
        targets=(TargetSettings(provider="built_in_onnx", model=BUILT_IN_MODEL),),
        timeout_s=settings.gateway.batch_timeout_s,
    )
    return providers, models, []


def routes(models: Mapping[str, ModelSettings], settings: Settings) -> dict[str, Route]:
    gateway = settings.gateway
    return {
        name: Route(
            model=name,
            targets=tuple(
                Target(
                    provider=t.provider,
                    model=t.model,
                    input_usd_per_mtok=t.input_usd_per_mtok,
                    output_usd_per_mtok=t.output_usd_per_mtok,
                )
                for t in model.targets
            ),
            timeout_s=model.timeout_s or gateway.timeout_s,
            cache_ttl_s=gateway.cache_ttl_s if model.cache_ttl_s is None else model.cache_ttl_s,
            cache_scope=model.cache_scope,
        )
        for name, model in models.items()
    }


def limits_of(settings: Settings, authenticator: Authenticator) -> Callable[[Principal], Limits]:
    gateway = settings.gateway
    default = Limits(
        requests_per_min=gateway.requests_per_min,
        tokens_per_min=gateway.tokens_per_min,
        usd_per_day=gateway.usd_per_day,
    )
    unlimited = Limits()

    def of(principal: Principal) -> Limits:
        if principal.system:
            return unlimited
        key = authenticator.record(principal)
        if key is None:
            return default
        return Limits(
            requests_per_min=key.requests_per_min or default.requests_per_min,
            tokens_per_min=key.tokens_per_min or default.tokens_per_min,
            usd_per_day=key.usd_per_day or default.usd_per_day,
        )

    return of


def options(settings: Settings) -> Options:
    gateway = settings.gateway
    return Options(
        cache_max_entry_bytes=gateway.cache_max_entry_bytes,
        max_attempts=gateway.max_attempts,
        max_depth=gateway.max_depth,
        max_request_bytes=settings.server.max_body_bytes,
        max_stream_bytes=gateway.max_reply_bytes,
        timeout_s=gateway.timeout_s,
    )
