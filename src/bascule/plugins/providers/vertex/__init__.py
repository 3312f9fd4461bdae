"""Gemini on Google Cloud's Vertex AI: with a service account, the machine's own identity, or an API key."""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, Literal, Self
from urllib.parse import quote

from pydantic import ConfigDict, Field, model_validator

from bascule.core.embedding import EmbeddingRequest
from bascule.core.errors import ConfigError
from bascule.core.http import HttpClient
from bascule.core.resources import Resources
from bascule.plugins.providers._gemini import IMAGES, SpeaksGemini
from bascule.plugins.providers._gemini_embeddings import Part, predictions
from bascule.plugins.providers._images import Images, ImageSettings, images_of

if TYPE_CHECKING:
    from bascule.plugins.providers.vertex.tokens import GoogleTokens

NAME: Final = "vertex"


class Settings(ImageSettings):
    model_config = ConfigDict(frozen=True, extra="forbid")

    project: str | None = Field(
        None, pattern=r"^[a-z0-9:.-]+$", description="The project's id; not needed with api_key."
    )
    location: str = Field("global", pattern=r"^[a-z0-9-]+$", description="Where the model runs, e.g. europe-west1.")
    credentials: str | None = Field(
        None,
        description='A service account\'s key as JSON. A reference: "env:NAME" or "file:PATH". Without it and api_key, Google\'s '
        "usual chain is asked: environment, gcloud's files, the machine's identity.",
    )
    api_key: str | None = Field(None, description="A key of express mode, in place of credentials. A reference.")
    base_url: str | None = Field(
        None, description="Another address than the location's, up to and including the version."
    )
    thinking: Literal["level", "budget"] = Field("level", description="As for the kind gemini.")
    safety: dict[str, str] = Field(default_factory=dict, description="As for the kind gemini.")
    max_reply_bytes: int = Field(20_000_000, gt=0, description="Largest answer accepted.")

    @model_validator(mode="after")
    def _one_credential(self) -> Self:
        if self.api_key and self.credentials:
            raise ValueError("give api_key or credentials, not both")
        if not self.api_key and not self.project:
            raise ValueError("project is needed unless there is an api_key")
        return self

    def address(self) -> str:
        """Where models are named from."""
        region = "" if self.location == "global" else f"{self.location}-"
        base = (self.base_url or f"https://{region}aiplatform.googleapis.com/v1").rstrip("/")
        return f"{base}/projects/{self.project}/locations/{self.location}/" if self.project else f"{base}/"


class VertexProvider(SpeaksGemini):
    """`model` of a target is a model of Google's, or `endpoints/ID` for a tuned one."""

    def __init__(
        self,
        settings: Settings,
        http: HttpClient,
        key: str,
        tokens: GoogleTokens | None,
        images: Images | None = None,
    ) -> None:
        super().__init__(
            NAME,
            http,
            max_reply_bytes=settings.max_reply_bytes,
            thinking=settings.thinking,
            safety=settings.safety,
            images=images,
        )
        self._address = settings.address()
        self._headers = {"x-goog-api-key": key}
        self._tokens = tokens

    def _model_url(self, model: str) -> str:
        if model.startswith("endpoints/"):
            return f"{self._address}endpoints/{quote(model.removeprefix('endpoints/'), safe='-._~')}"
        return f"{self._address}publishers/google/models/{quote(model, safe='-._~')}"

    def _embeddings(self, request: EmbeddingRequest) -> list[Part]:
        return predictions(request)

    async def _credentials(self, timeout_s: float) -> Mapping[str, str]:
        return await self._tokens.headers(timeout_s) if self._tokens else self._headers


@asynccontextmanager
async def connect(settings: Settings, resources: Resources) -> AsyncGenerator[VertexProvider]:
    images = images_of(settings, resources, IMAGES)
    if settings.api_key:
        yield VertexProvider(settings, resources.http, resources.secret(settings.api_key), None, images)
        return
    if importlib.util.find_spec("google") is None or importlib.util.find_spec("google.auth") is None:
        raise ConfigError("A provider of kind vertex needs the extra: pip install 'bascule[vertex]'.")
    from bascule.plugins.providers.vertex import tokens

    if settings.credentials:
        made = tokens.of_service_account(resources.secret(settings.credentials))
    else:
        made = await tokens.from_chain()
    yield VertexProvider(settings, resources.http, "", made, images)
