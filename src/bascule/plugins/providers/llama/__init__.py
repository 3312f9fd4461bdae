"""A model of your own on this machine: a GGUF file, run by llama.cpp in a child process. No key, no vendor, no network."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from bascule.core.resources import Resources
from bascule.plugins.providers.llama.process import LlamaProcess
from bascule.plugins.providers.llama.provider import LlamaProvider


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    file: Path = Field(description="The GGUF file.")
    context_tokens: int = Field(
        4096, ge=256, le=1_000_000, description="Tokens of prompt and answer together, for each call."
    )
    threads: int = Field(2, ge=1, le=256, description="Threads that compute.")
    parallel: int = Field(1, ge=1, le=64, description="Calls answered side by side; further ones wait.")
    start_s: float = Field(60.0, gt=0, description="How long the file may take to load.")
    max_reply_bytes: int = Field(20_000_000, gt=0, description="Largest answer accepted.")


@asynccontextmanager
async def connect(settings: Settings, resources: Resources) -> AsyncGenerator[LlamaProvider]:
    """Raises ConfigError for a file that is no model, and without the extra `llama`."""
    process = LlamaProcess(
        settings.file,
        context_tokens=settings.context_tokens,
        threads=settings.threads,
        parallel=settings.parallel,
        start_s=settings.start_s,
    )
    await process.start()
    try:
        yield LlamaProvider(process, resources.http, max_reply_bytes=settings.max_reply_bytes)
    finally:
        await process.stop()
