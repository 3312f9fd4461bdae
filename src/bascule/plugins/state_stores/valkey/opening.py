"""From settings to an open store: the only place that knows how the library wants its addresses."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from valkey._parsers.url_parser import parse_url
from valkey.asyncio.connection import AbstractConnection, Connection
from valkey.exceptions import ValkeyError

from bascule.core.errors import ConfigError
from bascule.core.resources import Resources
from bascule.plugins.state_stores.valkey.feed import OPEN_S
from bascule.plugins.state_stores.valkey.store import ValkeyState

if TYPE_CHECKING:
    from bascule.plugins.state_stores.valkey import Settings


async def open_store(settings: Settings, resources: Resources, clock: Callable[[], float] | None) -> ValkeyState:
    """Raises ConfigError where the server is there and refuses us."""
    store = ValkeyState(
        _maker(settings, resources),
        prefix=settings.prefix,
        timeout_s=settings.timeout_s,
        replicas=settings.replicas,
        max_bytes=settings.max_bytes,
        max_entry_bytes=settings.max_entry_bytes,
        clock=clock,
    )
    try:
        await store.open()
    except ValkeyError as error:
        await store.aclose()
        raise ConfigError(f"state_store: the server at {settings.url} refuses: {str(error)[:200]}") from None
    return store


def _maker(settings: Settings, resources: Resources) -> Callable[[], AbstractConnection]:
    given = dict(parse_url(settings.url, True))
    kind = given.pop("connection_class", Connection)
    if settings.password:
        given["password"] = resources.secret(settings.password)
    if kind is not Connection:
        given |= {"ssl_check_hostname": True, "ssl_ca_certs": settings.ca_file}

    def make() -> AbstractConnection:
        made: AbstractConnection = kind(**given, socket_timeout=None, socket_connect_timeout=OPEN_S, protocol=2)
        return made

    return make
