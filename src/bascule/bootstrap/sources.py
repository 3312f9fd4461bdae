"""The sources of the operator's file: opened, run on request and on their schedules."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from bascule.bootstrap.app import App
from bascule.bootstrap.background import in_background
from bascule.bootstrap.plugins import connect_plugin, plugin
from bascule.core.connectors import Connector, SkippedItem, SourceItem
from bascule.core.errors import BasculeError, ConfigError, Conflict, NotFound
from bascule.core.fetching import Fetcher
from bascule.core.principals import system_principal
from bascule.core.resources import Resources
from bascule.core.rights import Rights
from bascule.core.sources import SourceOutcome, SourceRuns
from bascule.rag.sync import SourceRules, Sync, SyncReport
from bascule.settings import SourceSettings, StoreSettings

log = logging.getLogger(__name__)

MOST_REASONS = 20
UPLOAD = "upload"  # the one connector that no source can be: its documents come with the request


class Sources:
    """Each source runs once at a time in a process."""

    def __init__(
        self,
        sync: Sync,
        sources: Mapping[str, tuple[SourceSettings, SourceRules, Connector]],
        is_worker: Callable[[], bool],
        runs: SourceRuns,
    ) -> None:
        self._sync = sync
        self._runs = runs
        self._begun: set[asyncio.Task[None]] = set()
        self._is_worker = is_worker
        self._sources = sources
        self._turns = {name: asyncio.Lock() for name in sources}

    def names(self) -> list[str]:
        return list(self._sources)

    async def run(
        self, name: str, *, confirm_deletions: bool = False, progress: Callable[[int], None] = lambda seen: None
    ) -> SyncReport:
        """Raises NotFound for a name that is not in the file, StorageError when our own stores do not answer."""
        if name not in self._sources:
            raise NotFound(f"There is no source {name!r}. [sources] names: {', '.join(self._sources) or 'none'}.")
        given, rules, connector = self._sources[name]
        who = system_principal(given.tenant)
        async with self._turns[name]:
            await self._runs.begin_source_run(who, name)
            try:
                report = await self._sync.run(
                    who, rules, connector, confirm_deletions=confirm_deletions, progress=progress
                )
            except BasculeError as error:
                await self._runs.end_source_run(who, name, SourceOutcome(error=error.message))
                raise
            await self._runs.end_source_run(who, name, _outcome(report))
            return report

    async def begin(self, name: str, *, confirm_deletions: bool = False) -> None:
        """`run` in the background, until `aclose`. Returns once it has begun. Raises Conflict while it runs already."""
        if self._turns[name].locked():
            raise Conflict("The source is being read already.")
        await self._runs.begin_source_run(system_principal(self._sources[name][0].tenant), name)
        task = asyncio.create_task(self._run_alone(name, confirm_deletions))
        self._begun.add(task)
        task.add_done_callback(self._begun.discard)

    async def aclose(self) -> None:
        for task in list(self._begun):
            task.cancel()
        await asyncio.gather(*self._begun, return_exceptions=True)

    async def _run_alone(self, name: str, confirm_deletions: bool) -> None:
        try:
            _log(await self.run(name, confirm_deletions=confirm_deletions))
        except BasculeError as error:
            log.warning("source %s: %s", name, error.message)
        except Exception:
            log.exception("source %s: this run failed", name)

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """While this is open, sources with a schedule run by it, in the one process of the folder that works."""
        async with AsyncExitStack() as stack:
            for name, (given, _, _) in self._sources.items():
                if given.every_s is not None:
                    await in_background(stack, self._keep(name, given.every_s))
            yield

    async def _keep(self, name: str, every_s: float) -> None:
        while True:
            if self._is_worker():
                try:
                    _log(await self.run(name))
                except BasculeError as error:
                    log.warning("source %s: %s", name, error.message)
                except Exception:
                    log.exception("source %s: this run failed; the next one comes as planned", name)
            await asyncio.sleep(every_s)


def _outcome(report: SyncReport) -> SourceOutcome:
    """What is kept of a report: no names of documents."""
    return SourceOutcome(
        taken=report.taken,
        unchanged=report.unchanged,
        deleted=report.deleted,
        rights_changed=report.rights_changed,
        held_back=report.held_back,
        reason=report.reason,
        stopped=report.stopped,
        partial=report.partial,
        skipped=dict(Counter(item.reason for item in report.skipped).most_common(MOST_REASONS)),
    )


def _log(report: SyncReport) -> None:
    counts = (report.source, report.taken, report.unchanged, report.deleted, report.held_back, len(report.skipped))
    log.info("source %s: %d taken, %d unchanged, %d deleted, %d held back, %d skipped", *counts)
    if report.stopped:
        log.warning("source %s did not answer: %s", report.source, report.stopped)


async def open_sources(app: App, resources: Resources, stack: AsyncExitStack) -> None:
    """Raises ConfigError naming the key under [sources]."""
    settings = app.settings
    if app.ingest is None:
        raise ConfigError("[sources] and server.fetch_urls need [rag] enabled = true.")
    if settings.server.fetch_urls and resources.fetcher is not None:
        app.fetch_document = partial(_fetch_document, resources.fetcher, settings.server.max_upload_bytes)
    if not settings.sources:
        return
    opened = {}
    for name, given in settings.sources.items():
        at = f"sources.{name}"
        if given.kind == UPLOAD:
            raise ConfigError(f"{at}.kind: uploads come with requests and are no source.")
        own = StoreSettings(kind=given.kind, **(given.model_extra or {}))
        connector: Connector = await connect_plugin(stack, "connectors", at, own, resources)
        opened[name] = (given, _rules(name, given), connector)
    app.sources = Sources(Sync(app.catalogue, app.ingest), opened, lambda: app.jobs.state == "worker", app.catalogue)
    stack.push_async_callback(app.sources.aclose)


async def _fetch_document(fetcher: Fetcher, limit_bytes: int, url: str) -> SourceItem | SkippedItem:
    """One document by its URL, as a source of this one URL would bring it."""
    module = plugin("connectors", "url")
    try:
        connector: Connector = module.UrlConnector(fetcher, module.Settings(urls=[url], max_page_bytes=limit_bytes))
    except ConfigError as error:
        return SkippedItem(external_id=url, reason=error.message)
    return await anext(aiter(connector.items()))


def _rules(name: str, given: SourceSettings) -> SourceRules:
    try:
        base = None if given.allow is None and not given.deny else Rights.of(given.allow or (), given.deny)
        patterns = tuple((pattern, Rights.of(rule.allow, rule.deny)) for pattern, rule in given.rights.items())
    except BasculeError as error:
        raise ConfigError(f"sources.{name}: {error.message}") from None
    return SourceRules(
        name=name,
        collection=given.collection,
        rights=base,
        patterns=patterns,
        deny=frozenset(given.deny),
        max_deleted_share=given.max_deleted_share,
    )
