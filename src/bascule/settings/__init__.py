"""The one configuration tree. Arguments > environment > mounted secrets > one TOML file > defaults.

The key, the field, the heading in the docs and the environment variable are one name: `[gateway] timeout_s` is
`BASCULE_GATEWAY__TIMEOUT_S`. Keys are references ("env:NAME", "file:PATH"), resolved once by `bootstrap`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from bascule.core.errors import ConfigError
from bascule.settings.gateway import (
    GatewaySettings,
    LimitSettings,
    LimitsSettings,
    ModelSettings,
    PolicySettings,
    ProviderSettings,
    SemanticCacheSettings,
    TargetSettings,
)
from bascule.settings.login import LoginSettings
from bascule.settings.rag import LOCAL_MODEL, CollectionSettings, RagSettings, RedactMode
from bascule.settings.scim import ScimSettings
from bascule.settings.secrets import SecretsSettings
from bascule.settings.section import Section
from bascule.settings.server import (
    CatalogueSettings,
    ServerSettings,
    StoreSettings,
    TelemetrySettings,
)
from bascule.settings.sources import FetcherSettings, SourceRightsSettings, SourceSettings
from bascule.settings.tokens import IssuerSettings
from bascule.settings_file import default_file, explain, merge, read_file

__all__ = [
    "CatalogueSettings",
    "CollectionSettings",
    "Exact",
    "FetcherSettings",
    "GatewaySettings",
    "IssuerSettings",
    "LimitSettings",
    "LimitsSettings",
    "LoginSettings",
    "ModelSettings",
    "PolicySettings",
    "ProviderSettings",
    "RagSettings",
    "RedactMode",
    "ScimSettings",
    "SecretsSettings",
    "Section",
    "SemanticCacheSettings",
    "ServerSettings",
    "Settings",
    "SourceRightsSettings",
    "SourceSettings",
    "StoreSettings",
    "TargetSettings",
    "TelemetrySettings",
    "load",
]


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix="BASCULE_", env_nested_delimiter="__", env_ignore_empty=True
    )

    data: Path = Field(
        Path("bascule-data"), description="The data folder: catalogue, index, documents, secrets. Mode 0700."
    )
    models_dir: Path | None = Field(None, description="Built embedding models; empty for `models` in the data folder.")
    server: ServerSettings = ServerSettings()
    tokens: dict[str, IssuerSettings] = Field(
        {}, description="Identity providers whose signed tokens are let in, by name."
    )
    login: LoginSettings = LoginSettings()
    scim: ScimSettings = ScimSettings()
    secrets: SecretsSettings = SecretsSettings()
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
        for name, source in self.sources.items():
            kept = self.rag.collections.get(source.collection)
            if kept is not None and kept.retention_days is not None:
                raise ValueError(
                    f"sources.{name}.collection: {source.collection!r} has retention_days, but what a source still holds would "
                    "come back as new. Let the source forget it"
                )
        own = {LOCAL_MODEL} if self.rag.local_model is not None else set()
        for field in ("chat_model", "helper_model"):
            wanted = getattr(self.rag, field)
            if wanted and wanted not in {*self.models, *own}:
                raise ValueError(f"rag.{field} names {wanted!r}, which is not under [models]")
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
