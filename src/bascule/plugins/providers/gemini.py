"""Google's Gemini API, with an API key."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Final, Literal
from urllib.parse import quote

from pydantic import ConfigDict, Field

from bascule.core.http import HttpClient
from bascule.core.resources import Resources
from bascule.plugins.providers._gemini import IMAGES, SpeaksGemini
from bascule.plugins.providers._images import Images, ImageSettings, images_of

NAME: Final = "gemini"


class Settings(ImageSettings):
    model_config = ConfigDict(frozen=True, extra="forbid")

    base_url: str = Field(
        "https://generativelanguage.googleapis.com/v1beta", description="Up to and including the version."
    )
    api_key: str = Field(description='A reference: "env:NAME" or "file:PATH".')
    thinking: Literal["level", "budget"] = Field(
        "level",
        description="How an OpenAI request's reasoning_effort is asked for: as a level, or as a budget of thinking tokens for "
        "Gemini 2.5.",
    )
    safety: dict[str, str] = Field(
        default_factory=dict,
        description='Thresholds by category, e.g. HARM_CATEGORY_HARASSMENT = "BLOCK_ONLY_HIGH"; callers cannot choose them.',
    )
    max_reply_bytes: int = Field(20_000_000, gt=0, description="Largest answer accepted.")


class GeminiProvider(SpeaksGemini):
    def __init__(self, settings: Settings, http: HttpClient, key: str, images: Images | None = None) -> None:
        super().__init__(
            NAME,
            http,
            max_reply_bytes=settings.max_reply_bytes,
            thinking=settings.thinking,
            safety=settings.safety,
            images=images,
        )
        self._models = settings.base_url.rstrip("/") + "/models/"
        self._headers = {"x-goog-api-key": key}

    def _model_url(self, model: str) -> str:
        return self._models + quote(model.removeprefix("models/"), safe="-._~")

    async def _credentials(self, timeout_s: float) -> Mapping[str, str]:
        return self._headers


@asynccontextmanager
async def connect(settings: Settings, resources: Resources) -> AsyncGenerator[GeminiProvider]:
    images = images_of(settings, resources, IMAGES)
    yield GeminiProvider(settings, resources.http, resources.secret(settings.api_key), images)
