"""The one configuration tree. Arguments > environment > mounted secrets > one TOML file > defaults.

The key, the field, the heading in the docs and the environment variable are one name: `[gateway] timeout_s` is
`BASCULE_GATEWAY__TIMEOUT_S`. Keys are references ("env:NAME", "file:PATH"), resolved once by `bootstrap`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from bascule.core.errors import ConfigError
from bascule.settings_file import default_file, explain, merge, read_file


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ServerSettings(Section):
    host: str = Field(
        "127.0.0.1", description="Address to listen on. Anything but loopback needs at least one API key."
    )
    port: int = Field(8400, ge=0, le=65535, description="Port to listen on; 0 picks a free one.")
    max_body_bytes: int = Field(10_000_000, gt=0, description="Largest request body; uploads have their own limit.")
    max_upload_bytes: int = Field(50_000_000, gt=0, description="Largest uploaded document.")
    fetch_urls: bool = Field(
        False, description="Let holders of the scope ingest bring documents by public URL; see [fetcher]."
    )
    drain_s: float = Field(20.0, ge=0, description="After SIGTERM, how long running requests may finish.")
    operator_tenant: str = Field(
        "default", description="The tenant whose administrators may make and change routes, which all tenants call."
    )
    allowed_hosts: tuple[str, ...] = Field(
        (), description="Host names the console answers to, besides loopback; guards against DNS rebinding."
    )


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


class TelemetrySettings(Section):
    otlp_endpoint: str = Field(
        "", description="Collector for OpenTelemetry spans, e.g. http://127.0.0.1:4318/v1/traces; empty for none."
    )
    otlp_headers: dict[str, str] = Field({}, description='Sent to the collector; values are "env:NAME" or "file:PATH".')
    service_name: str = Field("bascule", description="What the spans are said to come from.")


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
    limits: LimitSettings | None = Field(
        None, description="Of all calls of this model together, whoever makes them: the keys of [limits.tenant]."
    )


class CatalogueSettings(Section):
    deletion_ledger: Path | None = Field(
        None,
        description="What remembers deletions over a restored backup: keep it out of backups."
        " Empty for `deletions.ledger` in the data folder.",
    )
    url: str = Field(
        "",
        description="SQLAlchemy URL; empty for SQLite in the data folder. Postgres: postgresql+psycopg://user@host/name.",
    )


class StoreSettings(BaseModel):
    """`kind` names a plugin file; every other key belongs to that plugin's own Settings."""

    model_config = ConfigDict(frozen=True, extra="allow")
    kind: str


class FetcherSettings(BaseModel):
    """`kind` names a file in plugins/fetchers; every other key belongs to that plugin's own Settings."""

    model_config = ConfigDict(frozen=True, extra="allow")
    kind: str = "guarded"


class SourceRightsSettings(Section):
    allow: tuple[str, ...] = Field((), description="Who may read: public, user:U, group:G or role:R.")
    deny: tuple[str, ...] = Field((), description="Who may not, whatever else allows it.")


class SourceSettings(BaseModel):
    """`kind` names a file in plugins/connectors; keys that are not listed here belong to that plugin's own Settings."""

    model_config = ConfigDict(frozen=True, extra="allow")

    kind: str = Field(description="folder, url, sitemap, crawl, feed, git, bucket or sql.")
    collection: str = Field(description="Where its documents go; made on first use.")
    tenant: str = Field("default", description="Whose documents they are.")
    allow: tuple[str, ...] | None = Field(
        None, description="Who may read its documents; without it only administrators, or as the collection says."
    )
    deny: tuple[str, ...] = Field((), description="Who may not, whatever else allows it.")
    rights: dict[str, SourceRightsSettings] = Field(
        {}, description="Rights by pattern of the document's id (path or URL); the last that matches decides."
    )
    max_deleted_share: float = Field(
        0.2, ge=0, le=1, description="When more of it than this has gone at once, nothing is deleted without a word."
    )
    every_s: float | None = Field(None, ge=1, description="Read again and again, so far apart; without it on request.")


RedactMode = Literal["mask", "pseudonymise", "drop", "keep", "off"]


class CollectionSettings(Section):
    redact: RedactMode | None = Field(None, description="As rag.redact, for this collection's documents.")
    min_quality: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Documents whose text reads less like text than this are given up; 0.3 leaves out noise.",
    )


