"""Joins everything: the only file that knows settings and plugins. Opens every resource once and closes it in reverse order."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import logging
import os
import pkgutil
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from bascule.access.authenticate import Authenticator
from bascule.access.keys import KeyService
from bascule.access.rights import RightsService
from bascule.core.calls import Call
from bascule.core.deadlines import Deadline
from bascule.core.embedding import Embedder
from bascule.core.errors import ConfigError, StorageError
from bascule.core.principals import ALL_SCOPES, Principal, system_principal
from bascule.core.resources import Resources
from bascule.core.state import StateStore
from bascule.core.vectors import VectorStore
from bascule.db.blobs import FolderBlobs
from bascule.db.catalogue import SqlCatalogue
from bascule.db.catalogue import connect as connect_catalogue
from bascule.db.folder import prepare_folder
from bascule.db.jobs import DurableJobs
from bascule.gateway.call_writer import CallWriter
from bascule.gateway.gateway import Gateway, build
from bascule.gateway.routes import Limits, Options, Route, Target
from bascule.settings import ModelSettings, ProviderSettings, Settings, TargetSettings

if TYPE_CHECKING:  # a gateway without rag loads none of it
    from bascule.rag.index import Indexer
    from bascule.rag.ingest import Ingest
    from bascule.rag.questions import Questions
    from bascule.rag.sandbox import Sandbox, SandboxOptions

log = logging.getLogger(__name__)

DEFAULT_TENANT = "default"
BUILT_IN_MODEL = "minilm"
UPKEEP_EVERY_S = 1.0


@dataclass(kw_only=True)
class App:
    """Everything a server or a command needs, open. `questions`, `ingest` and `store` are None with `[rag] enabled = false`."""

    settings: Settings
    catalogue: SqlCatalogue
    gateway: Gateway
    state: StateStore
    authenticator: Authenticator
    keys: KeyService
    rights: RightsService
    jobs: DurableJobs
    calls: CallWriter
    ingest: Ingest | None = None
    indexer: Indexer | None = None
    questions: Questions | None = None
    store: VectorStore | None = None
    degraded: list[str] = field(default_factory=list)  # what was missing at start, in words (law 11)


def plugin(family: str, kind: str) -> Any:
    """The module `plugins/<family>/<kind>.py`. Raises ConfigError naming the kinds there are."""
    name = f"bascule.plugins.{family}.{kind}"
    package = importlib.import_module(f"bascule.plugins.{family}")
    known = sorted(m.name for m in pkgutil.iter_modules(package.__path__))
    if not kind.isidentifier() or kind not in known:
        raise ConfigError(f"There is no {family} plugin of kind {kind!r}. Known kinds: {', '.join(known)}.")
    return importlib.import_module(name)


async def connect_plugin(
    stack: AsyncExitStack, family: str, at: str, given: BaseModel, resources: Resources, **service_wide: Any
) -> Any:
    """Validate the plugin's own settings and connect it. `at` is the configuration path, for the error; `service_wide` are
    values that hold unless the plugin's own section says otherwise, given to plugins that know them."""
    values = given.model_dump()
    kind = values.pop("kind")
    module = plugin(family, kind)
    values = {k: v for k, v in service_wide.items() if k in module.Settings.model_fields} | values
    try:
        settings = module.Settings(**values)
    except ValidationError as error:
        wrong = "; ".join(f"{at}.{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ConfigError(f"The configuration is not valid: {wrong}") from None
    return await stack.enter_async_context(module.connect(settings, resources))


def secret(reference: str) -> str:
    """Resolve "env:NAME" or "file:PATH". Raises ConfigError that names the reference, never a value."""
    scheme, _, rest = reference.partition(":")
    if scheme == "env" and rest:
        value = os.environ.get(rest, "")
        if not value:
            raise ConfigError(f"The environment variable {rest} is not set (asked for by {reference!r}).")
        return value
    if scheme == "file" and rest:
        try:
            return Path(rest).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ConfigError(f"{reference!r} cannot be read: {error.strerror}.") from None
    raise ConfigError('A secret must be a reference: "env:NAME" or "file:PATH", not the secret itself.')


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


def with_built_in(settings: Settings) -> tuple[dict[str, ProviderSettings], dict[str, ModelSettings], list[str]]:
    """Providers and models, plus the built-in embedding model where it is wanted, not configured and present."""
    providers, models = dict(settings.providers), dict(settings.models)
    wanted = settings.rag.embedding_model if settings.rag.enabled else None
    if wanted != BUILT_IN_MODEL or wanted in models:
        return providers, models, []
    if not (settings.models_path / BUILT_IN_MODEL / "model.onnx").is_file():
        return providers, models, ["lexical_only: no embedding model; run `bascule models pull`"]
    providers["built_in_onnx"] = ProviderSettings(kind="onnx")
    models[BUILT_IN_MODEL] = ModelSettings(
        targets=(TargetSettings(provider="built_in_onnx", model=BUILT_IN_MODEL),),
        timeout_s=settings.gateway.batch_timeout_s,
    )
    return providers, models, []


def _routes(models: Mapping[str, ModelSettings], settings: Settings) -> dict[str, Route]:
    gateway = settings.gateway
    return {
        name: Route(
            model=name,
            targets=tuple(
                Target(
                    provider=t.provider,
                    model=t.model,
                    input_usd_per_mtok=t.input_usd_per_mtok,
                    output_usd_per_mtok=t.output_usd_per_mtok,
                )
                for t in model.targets
            ),
            timeout_s=model.timeout_s or gateway.timeout_s,
            cache_ttl_s=gateway.cache_ttl_s if model.cache_ttl_s is None else model.cache_ttl_s,
            cache_scope=model.cache_scope,
        )
        for name, model in models.items()
    }


def _limits_of(settings: Settings, authenticator: Authenticator) -> Callable[[Principal], Limits]:
    gateway = settings.gateway
    default = Limits(
        requests_per_min=gateway.requests_per_min,
        tokens_per_min=gateway.tokens_per_min,
        usd_per_day=gateway.usd_per_day,
    )
    unlimited = Limits()

    def limits_of(principal: Principal) -> Limits:
        if principal.system:
            return unlimited
        key = authenticator.record(principal)
        if key is None:
            return default
        return Limits(
            requests_per_min=key.requests_per_min or default.requests_per_min,
            tokens_per_min=key.tokens_per_min or default.tokens_per_min,
            usd_per_day=key.usd_per_day or default.usd_per_day,
        )

    return limits_of


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
        _routes(models, settings), providers, state, calls.sink, _limits_of(settings, authenticator), _options(settings)
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
        await _open_rag(app, models, resources, stack)
    return app


def _options(settings: Settings) -> Options:
    gateway = settings.gateway
    return Options(
        cache_max_entry_bytes=gateway.cache_max_entry_bytes,
        max_attempts=gateway.max_attempts,
        max_depth=gateway.max_depth,
        max_request_bytes=settings.server.max_body_bytes,
        max_stream_bytes=gateway.max_reply_bytes,
        timeout_s=gateway.timeout_s,
    )


async def _open_rag(app: App, models: Mapping[str, ModelSettings], resources: Resources, stack: AsyncExitStack) -> None:
    from bascule.rag.index import Indexer
    from bascule.rag.ingest import KIND, Ingest
    from bascule.rag.options import RagOptions
    from bascule.rag.questions import Questions

    settings, rag = app.settings, app.settings.rag
    store: VectorStore = await connect_plugin(stack, "vector_stores", "rag.vector_store", rag.vector_store, resources)
    embedder = await _embedder(app, models)
    blobs = FolderBlobs(resources.data / "blobs")
    app.store = store
    app.indexer = Indexer(app.catalogue, store, blobs, app.state.purge)
    app.ingest = Ingest(
        catalogue=app.catalogue,
        blobs=blobs,
        jobs=app.jobs,
        preparer=_LazySandbox(settings, resources, stack).get,
        indexer=app.indexer,
        embedder=embedder,
        call_for=lambda principal: Call(principal, Deadline.after(settings.gateway.batch_timeout_s)),
        max_document_bytes=settings.server.max_upload_bytes,
    )
    app.jobs.register(KIND, app.ingest.run)
    app.questions = Questions(
        passages=app.catalogue,
        traces=app.catalogue,
        store=store,
        embedder=embedder,
        chat=app.gateway if rag.chat_model else None,
        options=RagOptions(
            chat_model=rag.chat_model or "",
            candidates=rag.candidates,
            passages=rag.passages,
            prompt_tokens=rag.prompt_tokens,
            dense_weight=rag.dense_weight,
            timeout_s=settings.gateway.timeout_s,
            prompt_key=(resources.data / "secrets" / "prompt.key").read_bytes(),
        ),
    )


async def _embedder(app: App, models: Mapping[str, ModelSettings]) -> Embedder | None:
    wanted = app.settings.rag.embedding_model
    if not wanted:
        app.degraded.append("lexical_only: rag.embedding_model is empty")
        return None
    if wanted not in models:
        if not app.degraded:
            raise ConfigError(f"rag.embedding_model names {wanted!r}, which is not under [models].")
        return None
    return await app.gateway.embedder(wanted)


class _LazySandbox:
    """Starts the parsing children when the first document comes, so that a server that ingests nothing pays nothing."""

    def __init__(self, settings: Settings, resources: Resources, stack: AsyncExitStack) -> None:
        self._rag = settings.rag
        self._models = resources.models
        self._stack = stack
        self._open: Sandbox | None = None

    def get(self) -> Sandbox:
        from bascule.rag.sandbox import Sandbox

        if self._open is None:
            self._open = Sandbox(self._options())
            self._stack.push_async_callback(self._open.close)
        return self._open

    def _options(self) -> SandboxOptions:
        from bascule.rag.confine import Limits as ProcessLimits
        from bascule.rag.prepare import PrepareOptions
        from bascule.rag.sandbox import SandboxOptions

        rag = self._rag
        tokenizer = self._models / BUILT_IN_MODEL / "tokenizer.json"
        return SandboxOptions(
            processes=rag.parser_processes,
            limits=ProcessLimits(
                memory_bytes=rag.parser_memory_bytes, cpu_s=rag.parser_cpu_s, wall_s=rag.parser_wall_s
            ),
            prepare=PrepareOptions(
                chunk_tokens=rag.chunk_tokens,
                redact=rag.redact,
                tokenizer=str(tokenizer) if tokenizer.is_file() else "",
            ),
        )


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
