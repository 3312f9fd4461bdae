"""What happens to a document: accept, then in the background prepare, embed, commit and index.

Acceptance is one transaction and is durable. Everything after it may be interrupted at any instant and run again: chunk ids are
derived, commits are whole, and the index follows the catalogue through its outbox.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from bascule.core.blobs import UNREADABLE, Blobs
from bascule.core.calls import Call
from bascule.core.catalogue import AuditLog, DocumentCommit, Documents, Jobs, Work, WorkItem
from bascule.core.connectors import SkippedItem, SourceItem
from bascule.core.documents import IndexedChunk, Job, NewDocument, PreparedDocument, RawDocument, preparation
from bascule.core.embedding import Embedder
from bascule.core.errors import (
    BasculeError,
    IngestError,
    InvalidRequest,
    NotFound,
    RequestError,
    ScopeMissing,
    StorageError,
    UpstreamError,
)
from bascule.core.generations import REPROCESS, Generations
from bascule.core.ids import chunk_id, content_hash
from bascule.core.principals import SCOPE_AUDIT, Principal, system_principal
from bascule.core.pseudonyms import PSEUDONYM, tenant_key
from bascule.core.rights import Rights
from bascule.rag.embedders import Embedders
from bascule.rag.index import Indexer
from bascule.rag.preparer import Preparer

if TYPE_CHECKING:
    from bascule.rag.prepare import RedactMode

log = logging.getLogger(__name__)

KIND = "ingest"
CLAIM = 64  # documents prepared together, while the batch before is being embedded,
CLAIM_UNEMBEDDED = 256  # where nothing is embedded: what a transaction and a write to the index cost is shared by more
CLAIM_BYTES = 1_000_000  # or fewer, when they are larger: two batches are held in memory
STORED_TOGETHER = 64
STORED_BYTES = 4_000_000
EMBED_TEXTS = 64  # texts in one embedding call


class Catalogue(Documents, Work, Generations, AuditLog, Protocol):
    """The parts of the catalogue that ingestion needs."""


class Ingest:
    """Takes documents in and deletes them. `run` is the handler of the jobs it submits."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        blobs: Blobs,
        jobs: Jobs,
        preparer: Callable[[], Preparer],
        indexer: Indexer,
        embedders: Embedders,
        call_for: Callable[[Principal], Call],
        max_document_bytes: int,
        modes: Mapping[str, RedactMode] | None = None,
        mode: RedactMode = "mask",
        pseudonym_key: bytes = b"",
        least_quality: Mapping[str, float] | None = None,
        chunk_tokens: int = 200,
        names: str = "",
    ) -> None:
        """`call_for` makes the Call of a background embedding; `preparer` is asked for only when work begins. `modes`: what happens
        to personal data in collections, by name; elsewhere `mode`. `least_quality`: below it a document of
        the collection is given up (see `rag.quality`)."""
        self._catalogue = catalogue
        self._blobs = blobs
        self._jobs = jobs
        self._preparer = preparer
        self._modes = modes or {}
        self._mode: RedactMode = mode
        self._pseudonym_key = pseudonym_key
        self._least_quality = least_quality or {}
        self._chunk_tokens = chunk_tokens
        self._names = names
        self._indexer = indexer
        self._embedders = embedders
        self._call_for = call_for
        self._max_bytes = max_document_bytes

    async def take(
        self,
        principal: Principal,
        collection: str,
        items: AsyncIterable[SourceItem | SkippedItem] | Iterable[SourceItem | SkippedItem],
        rights: Rights | None,
        source: str = "upload",
    ) -> tuple[Job, list[SkippedItem]]:
        """Make every item durable and acknowledge them as one job. `rights` are for items that bring none of their own.

        Raises ScopeMissing, InvalidRequest (a bad collection name) and StorageError; nothing is acknowledged then.
        """
        embedder = self._embedders.default
        target = await self._catalogue.ensure_collection(
            principal,
            collection,
            fingerprint=embedder.fingerprint if embedder else "",
            dimension=embedder.dimension if embedder else 0,
            model=self._embedders.name if embedder else "",
            rights=Rights(),
        )
        accepted: list[NewDocument] = []
        skipped: list[SkippedItem] = []
        waiting: list[SourceItem] = []
        waiting_bytes = 0
        handed_over = False
        try:
            async for item in _each(items):
                refused = self._refusal(item)
                if refused is not None:
                    skipped.append(refused)
                elif isinstance(item, SourceItem):
                    waiting.append(item)
                    waiting_bytes += len(item.data)
                    if len(waiting) == STORED_TOGETHER or waiting_bytes > STORED_BYTES:
                        accepted += await self._store(waiting, rights, source)
                        waiting, waiting_bytes = [], 0
            accepted += await self._store(waiting, rights, source)
            handed_over = True
            job = await self._catalogue.accept(principal, target, accepted)
        except BaseException as error:
            # A store that did not answer, or a caller who left, says nothing of whether it was committed: bytes that nobody needs
            # are then found as orphans.
            if not handed_over or isinstance(error, RequestError):
                for document in accepted:
                    await self._blobs.delete(document.blob)
            raise
        await self._jobs.submit(KIND, principal.tenant, job.id)
        return job, skipped

    def _refusal(self, item: SourceItem | SkippedItem) -> SkippedItem | None:
        if isinstance(item, SkippedItem):
            return item
        if len(item.data) > self._max_bytes:
            return SkippedItem(
                external_id=item.external_id,
                reason=f"larger than {self._max_bytes:,} bytes: split it, or raise server.max_upload_bytes",
            )
        return None

    async def _store(self, items: Sequence[SourceItem], rights: Rights | None, source: str) -> list[NewDocument]:
        if not items:
            return []
        blobs = await self._blobs.put_all([item.data for item in items])
        return [
            NewDocument(
                external_id=item.external_id,
                name=item.name,
                content_hash=content_hash(item.data),
                size_bytes=len(item.data),
                blob=blob,
                title=item.title,
                source=source,
                media_type=item.media_type,
                metadata=item.metadata,
                rights=item.rights if item.rights is not None else rights,
            )
            for item, blob in zip(items, blobs, strict=True)
        ]

    async def delete(self, principal: Principal, document_id: str) -> None:
        """Gone at commit; the index, cached calls and stored bytes follow at once. Raises NotFound."""
        await self._catalogue.audit(principal, "document.delete", document_id, {})
        await self._catalogue.delete_document(principal, document_id)
        await self.settle()

    async def reveal(self, principal: Principal, document_id: str, wanted: str) -> str:
        """The value behind a pseudonym of a document that the principal may read. Audited before it is told.

        Raises ScopeMissing without `audit`, InvalidRequest for what is no pseudonym, NotFound, IngestError.
        """
        if not principal.can(SCOPE_AUDIT):
            raise ScopeMissing(f"This key does not have the scope {SCOPE_AUDIT!r}.")
        if not PSEUDONYM.fullmatch(wanted):
            raise InvalidRequest("A pseudonym looks like [email:abcdefghij].", param="pseudonym")
        document = await self._catalogue.document(principal, document_id)
        await self._catalogue.audit(principal, "pseudonym.reveal", document_id, {"pseudonym": wanted})
        key = tenant_key(self._pseudonym_key, document.tenant)
        for blob in await self._catalogue.blobs_of(document.tenant, document_id):
            try:
                data = await self._blobs.get(blob)
            except StorageError:
                continue  # of a version that was replaced
            found = await self._preparer().prepare(data, document.name, document.media_type, None, key, wanted)
            if found.report["value"]:
                return str(found.report["value"])
        raise NotFound("The document holds nothing of this pseudonym.")

    def preparation(self, collection: str) -> str:
        """By which rules documents of this collection are prepared now."""
        return preparation(self._modes.get(collection, self._mode), self._chunk_tokens, self._names)

    async def reprocess(self, principal: Principal, collection: str, *, only_stale: bool = False) -> Job:
        """Prepare all documents of a collection again from their stored bytes, or those alone that other rules prepared.

        Chunks that stay as they are keep their ids and vectors. Raises ScopeMissing, NotFound, Conflict.
        """
        (facts,) = await self._catalogue.collection_facts(principal, collection)
        now = self.preparation(facts.collection.name)
        job = await self._catalogue.reprocess(principal, collection, unless=now if only_stale else None)
        await self._jobs.submit(REPROCESS, principal.tenant, job.id)
        return job

    async def settle(self) -> None:
        """Let the index follow now. When it cannot, the outbox keeps the change and the next drain repeats it."""
        try:
            await self._indexer.drain()
        except StorageError as error:
            log.warning("the index did not follow yet: %s", error.message)

    async def run(self, tenant: str, job_id: str) -> None:
        """Work one job to its end. Safe to run again at any point, and beside itself."""
        principal = system_principal(tenant)
        batch = await self._prepare_batch(principal, job_id)
        while batch:
            if self._jobs.gives_way(job_id):
                await self._finish_batch(principal, batch)
                break
            ahead = asyncio.create_task(self._prepare_batch(principal, job_id))
            try:
                await self._finish_batch(principal, batch)
            except BaseException:
                ahead.cancel()
                await asyncio.wait([ahead])
                raise
            batch = await ahead
        await self._catalogue.finish_job(principal, job_id)

    async def _prepare_batch(self, principal: Principal, job_id: str) -> list[tuple[WorkItem, PreparedDocument | None]]:
        together = CLAIM if self._embedders.default is not None else CLAIM_UNEMBEDDED
        items = await self._catalogue.claim(principal, job_id, together, CLAIM_BYTES)
        found = await self._blobs.get_all([item.blob for item in items])
        there = [item for item in items if item.blob in found]
        outcomes: dict[str, PreparedDocument | BasculeError] = {
            item.id: StorageError(UNREADABLE) for item in items if item.blob not in found
        }
        if there:
            raw = [RawDocument(found[item.blob], item.name, item.media_type) for item in there]
            collection = there[0].collection.name  # a job has one
            mode = self._modes.get(collection, self._mode)
            key = tenant_key(self._pseudonym_key, principal.tenant) if mode == "pseudonymise" else b""
            made = await self._preparer().prepare_all(raw, mode, key)
            outcomes |= {item.id: one for item, one in zip(there, made, strict=True)}
        return [(item, await self._taken(principal, item, outcomes[item.id])) for item in items]

    async def _taken(
        self, principal: Principal, item: WorkItem, outcome: PreparedDocument | BasculeError
    ) -> PreparedDocument | None:
        """None when the item's turn ends here."""
        try:
            if isinstance(outcome, BasculeError):
                raise outcome
            self._check_quality(outcome, self._least_quality.get(item.collection.name, 0.0))
            return outcome
        except IngestError as error:
            await self._fail(principal, item, error.message, error.reason, retry=error.transient)
        except StorageError as error:
            await self._fail(principal, item, error.message, error.code, retry=True)
        return None

    def _check_quality(self, prepared: PreparedDocument, least: float) -> None:
        found = prepared.report.get("quality", 1.0)
        if found < least:
            raise IngestError(
                f"It reads like noise: its quality is {found:.2f}, and its collection asks for {least:.2f} (min_quality). Look at"
                " its text, e.g. whether a scan was recognised well.",
                reason="low_quality",
            )

    async def _fail(self, principal: Principal, item: WorkItem, message: str, code: str, *, retry: bool) -> None:
        await self._catalogue.fail_item(principal, item, message, code, retry=retry, report={})

    async def _finish_batch(
        self, principal: Principal, batch: Sequence[tuple[WorkItem, PreparedDocument | None]]
    ) -> None:
        ready = [(item, prepared) for item, prepared in batch if prepared is not None]
        try:
            embedder = await self._embedders.needed(ready[0][0].collection) if ready else None
            vectors = await self._vectors(principal, embedder, ready)
        except UpstreamError as error:
            for item, _ in ready:
                await self._fail(principal, item, f"Embedding failed: {error.message}", error.code, retry=True)
            return
        mark = embedder.fingerprint if embedder is not None else ""
        await self._commit_all(principal, [self._as_commit(item, prepared, vectors, mark) for item, prepared in ready])
        await self.settle()

    def _as_commit(
        self, item: WorkItem, prepared: PreparedDocument, vectors: Mapping[str, bytes], mark: str
    ) -> DocumentCommit:
        """`mark`: the fingerprint of the vectors, "" when the document stays lexical."""
        chunks = [
            IndexedChunk(id=key, draft=draft, vector=vectors.get(key))
            for key, draft in zip(_chunk_ids(item, prepared), prepared.chunks, strict=True)
        ]
        return DocumentCommit(
            item=item,
            title=item.title or prepared.title or item.name,
            media_type=prepared.media_type,
            chunks=chunks,
            fingerprint=mark,
            report=prepared.report,
            prepared=self.preparation(item.collection.name),
            signature=prepared.signature,
        )

    async def _commit_all(self, principal: Principal, commits: Sequence[DocumentCommit]) -> None:
        """Together where that goes well: a transaction costs as much as a small document. Else one by one, so that one
        document's trouble is its own."""
        try:
            if len(commits) > 1:
                return await self._catalogue.commit_documents(principal, commits)
        except BasculeError as error:
            log.info("documents are committed one by one: %s", error.message)
        for commit in commits:
            await self._commit(principal, commit)

    async def _commit(self, principal: Principal, one: DocumentCommit) -> None:
        try:
            await self._catalogue.commit_document(
                principal,
                one.item,
                one.title,
                one.media_type,
                one.chunks,
                one.fingerprint,
                one.report,
                one.prepared,
                one.signature,
            )
        except BasculeError as error:
            await self._fail(principal, one.item, error.message, error.code, retry=error.retryable)

    async def _vectors(
        self, principal: Principal, embedder: Embedder | None, ready: Sequence[tuple[WorkItem, PreparedDocument]]
    ) -> dict[str, bytes]:
        """Chunk id -> vector for the whole batch, which is of one collection; chunks that a document already had are not
        embedded again. None at all without an embedder: no model, or not the one that the collection was embedded with."""
        vectors: dict[str, bytes] = {}
        fresh: dict[str, str] = {}
        if embedder is None:
            return {}
        for item, prepared in ready:
            known = await self._catalogue.known_vectors(principal, item.document_id, embedder.fingerprint)
            vectors.update(known)
            for key, draft in zip(_chunk_ids(item, prepared), prepared.chunks, strict=True):
                if key not in vectors:
                    fresh[key] = draft.indexed_text
        keys = sorted(fresh, key=lambda key: len(fresh[key]))
        for at in range(0, len(keys), EMBED_TEXTS):
            part = keys[at : at + EMBED_TEXTS]
            made = await embedder.embed([fresh[key] for key in part], "document", self._call_for(principal))
            vectors.update(zip(part, made, strict=True))
        return vectors


def _chunk_ids(item: WorkItem, prepared: PreparedDocument) -> list[str]:
    return [chunk_id(item.tenant, item.document_id, draft.content_hash, draft.occurrence) for draft in prepared.chunks]


async def _each(
    items: AsyncIterable[SourceItem | SkippedItem] | Iterable[SourceItem | SkippedItem],
) -> AsyncIterable[SourceItem | SkippedItem]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item


__all__ = ["KIND", "Ingest"]