class RagSettings(Section):
    enabled: bool = Field(True, description="Off: a gateway only, with less memory and a faster start.")
    vector_store: StoreSettings = Field(StoreSettings(kind="sqlite"), description="Where chunks are searched.")
    embedding_model: str | None = Field(
        "minilm", description="A name under [models], or minilm for the built-in model; empty for lexical search only."
    )
    chat_model: str | None = Field(None, description="A name under [models]; without one, answers are extractive.")
    chunk_tokens: int = Field(200, ge=32, le=2000, description="Most tokens in a chunk.")
    candidates: int = Field(60, ge=5, le=1000, description="Candidates asked of each search method.")
    passages: int = Field(8, ge=1, le=50, description="Passages shown to the model.")
    prompt_tokens: int = Field(3000, ge=200, description="Most tokens of passages in a prompt.")
    dense_weight: float = Field(0.5, ge=0, le=1, description="Share of the dense score in the fused score.")
    parser_memory_bytes: int = Field(1_000_000_000, gt=0, description="Address space of a parsing child process.")
    parser_cpu_s: int = Field(30, gt=0, description="CPU time of a parsing child process for one document.")
    parser_wall_s: float = Field(60.0, gt=0, description="Wall time for one document.")
    parser_processes: int = Field(1, ge=1, le=64, description="Parsing child processes.")
    redact: RedactMode = Field(
        "mask",
        description="Personal data before embedding: mask it, give it pseudonyms, drop the passages that hold it, or keep it."
        " Secrets are masked whatever this says, except with off, which is for test data.",
    )
    collections: dict[str, CollectionSettings] = Field({}, description="What holds for single collections, by name.")


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix="BASCULE_", env_nested_delimiter="__", env_ignore_empty=True
    )

    data: Path = Field(
        Path("bascule-data"), description="The data folder: catalogue, index, documents, secrets. Mode 0700."
    )
    models_dir: Path | None = Field(None, description="Built embedding models; empty for `models` in the data folder.")
    server: ServerSettings = ServerSettings()
    gateway: GatewaySettings = GatewaySettings()
    providers: dict[str, ProviderSettings] = Field({}, description="Vendor connections by name.")
    models: dict[str, ModelSettings] = Field({}, description="The names callers use, each with its targets.")
    limits: LimitsSettings = LimitsSettings()
    policies: dict[str, PolicySettings] = Field({}, description="Rules on the texts of requests and answers, by name.")
    telemetry: TelemetrySettings = TelemetrySettings()
    catalogue: CatalogueSettings = CatalogueSettings()
    state_store: StoreSettings = Field(StoreSettings(kind="memory"), description="Counters, cache entries and leases.")
    rag: RagSettings = RagSettings()
    sources: dict[str, SourceSettings] = Field(
        {}, description="Where documents come from by themselves, by name: folders and web sites."
    )
    fetcher: FetcherSettings = Field(
        FetcherSettings(), description="How pages of web sites are got, and what may be reached that is not public."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (env_settings, file_secret_settings, init_settings)

    @model_validator(mode="after")
    def _names_resolve(self) -> Settings:
        for name, model in self.models.items():
            for target in model.targets:
                if target.provider not in self.providers:
                    raise ValueError(
                        f"models.{name}.targets names the provider {target.provider!r}, which is not under [providers]"
                    )
        places = [("gateway", self.gateway.policies)]
        places += [(f"models.{name}", model.policies or ()) for name, model in self.models.items()]
        for where, names in places:
            for missing in sorted(set(names) - set(self.policies)):
                raise ValueError(f"{where}.policies names {missing!r}, which is not under [policies]")
        wanted = self.rag.chat_model
        if wanted and wanted not in self.models:
            raise ValueError(f"rag.chat_model names {wanted!r}, which is not under [models]")
        return self

    def timeout_s(self, model: ModelSettings | None) -> float:
        """The deadline of a call of this model, in seconds."""
        gateway = self.gateway
        if model is None:
            return gateway.timeout_s
        return model.timeout_s or (gateway.batch_timeout_s if model.batch else gateway.timeout_s)

    @property
    def models_path(self) -> Path:
        return self.models_dir or self.data / "models"


def load(config: Path | None = None, **arguments: Any) -> Settings:
    """Read the tree. `arguments` are the command line's (None: not given), e.g. `data=Path(...)`.

    The TOML file is `config`, or `bascule.toml` in the data folder when there is one.
    Raises ConfigError naming the key's path and the fix.
    """
    given = {k: v for k, v in arguments.items() if v is not None}
    path = config or default_file(given)
    tree = read_file(path) if path else {}
    try:
        settings = Settings(**merge(tree, {}))
        return _with_arguments(settings, given) if given else settings
    except ValidationError as error:
        raise ConfigError(explain(error, path)) from None


def _with_arguments(settings: Settings, given: dict[str, Any]) -> Settings:
    """Arguments beat everything, so they are laid over the tree that file and environment made."""
    tree = merge(settings.model_dump(), given)
    return Exact(**tree)


class Exact(Settings):
    """The tree from its arguments alone: nothing read from the environment or a file. For tests and embedding in code."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)
