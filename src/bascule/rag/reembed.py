"""Embedding a collection anew beside the vectors it has, and switching to the new ones in one transaction.

Nothing is remembered between two steps but rows of the catalogue: what lacks a vector is asked for again, so a run may be
interrupted anywhere, and documents that come, change or go meanwhile are simply what is there, or not, at the next look.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from bascule.core.calls import Call
from bascule.core.catalogue import Jobs
from bascule.core.documents import Job
from bascule.core.embedding import Embedder
from bascule.core.errors import BasculeError, ConfigError, Conflict, InvalidRequest, UpstreamError
from bascule.core.generations import REEMBED, EmbeddedBy, Generations, Unembedded
from bascule.core.principals import Principal, system_principal
from bascule.rag.embedders import Embedders, by

log = logging.getLogger(__name__)

STEP_CHUNKS: Final = 256  # read, embedded and kept together
EMBED_TEXTS: Final = 64  # texts in one embedding call
WAIT_S: Final = 0.2  # for documents that are being committed just now
PROBE: Final = "bridge"


class Drains(Protocol):
    async def drain(self) -> int: ...


class Reembed:
    """`run` is the handler of the jobs that `start` and `follow_settings` submit."""

    def __init__(
        self,
        *,
        catalogue: Generations,
        jobs: Jobs,
        indexer: Drains,
        embedders: Embedders,
        call_for: Callable[[Principal], Call],
    ) -> None:
        self._catalogue = catalogue
        self._jobs = jobs
        self._indexer = indexer
        self._embedders = embedders
        self._call_for = call_for

    async def start(self, principal: Principal, collection: str, model: str | None = None) -> Job:
        """With the configured model, or with `model` from now on. Search goes on with the old vectors until all is done.

        Raises ScopeMissing, NotFound, Conflict, InvalidRequest without a model, UpstreamError when it is not in reach.
        """
        name = model or self._embedders.name
        if not name:
            raise InvalidRequest(
                "No embedding model is configured: name one, or set rag.embedding_model.", param="model"
            )
        try:
            embedder = await self._embedders.named(name)
        except ConfigError as error:
            raise InvalidRequest(error.message, param="model") from None
        return await self._submit(principal, collection, by(name, embedder, pinned=bool(model)))

    async def follow_settings(self) -> list[str]:
        """Begin what the configuration asks for: collections embedded with another model than it names. Their names."""
        embedder, begun = self._embedders.default, []
        if embedder is None:
            return []
        for collection in await self._catalogue.misfits(embedder.fingerprint):
            wanted = by(self._embedders.name, embedder, pinned=False)
            try:
                await self._submit(system_principal(collection.tenant), collection.name, wanted)
            except Conflict:  # another process was first
                continue
            begun.append(collection.name)
            log.info("the collection %s is being embedded anew with %s", collection.name, wanted.model)
        return begun

    async def _submit(self, principal: Principal, collection: str, wanted: EmbeddedBy) -> Job:
        job = await self._catalogue.start_reembed(principal, collection, wanted)
        if job.finished_at is None:
            await self._jobs.submit(REEMBED, principal.tenant, job.id)
        return job

    async def run(self, tenant: str, job_id: str) -> None:
        """Work one job to its end. Safe to run again at any point."""
        principal, after = system_principal(tenant), ""
        while (step := await self._catalogue.reembed_step(principal, job_id, after, STEP_CHUNKS)) is not None:
            if step.chunks:
                await self._embed(principal, job_id, step.wanted, step.chunks)
                after = step.chunks[-1].document_id
            elif after:
                after = ""  # what came behind us
            else:
                await self._indexer.drain()
                if await self._catalogue.switch(principal, job_id):
                    return
                await asyncio.sleep(WAIT_S)
            if self._jobs.gives_way(job_id):
                return

    async def _embed(self, principal: Principal, job_id: str, wanted: EmbeddedBy, chunks: Sequence[Unembedded]) -> None:
        try:
            embedder = await self._embedders.named(wanted.model)
            if embedder.fingerprint != wanted.fingerprint:
                raise ConfigError(f"The model {wanted.model!r} has become another. Begin again.")
            made = await _vectors(embedder, [*chunks], lambda: self._call_for(principal))
        except BasculeError as error:
            gone = isinstance(error, ConfigError)
            await self._catalogue.reembed_failed(principal, job_id, error.message, give_up=gone)
            if gone:
                return
            raise
        await self._catalogue.put_vectors(principal, job_id, chunks, made)


async def _vectors(embedder: Embedder, chunks: list[Unembedded], call: Callable[[], Call]) -> dict[str, bytes]:
    """Chunk id -> vector. A chunk whose text the model refuses, though it works, is left out."""
    made: dict[str, bytes] = {}
    chunks.sort(key=lambda chunk: len(chunk.indexed_text))
    for at in range(0, len(chunks), EMBED_TEXTS):
        part = chunks[at : at + EMBED_TEXTS]
        try:
            vectors = await embedder.embed([chunk.indexed_text for chunk in part], "document", call())
        except UpstreamError as error:
            if error.retryable:
                raise
            made |= await _one_by_one(embedder, part, call)
        else:
            made |= {chunk.chunk_id: vector for chunk, vector in zip(part, vectors, strict=True)}
    return made


async def _one_by_one(
    embedder: Embedder, chunks: Sequence[Unembedded], call: Callable[[], Call]
) -> Mapping[str, bytes]:
    """Raises the model's error when it embeds nothing at all: then it is not the text."""
    made: dict[str, bytes] = {}
    for chunk in chunks:
        try:
            (made[chunk.chunk_id],) = await embedder.embed([chunk.indexed_text], "document", call())
        except UpstreamError as error:
            if error.retryable:
                raise
    if not made:
        await embedder.embed([PROBE], "document", call())
    return made
