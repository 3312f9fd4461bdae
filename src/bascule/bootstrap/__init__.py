"""Joins everything: the only room that knows settings and plugins. Opens every resource once and closes it in reverse order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

from bascule.access.authenticate import Authenticator
from bascule.access.keys import KeyService
from bascule.access.rights import RightsService
from bascule.bootstrap.app import App
from bascule.bootstrap.calls import limits_of, options, routes, with_built_in
from bascule.bootstrap.plugins import connect_plugin, plugin, secret
from bascule.core.errors import StorageError
from bascule.core.principals import ALL_SCOPES, system_principal
from bascule.core.resources import Resources
from bascule.db.catalogue import connect as connect_catalogue
from bascule.db.folder import prepare_folder
from bascule.db.jobs import DurableJobs
from bascule.gateway.call_writer import CallWriter
from bascule.gateway.gateway import build
from bascule.settings import Settings

__all__ = ["App", "init", "open_app", "plugin", "secret"]

log = logging.getLogger(__name__)

DEFAULT_TENANT = "default"
UPKEEP_EVERY_S = 1.0


async def init(settings: Settings) -> str | None:
    """Create the folder, the catalogue and, when there is no key yet, the first admin key, which is returned this once."""
    prepare_folder(settings.data)
    async with connect_catalogue(*_urls(settings)) as catalogue:
        operator = system_principal(DEFAULT_TENANT)
        if await catalogue.active_keys():
            return None
        _, key = await KeyService(catalogue, catalogue).create(
            operator, name="admin", tenant=DEFAULT_TENANT, subject="", groups=(), roles=(), scopes=sorted(ALL_SCOPES)
        )
        return key


def _urls(settings: Settings) -> tuple[str, str]:
    data = settings.data.resolve()
    return settings.catalogue.url or f"sqlite:///{data / 'catalogue.sqlite'}", f"sqlite:///{data / 'calls.sqlite'}"


@asynccontextmanager
async def open_app(settings: Settings, *, work: bool) -> AsyncIterator[App]:
    """Open everything the settings ask for. `work`: also run durable jobs, if no other process on this folder does.

    Raises ConfigError with the key's path and the fix.
    """
    prepare_folder(settings.data)
    async with AsyncExitStack() as stack:
        app = await _open(settings, stack)
        for note in app.degraded:
            log.warning("degraded: %s", note)
        if work and app.ingest is not None:
            await app.jobs.launch()
            stack.push_async_callback(app.jobs.close)
        await _in_background(stack, _upkeep(app))
        yield app


async def _open(settings: Settings, stack: AsyncExitStack) -> App:
    client = plugin("http_clients", settings.gateway.http_client)
    http = await stack.enter_async_context(client.connect(client.Settings(pool_size=settings.gateway.pool_size)))
    resources = Resources(http=http, data=settings.data.resolve(), models=settings.models_path.resolve(), secret=secret)
    catalogue = await stack.enter_async_context(connect_catalogue(*_urls(settings)))
    state = await connect_plugin(
        stack,
        "state_stores",
        "state_store",
        settings.state_store,
        resources,
        max_bytes=settings.gateway.cache_max_bytes,
    )
    authenticator = Authenticator(catalogue)
    await authenticator.refresh()
    await _in_background(stack, authenticator.watch())
    calls = CallWriter(catalogue)
    await _in_background(stack, calls.run())
    stack.push_async_callback(calls.flush)

    wanted, models, degraded = with_built_in(settings)
    providers = {
        name: await connect_plugin(
            stack, "providers", f"providers.{name}", given, resources, max_reply_bytes=settings.gateway.max_reply_bytes
        )
        for name, given in wanted.items()
    }
    gateway = build(
        routes(models, settings), providers, state, calls.sink, limits_of(settings, authenticator), options(settings)
    )
    stack.push_async_callback(gateway.aclose)
    jobs = DurableJobs(
        f"sqlite:///{settings.data.resolve() / 'jobs.sqlite'}",
        settings.data.resolve() / "jobs.lock",
        catalogue.unfinished_jobs,
        catalogue.reset_running,
    )
    app = App(
        settings=settings,
        catalogue=catalogue,
        gateway=gateway,
        state=state,
        authenticator=authenticator,
        keys=KeyService(catalogue, catalogue),
        rights=RightsService(catalogue, catalogue),
        jobs=jobs,
        calls=calls,
        degraded=degraded,
    )
    if settings.rag.enabled:
        from bascule.bootstrap.documents import open_documents

        await open_documents(app, models, resources, stack)
    return app


async def _upkeep(app: App) -> None:
    """Carry out what other processes on this folder committed: index changes, and forgetting deleted documents."""
    mark: int | None = None
    while True:
        try:
            if mark is None:
                mark = await app.catalogue.deletion_mark()
            if app.ingest is not None:
                await app.ingest.settle()
            mark, gone = await app.catalogue.deletions_since(mark)
            for document_id in gone:
                await app.state.purge(document_id)
        except StorageError as error:  # the next round does it: nothing is settled that was not done
            log.warning("upkeep waits: %s", error.message)
        await asyncio.sleep(UPKEEP_EVERY_S)


async def _in_background(stack: AsyncExitStack, work: Any) -> None:
    task = asyncio.create_task(work)

    async def stop() -> None:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    stack.push_async_callback(stop)
