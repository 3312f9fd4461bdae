"""Opens what every gateway stands on, in a server and in a program of one's own alike: HTTP client, state store, providers."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack

import msgspec

from bascule.access.authenticate import Authenticator
from bascule.bootstrap.calls import limits_of, options, routes, with_built_in
from bascule.bootstrap.observing import open_policies
from bascule.bootstrap.plugins import connect_plugin, plugin, secret
from bascule.bootstrap.prices import Prices
from bascule.core.resources import Resources
from bascule.core.state import StateStore
from bascule.gateway.call_writer import CallWriter
from bascule.gateway.gateway import Gateway, build
from bascule.settings import ProviderSettings, Settings


async def open_resources(settings: Settings, stack: AsyncExitStack) -> Resources:
    client = plugin("http_clients", settings.gateway.http_client)
    http = await stack.enter_async_context(client.connect(client.Settings(pool_size=settings.gateway.pool_size)))
    resources = Resources(http=http, data=settings.data.resolve(), models=settings.models_path.resolve(), secret=secret)
    fetcher = await connect_plugin(stack, "fetchers", "fetcher", settings.fetcher, resources)
    return msgspec.structs.replace(resources, fetcher=fetcher)


async def open_state(settings: Settings, resources: Resources, stack: AsyncExitStack) -> StateStore:
    limit = settings.gateway.cache_max_bytes
    store: StateStore = await connect_plugin(
        stack, "state_stores", "state_store", settings.state_store, resources, max_bytes=limit
    )
    return store


class Providers:
    """The open providers by name. Opening again keeps those whose settings are the same."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._open: dict[str, tuple[ProviderSettings, int, object, AsyncExitStack]] = {}

    async def open(self, wanted: Mapping[str, ProviderSettings], limit_bytes: int) -> list[AsyncExitStack]:
        """Make `wanted` the open ones. Returns what closes those that are no longer wanted, to be used when their calls have
        ended. Raises ConfigError; then nothing has changed."""
        found = dict(self._open)
        fresh: list[AsyncExitStack] = []
        try:
            for name, given in wanted.items():
                old = found.get(name)
                if old is None or old[:2] != (given, limit_bytes):
                    stack = AsyncExitStack()
                    fresh.append(stack)
                    at = f"providers.{name}"
                    made = await connect_plugin(
                        stack, "providers", at, given, self._resources, max_reply_bytes=limit_bytes
                    )
                    found[name] = (given, limit_bytes, made, stack)
        except BaseException:
            for stack in fresh:
                await stack.aclose()
            raise
        now = {name: found[name] for name in wanted}
        kept = {id(entry[3]) for entry in now.values()}
        dropped = [entry[3] for entry in self._open.values() if id(entry[3]) not in kept]
        self._open = now
        return dropped

    def mark(self) -> dict[str, tuple[ProviderSettings, int, object, AsyncExitStack]]:
        return self._open

    async def back_to(self, mark: dict[str, tuple[ProviderSettings, int, object, AsyncExitStack]]) -> None:
        """Undo an `open`: close what it opened."""
        kept = {id(entry[3]) for entry in mark.values()}
        fresh = [entry[3] for entry in self._open.values() if id(entry[3]) not in kept]
        self._open = mark
        for stack in fresh:
            await stack.aclose()

    def now(self) -> dict[str, object]:
        return {name: entry[2] for name, entry in self._open.items()}

    async def aclose(self) -> None:
        for _, _, _, stack in self._open.values():
            await stack.aclose()


async def open_layers(
    settings: Settings,
    prices: Prices,
    providers: Providers,
    resources: Resources,
    state: StateStore,
    calls: CallWriter,
    authenticator: Authenticator,
    stack: AsyncExitStack,
) -> Gateway:
    """The layers over providers that are open."""
    _, models, _ = with_built_in(settings)
    return build(
        routes(models, settings, prices),
        providers.now(),
        state,
        calls.sink,
        limits_of(settings, authenticator),
        options(settings),
        policies=await open_policies(settings, resources, stack),
        room=calls,
    )
