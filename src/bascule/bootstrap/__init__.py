"""Joins everything: the only room that knows settings and plugins. Opens every resource once and closes it in reverse order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from bascule.access.authenticate import Authenticator
from bascule.access.directory import DirectoryService
from bascule.access.keys import KeyService
from bascule.access.rights import RightsService
from bascule.bootstrap.app import App
from bascule.bootstrap.background import in_background
from bascule.bootstrap.calls import with_built_in
from bascule.bootstrap.deletions import ledger_of, reconcile
from bascule.bootstrap.gateway import Providers, open_layers, open_resources, open_state
from bascule.bootstrap.login import open_login
from bascule.bootstrap.memory import give_back
from bascule.bootstrap.observing import open_telemetry, sweep_records
from bascule.bootstrap.overlay import laid_over
from bascule.bootstrap.plugins import plugin, secret
from bascule.bootstrap.prices import find_prices
from bascule.bootstrap.reload import Reloader, tell_problems
from bascule.bootstrap.routes import RouteAdmin
from bascule.bootstrap.sealing import open_seal
from bascule.bootstrap.tending import tend
from bascule.bootstrap.tokens import open_tokens
from bascule.core.errors import StorageError
from bascule.core.principals import ALL_SCOPES, SCOPE_ACT_AS, SCOPE_SCIM, system_principal
from bascule.db.catalogue import connect as connect_catalogue
from bascule.db.folder import prepare_folder
from bascule.db.jobs import DurableJobs
from bascule.gateway.call_writer import CallWriter
from bascule.settings import Settings

__all__ = ["App", "catalogue_urls", "init", "open_app", "plugin", "secret"]

log = logging.getLogger(__name__)


DEFAULT_TENANT = "default"
UPKEEP_EVERY_S = 1.0


async def init(settings: Settings) -> str | None:
    """Create the folder, the catalogue and, when there is no key yet, the first admin key, which is returned this once."""
    prepare_folder(settings.data, open_seal(settings))
    async with connect_catalogue(*catalogue_urls(settings)) as catalogue:
        operator = system_principal(DEFAULT_TENANT)
        if await catalogue.active_keys():
            return None
        _, key = await KeyService(catalogue, catalogue).create(
            operator,
            name="admin",
            tenant=DEFAULT_TENANT,
            subject="",
            groups=(),
            roles=(),
            scopes=sorted(ALL_SCOPES - {SCOPE_ACT_AS, SCOPE_SCIM}),
        )
        return key


def catalogue_urls(settings: Settings) -> tuple[str, str]:
    """Of the catalogue, and of the call records."""
    data = settings.data.resolve()
    return settings.catalogue.url or f"sqlite:///{data / 'catalogue.sqlite'}", f"sqlite:///{data / 'calls.sqlite'}"


@asynccontextmanager
async def open_app(
    settings: Settings, *, work: bool, source: Callable[[], Settings] | None = None
) -> AsyncIterator[App]:
    """Open everything the settings ask for. `work`: also run durable jobs, if no other process on this folder does.
    `source` reads the settings anew: with it `app.reloader` takes a changed file without a restart.

    Raises ConfigError with the key's path and the fix.
    """
    prepare_folder(settings.data, open_seal(settings))
    async with AsyncExitStack() as stack:
        app = await _open(settings, stack, source)
        for note in app.degraded:
            log.warning("degraded: %s", note)
        if work and app.ingest is not None:
            await app.jobs.launch()
            stack.push_async_callback(app.jobs.close)
            await in_background(stack, tend(app))
        await in_background(stack, _upkeep(app))
        await in_background(stack, give_back())
        yield app


async def _open(settings: Settings, stack: AsyncExitStack, source: Callable[[], Settings] | None) -> App:
    wanted, models, degraded = with_built_in(settings)
    prices = await in_background(stack, find_prices(wanted, models, settings.data.resolve()))
    resources = await open_resources(settings, stack)
    catalogue = await stack.enter_async_context(connect_catalogue(*catalogue_urls(settings)))
    file, mark = settings, await catalogue.routes_mark()
    settings, problems = laid_over(file, await catalogue.stored_routes())
    tell_problems(problems)
    if settings.models != file.models:
        wanted, models, degraded = with_built_in(settings)
        prices = await in_background(stack, find_prices(wanted, models, settings.data.resolve()))
    catalogue.ledger = ledger_of(settings)
    state = await open_state(settings, resources, stack)
    authenticator = Authenticator(catalogue)
    await authenticator.refresh()
    await in_background(stack, authenticator.watch())
    calls = CallWriter(catalogue, settings.gateway.records_waiting, await open_telemetry(settings, resources, stack))
    await in_background(stack, calls.run())
    stack.push_async_callback(calls.flush)

    providers = Providers(resources)
    stack.push_async_callback(providers.aclose)
    await providers.open(wanted, settings.gateway.max_reply_bytes)
    gateway = await open_layers(settings, await prices, providers, resources, state, calls, authenticator, stack)
    stack.push_async_callback(gateway.aclose)
    jobs = DurableJobs(
        f"sqlite:///{settings.data.resolve() / 'jobs.sqlite'}",
        settings.data.resolve() / "jobs.lock",
        catalogue.unfinished_jobs,
        catalogue.reset_running,
        reset_job=catalogue.reset_running,
    )
    app = App(
        settings=settings,
        catalogue=catalogue,
        gateway=gateway,
        state=state,
        authenticator=authenticator,
        tokens=open_tokens(settings.tokens, authenticator.is_off),
        login=open_login(settings, resources.http, authenticator.is_off),
        keys=KeyService(catalogue, catalogue),
        rights=RightsService(catalogue, catalogue, catalogue),
        directory=DirectoryService(catalogue, catalogue),
        jobs=jobs,
        calls=calls,
        degraded=degraded,
    )
    app.reloader = Reloader(app, providers, resources, file, source)
    stack.push_async_callback(app.reloader.aclose)
    app.routes = RouteAdmin(catalogue, app.reloader)
    await in_background(stack, app.routes.follow(mark))
    app.deleted_again = await reconcile(app)
    if settings.rag.enabled:
        from bascule.bootstrap.documents import open_documents

        await open_documents(app, models, resources, stack)
    if settings.sources or settings.server.fetch_urls:
        from bascule.bootstrap.sources import open_sources

        await open_sources(app, resources, stack)
    return app


async def _upkeep(app: App) -> None:
    """Carry out what other processes on this folder committed: index changes, and forgetting deleted documents."""
    mark: int | None = None
    sweep = sweep_records(app.catalogue, app.settings.gateway.retention_days)
    while True:
        try:
            if mark is None:
                mark = await app.catalogue.deletion_mark()
            if app.ingest is not None:
                await app.ingest.settle()
            later, gone = await app.catalogue.deletions_since(mark)
            for document_id in gone:
                await app.state.purge(document_id)
            await sweep(gone)
            mark = later
        except StorageError as error:  # the next round does it: nothing is settled that was not done
            log.warning("upkeep waits: %s", error.message)
        await asyncio.sleep(UPKEEP_EVERY_S)
