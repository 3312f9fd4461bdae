"""Counters, cache entries and leases on a Valkey or Redis server: several Bascule servers then share limits and kept answers.

Made for one primary (a replica and a failover beside it are fine; a cluster is used as one node, as all keys are in one slot).
Only plain commands and Lua scripts; no module.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from bascule.core.errors import ConfigError
from bascule.core.resources import Resources

if TYPE_CHECKING:
    from bascule.plugins.state_stores.valkey.store import ValkeyState

SCHEMES = ("valkey", "valkeys", "redis", "rediss")


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(
        "valkey://127.0.0.1:6379/0", description="valkey://[USER@]HOST:PORT/DATABASE, or valkeys:// for TLS."
    )
    password: str = Field("", description='Its password, as a reference ("env:NAME" or "file:PATH"); empty for none.')
    ca_file: str | None = Field(None, description="Certificates (PEM) to trust with valkeys://, beside the system's.")
    prefix: str = Field(
        "bascule", pattern=r"^[A-Za-z0-9_.:-]{1,64}$", description="Servers with the same prefix share one state."
    )
    timeout_s: float = Field(0.25, gt=0, le=5, description="How long an answer is waited for before it is held lost.")
    replicas: int = Field(
        2, ge=1, le=10_000, description="How many servers share it: each one's part of a limit while it is away."
    )
    max_bytes: int = Field(64_000_000, ge=0, description="Memory of this process for entries it has seen; 0: none.")
    max_entry_bytes: int = Field(8_000_000, gt=0, description="Nothing larger is kept.")

    @field_validator("url")
    @classmethod
    def _plain(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in SCHEMES or not parts.hostname:
            raise ValueError(f"it must begin with one of {', '.join(SCHEMES)}:// and name a host")
        if parts.password or parts.query:
            raise ValueError('no password and no ?options: set password = "env:NAME"')
        if parts.path.strip("/") and not parts.path.strip("/").isdigit():
            raise ValueError("what follows the port must be the number of a database")
        return url


@asynccontextmanager
async def connect(
    settings: Settings, resources: Resources, *, clock: Callable[[], float] | None = None
) -> AsyncGenerator[ValkeyState]:
    """`clock` (seconds since 1970) takes the place of the server's clock: for tests. Raises ConfigError where the server is
    there and refuses us; where it is away, the store begins alone and comes to it when it is there."""
    try:
        from bascule.plugins.state_stores.valkey.opening import open_store
    except ModuleNotFoundError:
        raise ConfigError("state_store: Valkey needs the extra valkey: pip install 'bascule[valkey]'") from None
    store = await open_store(settings, resources, clock)
    try:
        yield store
    finally:
        await store.aclose()
