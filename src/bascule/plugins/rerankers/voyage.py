"""Voyage's rerank."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from pydantic import Field

from bascule.core.resources import Resources
from bascule.plugins.rerankers._http import HttpReranker, HttpSettings, secret_of


class Settings(HttpSettings):
    base_url: str = Field("https://api.voyageai.com/v1", description="Up to and including the version.")
    model: str = Field("rerank-2.5", description="The vendor's name of the model.")


@asynccontextmanager
async def connect(settings: Settings, resources: Resources) -> AsyncGenerator[HttpReranker]:
    yield HttpReranker(
        "voyage",
        settings.base_url.rstrip("/") + "/rerank",
        resources.http,
        secret_of(settings, resources),
        {"model": settings.model},
        rows="data",
        max_chars=settings.max_chars,
    )
