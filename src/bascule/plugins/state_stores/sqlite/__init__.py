"""Counters, cache entries and leases in one SQLite file: the server processes of one machine share them, and a restart keeps them.

Made for a local disk: SQLite's write-ahead log needs shared memory, which network file systems do not give.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from bascule.core.resources import Resources

if TYPE_CHECKING:
    from bascule.plugins.state_stores.sqlite.store import SqliteState


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path | None = Field(
        None,
        description="The file, on a local disk. Processes with the same file share one state. Default: data/state.sqlite.",
    )
    timeout_s: float = Field(
        5.0, gt=0, le=60, description="How long a write waits for another process to finish its own."
    )
    max_bytes: int = Field(64_000_000, ge=0, description="What the cache may hold; the least recently used goes first.")


@asynccontextmanager
async def connect(
    settings: Settings, resources: Resources, *, clock: Callable[[], float] | None = None
) -> AsyncGenerator[SqliteState]:
    """`clock` (seconds since 1970) takes the place of the machine's clock: for tests. Raises ConfigError where the file cannot be
    opened or is no state file."""
    from bascule.plugins.state_stores.sqlite.store import SqliteState

    path = settings.path or resources.data / "state.sqlite"
    store = await SqliteState.open(path, timeout_s=settings.timeout_s, max_bytes=settings.max_bytes, clock=clock)
    try:
        yield store
    finally:
        await store.aclose()
