"""Opens what answers from documents: store, embedder, parsing children, ingest and questions."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from bascule.bootstrap.app import App
from bascule.bootstrap.calls import BUILT_IN_MODEL
from bascule.bootstrap.plugins import connect_plugin
from bascule.bootstrap.sealing import open_seal
from bascule.core.calls import Call
from bascule.core.deadlines import Deadline
from bascule.core.embedding import Embedder
from bascule.core.errors import ConfigError
from bascule.core.judging import Judge
from bascule.core.principals import Principal, system_principal
from bascule.core.reranking import Reranker
from bascule.core.resources import Resources
from bascule.core.vectors import VectorStore
from bascule.db.blobs import FolderBlobs
from bascule.db.sealing import read_secret
from bascule.settings import ModelSettings, RagSettings, Settings

if TYPE_CHECKING:
    from bascule.rag.embedders import Embedders
    from bascule.rag.retention import Keeping
    from bascule.rag.sandbox import Sandbox, SandboxOptions


async def open_documents(
    app: App, models: Mapping[str, ModelSettings], resources: Resources, stack: AsyncExitStack
) -> None:
    from bascule.core.generations import REEMBED, REPROCESS
    from bascule.rag.embedders import Embedders
    from bascule.rag.index import Indexer
    from bascule.rag.ingest import KIND, Ingest
    from bascule.rag.reembed import Reembed
    from bascule.rag.retention import Retention

    settings, rag = app.settings, app.settings.rag
    if rag.names_model:
        await asyncio.to_thread(_check_names, rag.names_model, resources.models)
    store: VectorStore = await connect_plugin(stack, "vector_stores", "rag.vector_store", rag.vector_store, resources)
    embedders = Embedders(await _embedder(app, models), rag.embedding_model or "", app.gateway.embedder)

    def call_for(principal: Principal) -> Call:
        return Call(principal, Deadline.after(settings.gateway.batch_timeout_s))

    blobs = FolderBlobs(resources.data / "blobs")
    app.store = store
    app.embedders = embedders
    app.indexer = Indexer(app.catalogue, store, blobs, app.state.purge)
    app.ingest = Ingest(
        catalogue=app.catalogue,
        blobs=blobs,
        jobs=app.jobs,
        preparer=_LazySandbox(settings, resources, stack).get,
        indexer=app.indexer,
        embedders=embedders,
        call_for=call_for,
        max_document_bytes=settings.server.max_upload_bytes,
        mode=rag.redact,
        pseudonym_key=read_secret(resources.data / "secrets", "pseudonym.key", open_seal(settings)),
        chunk_tokens=rag.chunk_tokens,
        names=rag.names_rule,
        least_quality={name: given.min_quality for name, given in rag.collections.items()},
        modes={name: given.redact for name, given in rag.collections.items() if given.redact is not None},
    )
    app.jobs.register(KIND, app.ingest.run)
    app.jobs.register(REPROCESS, app.ingest.run)
    app.reembed = Reembed(
        catalogue=app.catalogue, jobs=app.jobs, indexer=app.indexer, embedders=embedders, call_for=call_for
    )
    app.jobs.register(REEMBED, app.reembed.run)
    app.retention = Retention(catalogue=app.catalogue, settle=app.ingest.settle, rules=_kept(rag))
    reranker: Reranker | None = None
    if rag.reranker is not None:
        reranker = await connect_plugin(stack, "rerankers", "rag.reranker", rag.reranker, resources)
    judge: Judge | None = None
    if rag.entailment is not None:
        judge = await connect_plugin(stack, "judges", "rag.entailment", rag.entailment, resources)
    _open_questions(app, store, embedders, reranker, judge, resources)


def _open_questions(
    app: App,
    store: VectorStore,
    embedders: Embedders,
    reranker: Reranker | None,
    judge: Judge | None,
    resources: Resources,
) -> None:
    from bascule.rag.advice import Adviser, ModelReranker
    from bascule.rag.explanations import Explanations, deeper
    from bascule.rag.options import RagOptions
    from bascule.rag.priors import Priors
    from bascule.rag.questions import Questions

    settings, rag = app.settings, app.settings.rag
    options = RagOptions(
        chat_model=rag.answers_by,
        candidates=rag.candidates,
        passages=rag.passages,
        prompt_tokens=rag.prompt_tokens,
        expand=rag.expand,
        dense_weight=rag.dense_weight,
        fusion=rag.fusion,
        exact=rag.exact,
        per_document=rag.per_document,
        mmr=rag.mmr,
        rerank_depth=rag.rerank_depth,
        sentence_weight=rag.sentence_weight,
        priors=Priors(half_life_days=rag.half_life_days, trust=rag.trust),
        helper_model=rag.helper_model or "",
        rewrite=rag.rewrite,
        subquestions=rag.subquestions,
        hops=rag.hops,
        judge=rag.judge,
        doubt_max=rag.doubt_max,
        repair=rag.repair,
        timeout_s=settings.gateway.timeout_s,
        prompt_key=read_secret(resources.data / "secrets", "prompt.key", open_seal(settings)),
    )

    adviser = Adviser(app.gateway, options) if rag.asks_helper else None
    if adviser is not None and rag.rerank_by_model:
        reranker = ModelReranker(adviser)

    def questions(options: RagOptions) -> Questions:
        return Questions(
            passages=app.catalogue,
            traces=app.catalogue,
            store=store,
            embedders=embedders,
            chat=app.gateway if rag.answers_by else None,
            options=options,
            adviser=adviser,
            reranker=reranker,
            judge=judge,
        )

    app.questions = questions(options)
    app.explanations = Explanations(app.catalogue, app.questions, questions(deeper(options)), options, system_principal)


def _kept(rag: RagSettings) -> dict[str, Keeping]:
    from bascule.rag.retention import Keeping

    return {
        name: Keeping(given.retention_days, given.max_deleted_share)
        for name, given in rag.collections.items()
        if given.retention_days is not None
    }


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


def _check_names(model: str, models: Path) -> None:
    """Raises ConfigError when it is not there, or one that Bascule built is not what it built."""
    from bascule.ops.model_recipes import BY_NAME
    from bascule.ops.models import check
    from bascule.rag.names import found_at

    if model in BY_NAME and (problem := check(models, BY_NAME[model]).problem):
        raise ConfigError(f"rag.names_model: {problem}")
    found_at(model, models)


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
        from bascule.core.recognise import KINDS
        from bascule.rag.confine import Limits as ProcessLimits
        from bascule.rag.confine import OcrLimits
        from bascule.rag.names import found_at
        from bascule.rag.prepare import PrepareOptions
        from bascule.rag.sandbox import SandboxOptions

        rag = self._rag
        tokenizer = self._models / BUILT_IN_MODEL / "tokenizer.json"
        return SandboxOptions(
            processes=rag.parser_processes,
            limits=ProcessLimits(
                memory_bytes=rag.parser_memory_bytes, cpu_s=rag.parser_cpu_s, wall_s=rag.parser_wall_s
            ),
            ocr=OcrLimits(
                memory_bytes=rag.ocr_memory_bytes, cpu_s=rag.ocr_cpu_s, wall_s=rag.ocr_wall_s, pages=rag.ocr_pages
            )
            if rag.ocr
            else None,
            prepare=PrepareOptions(
                chunk_tokens=rag.chunk_tokens,
                redact=rag.redact,
                kinds=(*KINDS, *rag.names) if rag.names_model else KINDS,
                names_model=found_at(rag.names_model, self._models) if rag.names_model else "",
                tokenizer=str(tokenizer) if tokenizer.is_file() else "",
            ),
        )
