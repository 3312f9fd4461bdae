"""Amazon Bedrock: any of its chat models, by Converse and ConverseStream."""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, Self

from pydantic import ConfigDict, Field, model_validator

from bascule.core.errors import ConfigError
from bascule.core.resources import Resources
from bascule.plugins.providers._images import ImageSettings, images_of

if TYPE_CHECKING:
    from bascule.plugins.providers.bedrock.provider import BedrockProvider
    from bascule.plugins.providers.bedrock.signing import Signer

NAME: Final = "bedrock"
IMAGES: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})


class Settings(ImageSettings):
    model_config = ConfigDict(frozen=True, extra="forbid")

    region: str = Field(pattern=r"^[a-z0-9-]+$", description="The AWS region, e.g. eu-central-1.")
    base_url: str | None = Field(None, description="Another endpoint than the region's, e.g. a VPC endpoint's.")
    api_key: str | None = Field(None, description='A Bedrock API key. A reference: "env:NAME" or "file:PATH".')
    access_key_id: str | None = Field(None, description="A reference; with secret_access_key, in place of api_key.")
    secret_access_key: str | None = Field(None, description="A reference.")
    session_token: str | None = Field(None, description="A reference, for credentials that end.")
    profile: str | None = Field(
        None,
        description="A profile of the shared AWS files. With no credentials given here, AWS's usual chain is asked.",
    )
    guardrail_id: str | None = Field(None, description="A guardrail for every chat; callers cannot choose another.")
    guardrail_version: str = Field("DRAFT", description="Its version.")
    max_reply_bytes: int = Field(20_000_000, gt=0, description="Largest answer accepted.")

    @model_validator(mode="after")
    def _one_credential(self) -> Self:
        pair = (self.access_key_id, self.secret_access_key)
        if (pair[0] is None) != (pair[1] is None) or (self.session_token and not pair[0]):
            raise ValueError("access_key_id and secret_access_key belong together")
        if sum(bool(given) for given in (self.api_key, self.access_key_id, self.profile)) > 1:
            raise ValueError("give one of api_key, access_key_id or profile")
        return self


@asynccontextmanager
async def connect(settings: Settings, resources: Resources) -> AsyncGenerator[BedrockProvider]:
    if importlib.util.find_spec("botocore") is None:
        raise ConfigError("A provider of kind bedrock needs the extra: pip install 'bascule[bedrock]'.")
    from bascule.plugins.providers.bedrock.provider import BedrockProvider

    images = images_of(settings, resources, IMAGES)
    yield BedrockProvider(settings, resources.http, await _signer(settings, resources), images)


async def _signer(settings: Settings, resources: Resources) -> Signer:
    from bascule.plugins.providers.bedrock import signing

    if settings.api_key:
        return signing.BearerSigner(resources.secret(settings.api_key))
    if settings.access_key_id and settings.secret_access_key:
        token = resources.secret(settings.session_token) if settings.session_token else None
        pair = (resources.secret(settings.access_key_id), resources.secret(settings.secret_access_key))
        return signing.fixed(*pair, token, settings.region)
    return await signing.from_chain(settings.region, settings.profile)
