"""Takes a changed configuration without a restart: new calls go by it, calls and streams under way end by the old one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Final

import msgspec

from bascule.bootstrap.app import App
from bascule.bootstrap.calls import BUILT_IN_MODEL, with_built_in
from bascule.bootstrap.gateway import Providers, open_layers
from bascule.bootstrap.overlay import laid_over
from bascule.bootstrap.prices import find_prices
from bascule.core.errors import ConfigError, Conflict
from bascule.core.resources import Resources
from bascule.core.routes import StoredRoute
from bascule.gateway.gateway import Gateway
from bascule.settings import Settings
from bascule.settings.rag import LOCAL_MODEL

log = logging.getLogger(__name__)

SECTIONS: Final = ("providers", "models", "gateway", "limits", "policies")
# Within those sections, what was opened at the start and is not opened again.
_AT_START: Final = ("http_client", "pool_size", "cache_max_bytes", "records_waiting")
GRACE_S: Final = 60.0  # for a slow client to read the end of a stream


class Reloaded(msgspec.Struct, frozen=True, kw_only=True):
    """changed  sections that hold from now on. needs_restart  what differs in the file but is only read at the start."""

    changed: list[str]
    needs_restart: list[str]


class Reloader:
    """`source` reads the configuration anew. `file` is what it said last: the App's settings have stored routes over it."""

    def __init__(
        self,
        app: App,
        providers: Providers,
        resources: Resources,
        file: Settings,
        source: Callable[[], Settings] | None,
    ) -> None:
        self.file = file
        self._app = app
        self._providers = providers
        self._resources = resources
        self._source = source
        self._turn = asyncio.Lock()
        self._retiring: set[asyncio.Task[None]] = set()
        self._policies: AsyncExitStack | None = None

    async def reload(self) -> Reloaded:
        """Raises ConfigError for a configuration that is not valid, Conflict when there is none to read; then all stays as it
        is."""
        if self._source is None:
            raise Conflict("This server was started without a configuration file that it could read again.")
        async with self._turn:
            old, read = self._app.settings, await asyncio.to_thread(self._source)
            changed = await self._go_by(read, await self._app.catalogue.stored_routes())
            self.file = read
            if changed:
                log.info("configuration reloaded: %s", ", ".join(changed))
            return Reloaded(changed=changed, needs_restart=_for_restart(old, read))

    async def refresh(self, stored: Sequence[StoredRoute] | None = None) -> None:
        """Go by these routes over the file as it was read last; without any given, by those in the catalogue.
        Raises ConfigError; then all stays as it is."""
        async with self._turn:
            await self._go_by(self.file, await self._app.catalogue.stored_routes() if stored is None else stored)

    def reserved(self) -> set[str]:
        """Names that are not to be had for stored routes."""
        return {BUILT_IN_MODEL, LOCAL_MODEL, *self.file.models}

    async def _go_by(self, read: Settings, stored: Sequence[StoredRoute]) -> list[str]:
        """The sections that have changed."""
        old = self._app.settings
        laid, problems = laid_over(read, stored)
        tell_problems(problems)
        changed = [name for name in SECTIONS if getattr(laid, name) != getattr(old, name)]
        if changed:
            await self._take(old.model_copy(update={name: getattr(laid, name) for name in changed}))
        return changed

    async def _take(self, settings: Settings) -> None:
        app = self._app
        wanted, models, _ = with_built_in(settings)
        named = {settings.rag.embedding_model, settings.rag.answers_by, settings.rag.helper_model}
        lost = settings.rag.enabled and named - {None, "", *models}
        if lost and lost <= set(app.gateway.models()):
            raise ConfigError("The models that answers from documents need cannot be removed while the server runs.")
        longest_s = max([app.settings.gateway.timeout_s, *(m.timeout_s or 0.0 for m in app.settings.models.values())])
        prices = await find_prices(wanted, models, settings.data.resolve())
        mark = self._providers.mark()
        dropped = await self._providers.open(wanted, settings.gateway.max_reply_bytes)
        stack = AsyncExitStack()
        try:
            layers = await open_layers(
                settings, prices, self._providers, self._resources, app.state, app.calls, app.authenticator, stack
            )
        except BaseException:
            await stack.aclose()
            await self._providers.back_to(mark)
            raise
        was = app.gateway.adopt(layers)
        app.settings = settings
        closing = [*dropped, *([self._policies] if self._policies is not None else [])]
        self._policies = stack
        task = asyncio.create_task(_retire(was, closing, longest_s + GRACE_S))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def aclose(self) -> None:
        for task in list(self._retiring):
            task.cancel()
        await asyncio.gather(*self._retiring, return_exceptions=True)
        if self._policies is not None:
            await self._policies.aclose()


def tell_problems(problems: Mapping[str, str]) -> None:
    for name, problem in problems.items():
        log.warning("the route %s is not used: %s", name, problem)


async def _retire(was: Gateway, closing: list[AsyncExitStack], after_s: float) -> None:
    """Close what was once its last call must have ended by its own deadline."""
    try:
        await asyncio.sleep(after_s)
    finally:
        await was.aclose()
        for stack in closing:
            await stack.aclose()


def _for_restart(old: Settings, read: Settings) -> list[str]:
    fields = [name for name in type(read).model_fields if name not in SECTIONS]
    found = [name for name in fields if getattr(read, name) != getattr(old, name)]
    return found + [f"gateway.{name}" for name in _AT_START if _differs(old, read, name)]


def _differs(old: Settings, read: Settings, name: str) -> bool:
    return bool(getattr(old.gateway, name, None) != getattr(read.gateway, name, None))
