"""From a principal and a question to passages: propose, check, fuse, refill.

The store proposes chunk ids within what this principal may see; the catalogue, asked again at this moment, disposes and alone
supplies the text (law 1). What it refuses leaves no mark: no count, no score, no gap.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

import msgspec

from bascule.core.calls import Call
from bascule.core.catalogue import Passages
from bascule.core.deadlines import Deadline
from bascule.core.documents import Collection, Hit, VisibleChunk
from bascule.core.embedding import Embedder
from bascule.core.errors import StorageError, UpstreamError
from bascule.core.filters import EVERYTHING, Filter
from bascule.core.ids import chunk_of
from bascule.core.lexical import terms
from bascule.core.principals import Principal
from bascule.core.vectors import Candidate, Scope, VectorStore
from bascule.rag import fuse
from bascule.rag.embedders import Embedders
from bascule.rag.options import RagOptions

logger = logging.getLogger(__name__)
T = TypeVar("T")
FILTERED_DOCUMENTS = 20_000  # that a filter names to the store; each is looked up in its index
MAX_TERMS = 128  # each is a posting to read
LEXICAL_ONLY = "lexical_only"  # no collection asked could be searched by meaning
PARTLY_LEXICAL = "partly_lexical"  # some could
EMBEDDING_FAILED = "embedding_failed"


class Proposals(msgspec.Struct, frozen=True):
    dense: Sequence[Candidate]
    lexical: Sequence[Candidate]

    def ids(self) -> list[str]:
        return list(dict.fromkeys(c.chunk_id for c in (*self.dense, *self.lexical)))

    def full(self, limit: int) -> bool:
        """Could another round find more?"""
        return len(self.dense) >= limit or len(self.lexical) >= limit


class Retrieved(msgspec.Struct, frozen=True, kw_only=True):
    """`hits`: every visible one, fused, best first. `took_s`: seconds by step (retrieve, check, fuse)."""

    hits: tuple[Hit, ...]
    collections: tuple[Collection, ...]
    terms: tuple[str, ...] = ()
    vector: bytes | None = None
    embedder: Embedder | None = None  # whose vectors were searched
    degraded: tuple[str, ...] = ()
    took_s: Mapping[str, float] = {}

    @property
    def nothing_to_read(self) -> bool:
        """The principal may read nothing here: the same whether it is empty or all of it is forbidden."""
        return not self.collections


class Retriever:
    def __init__(self, passages: Passages, store: VectorStore, embedders: Embedders, options: RagOptions) -> None:
        self._passages = passages
        self._store = store
        self._embedders = embedders
        self._options = options

    async def retrieve(
        self,
        principal: Principal,
        query: str,
        *,
        collections: Sequence[str] | None,
        where: Filter,
        wanted: int,
        keep: Callable[[VisibleChunk], bool] = lambda chunk: True,
        deadline: Deadline,
        call_for: Callable[[float], Call],
    ) -> Retrieved:
        """At least `wanted` hits where there are so many. `keep`: what the question does not leave out. `call_for(timeout_s)`
        makes the embedding's own call.

        Raises NotFound for a collection that is missing or closed to this principal, StorageError, also for a store that does not
        answer by the deadline.
        """
        readable = await self._passages.readable_collections(principal, collections)
        allowed = await self._passages.readable_acl_ids(principal) if readable else frozenset()
        if not readable or not allowed:
            return Retrieved(hits=(), collections=())
        clock = _Clock()
        embedder = await self._space(readable)
        vector, degraded = await clock.time("embed", self._vector(embedder, query, readable, call_for))
        mark = embedder.fingerprint if embedder is not None else ""
        documents = await clock.time("filter", self._documents(principal, readable, where))
        search = _Search(
            principal, _telling(query), vector, mark, tuple(readable), allowed, where, documents, keep, deadline
        )
        hits = await self._rounds(search, wanted, clock)
        return Retrieved(
            hits=hits,
            collections=tuple(readable),
            terms=search.terms,
            vector=vector,
            embedder=embedder,
            degraded=degraded,
            took_s=clock.took_s,
        )

    async def _documents(
        self, principal: Principal, collections: Sequence[Collection], where: Filter
    ) -> frozenset[str] | None:
        """What the store may look at; of a filter that hardly filters, all: then the check alone applies it."""
        if where == EVERYTHING:
            return None
        within = frozenset(c.id for c in collections)
        return await self._passages.matching_documents(principal, within, where, FILTERED_DOCUMENTS)

    async def _rounds(self, search: _Search, wanted: int, clock: _Clock) -> tuple[Hit, ...]:
        limit = max(self._options.candidates, wanted)
        for round_ in range(1 + self._options.refills):
            proposals = await clock.time("retrieve", self._propose(search, limit))
            visible = await clock.time("check", self._check(search, proposals))
            if len(visible) >= wanted or not proposals.full(limit) or round_ == self._options.refills:
                break
            limit *= 2
        return clock.count("fuse", lambda: self._fused(proposals, visible))

    async def _check(self, search: _Search, proposals: Proposals) -> dict[str, VisibleChunk]:
        ids = proposals.ids()
        if not ids:
            return {}
        visible = await self._passages.check(
            search.principal, ids, frozenset(c.id for c in search.collections), search.where
        )
        return {chunk_id: chunk for chunk_id, chunk in visible.items() if search.keep(chunk)}

    async def _propose(self, search: _Search, limit: int) -> Proposals:
        left_s = search.deadline.check()
        found = asyncio.gather(self._dense(search, limit), self._lexical(search, limit))
        try:
            dense, lexical = await _in_time(found, left_s)
        except TimeoutError:
            raise StorageError("The index did not answer in time.") from None
        return Proposals(dense, lexical)

    async def _dense(self, search: _Search, limit: int) -> list[Candidate]:
        within = frozenset(c.index_id for c in search.collections if _fits(c, search.mark))
        if search.vector is None or not within:
            return []
        return _chunks(await self._store.dense(search.vector, search.scope(within), limit))

    async def _lexical(self, search: _Search, limit: int) -> list[Candidate]:
        if not search.terms:
            return []
        everywhere = search.scope(frozenset(c.index_id for c in search.collections))
        return _chunks(await self._store.lexical(search.terms, everywhere, limit))

    def _fused(self, proposals: Proposals, visible: Mapping[str, VisibleChunk]) -> tuple[Hit, ...]:
        fused = fuse.fuse(
            fuse.clean(proposals.dense, visible),
            fuse.clean(proposals.lexical, visible),
            dense_weight=self._options.dense_weight,
            method=self._options.fusion,
        )
        return tuple(Hit(chunk=visible[f.chunk_id], score=f.score, parts=f.parts) for f in fused)

    async def _space(self, collections: Sequence[Collection]) -> Embedder | None:
        """Scores of two models do not compare, so one question is asked in one: that of most of its collections, and of
        two that have as many in that of the first."""
        found: dict[str, Embedder] = {}
        votes: Counter[str] = Counter()
        for collection in collections:
            embedder = await self._embedders.of(collection)
            if embedder is not None:
                found.setdefault(embedder.fingerprint, embedder)
                votes[embedder.fingerprint] += 1
        return found[votes.most_common(1)[0][0]] if votes else None

    async def _vector(
        self,
        embedder: Embedder | None,
        query: str,
        collections: Sequence[Collection],
        call_for: Callable[[float], Call],
    ) -> tuple[bytes | None, tuple[str, ...]]:
        if embedder is None:
            return None, (LEXICAL_ONLY,)
        fitting = sum(_fits(c, embedder.fingerprint) for c in collections)
        partly = () if fitting == len(collections) else (PARTLY_LEXICAL,)
        try:
            vectors = await embedder.embed((query,), "query", call_for(self._options.embed_timeout_s))
        except UpstreamError as error:
            logger.warning("the question was searched by words alone: embedding failed (%s)", error.code)
            return None, (LEXICAL_ONLY, EMBEDDING_FAILED)
        return vectors[0], partly


def _fits(collection: Collection, mark: str) -> bool:
    """Only vectors of the same fingerprint may be compared."""
    return collection.fingerprint == mark != ""


def _chunks(found: Sequence[Candidate]) -> list[Candidate]:
    """The index names points of a generation; everything else knows chunks."""
    return [Candidate(chunk_of(c.chunk_id), c.score) if "." in c.chunk_id else c for c in found]


def _telling(query: str) -> tuple[str, ...]:
    """The terms that are searched for: of a query as long as a letter the longest, in their order, as they tell most."""
    found = terms(query)
    if len(found) <= MAX_TERMS:
        return found
    kept = frozenset(sorted(range(len(found)), key=lambda at: (-len(found[at]), at))[:MAX_TERMS])
    return tuple(term for at, term in enumerate(found) if at in kept)


class _Search(msgspec.Struct, frozen=True):
    principal: Principal
    terms: tuple[str, ...]
    vector: bytes | None
    mark: str
    collections: tuple[Collection, ...]
    allowed: frozenset[int]
    where: Filter
    documents: frozenset[str] | None
    keep: Callable[[VisibleChunk], bool]
    deadline: Deadline

    def scope(self, collection_ids: frozenset[str]) -> Scope:
        return Scope(
            tenant=self.principal.tenant,
            collection_ids=collection_ids,
            allowed=self.allowed,
            documents=self.documents,
        )


class _Clock:
    """Seconds by step, summed over rounds: how many rounds there were is nobody's business, since it tells of hidden proposals."""

    def __init__(self) -> None:
        self.took_s: dict[str, float] = {}

    async def time(self, step: str, work: Awaitable[T]) -> T:
        started_s = time.monotonic()
        try:
            return await work
        finally:
            self._add(step, started_s)

    def count(self, step: str, work: Callable[[], T]) -> T:
        started_s = time.monotonic()
        try:
            return work()
        finally:
            self._add(step, started_s)

    def _add(self, step: str, started_s: float) -> None:
        self.took_s[step] = self.took_s.get(step, 0.0) + time.monotonic() - started_s


async def _in_time(work: Awaitable[T], left_s: float) -> T:
    """What `work` brings, if it does so in time. One that does not is cancelled and left to itself, even if it does not heed that.

    Raises TimeoutError.
    """
    task = asyncio.ensure_future(work)
    try:
        done, _ = await asyncio.wait({task}, timeout=left_s)
        if not done:
            raise TimeoutError
        return task.result()
    finally:
        if not task.done():
            task.add_done_callback(_read)
            task.cancel()


def _read(task: asyncio.Future[T]) -> None:
    """Nobody waits for it any more: how it ended is not told."""
    if not task.cancelled():
        task.exception()
