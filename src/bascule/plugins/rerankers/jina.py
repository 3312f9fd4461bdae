"""Jina's rerank, and every server that speaks it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from pydantic import Field

from bascule.core.resources import Resources
from bascule.plugins.rerankers._http import HttpReranker, HttpSettings, secret_of


class Settings(HttpSettings):
    base_url: str = Field("https://api.jina.ai/v1", description="Up to and including the version.")
    model: str = Field("jina-reranker-v2-base-multilingual", description="The vendor's name of the model.")


@asynccontextmanager
async def connect(settings: Settings, resources: Resources) -> AsyncGenerator[HttpReranker]:
    yield HttpReranker(
        "jina",
        settings.base_url.rstrip("/") + "/rerank",
        resources.http,
        secret_of(settings, resources),
        {"model": settings.model, "return_documents": False},
        rows="results",
        max_chars=settings.max_chars,
    )
