"""An organisation in memory: passages with real rights, a store that can lie, an embedder of words, a model that recites.

`World` joins them. The rights rule is `core.rights.may_read` itself; nothing here shares code with the catalogue or a store.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from bascule.core.calls import Call, Usage
from bascule.core.chat import ChatChunk, ChatRequest, ChatResponse, ChatStream
from bascule.core.documents import Collection, VisibleChunk
from bascule.core.embedding import Embedder, Purpose
from bascule.core.errors import BasculeError, NotFound
from bascule.core.filters import EVERYTHING, Facts, Filter, matches
from bascule.core.ids import chunk_id, content_hash
from bascule.core.judging import Judge
from bascule.core.lexical import terms
from bascule.core.principals import Principal
from bascule.core.reads import Maker
from bascule.core.reranking import Reranker
from bascule.core.rights import Rights, may_read
from bascule.core.traces import Trace
from bascule.core.vectors import Candidate, Point, Scope
from bascule.rag.advice import Adviser
from bascule.rag.options import RagOptions
from bascule.rag.questions import Questions


class FakeDocument(msgspec.Struct):
    id: str
    tenant: str
    collection: str
    rights: Rights
    chunks: list[VisibleChunk]


class FakeCatalogue:
    """Passages and Traces over dictionaries."""

    def __init__(self) -> None:
        self.documents: dict[str, FakeDocument] = {}
        self.collections: dict[tuple[str, str], Collection] = {}
        self.saved: dict[str, Trace] = {}
        self.noted: list[tuple[str, str, tuple[str, ...]]] = []
        self._acls: dict[tuple[str, str], int] = {}

    def acl_id(self, tenant: str, rights: Rights) -> int:
        return self._acls.setdefault((tenant, rights.canonical()), len(self._acls) + 1)

    def delete(self, document_id: str) -> None:
        del self.documents[document_id]

    def _readable(self, principal: Principal) -> list[FakeDocument]:
        return [d for d in self.documents.values() if d.tenant == principal.tenant and may_read(d.rights, principal)]

    async def readable_collections(self, principal: Principal, names: Sequence[str] | None) -> list[Collection]:
        open_ = {d.collection for d in self._readable(principal)}
        if names is not None and not set(names) <= open_:
            raise NotFound("There is no such collection.", param="collections")
        wanted = open_ if names is None else set(names)
        return [c for (tenant, name), c in self.collections.items() if tenant == principal.tenant and name in wanted]

    async def readable_acl_ids(self, principal: Principal) -> frozenset[int]:
        return frozenset(self.acl_id(d.tenant, d.rights) for d in self._readable(principal))

    async def check(
        self,
        principal: Principal,
        chunk_ids: Sequence[str],
        collection_ids: frozenset[str],
        where: Filter = EVERYTHING,
    ) -> dict[str, VisibleChunk]:
        chunks = {c.id: c for d in self._readable(principal) for c in d.chunks}
        return {
            i: chunks[i]
            for i in chunk_ids
            if i in chunks and chunks[i].collection_id in collection_ids and matches(where, _facts(chunks[i]))
        }

    async def matching_documents(
        self, principal: Principal, collection_ids: frozenset[str], where: Filter, most: int
    ) -> frozenset[str] | None:
        chunks = [c for d in self._readable(principal) for c in d.chunks if c.collection_id in collection_ids]
        found = frozenset(c.document_id for c in chunks if matches(where, _facts(c)))
        return None if len(found) > most else found

    async def neighbours(self, principal: Principal, chunk_id: str, before: int, after: int) -> list[VisibleChunk]:
        here = await self.passage(principal, chunk_id)
        around = self.documents[here.document_id].chunks
        return around[max(0, here.ordinal - before) : here.ordinal + after + 1]

    async def passage(self, principal: Principal, chunk_id: str) -> VisibleChunk:
        for document in self._readable(principal):
            for chunk in document.chunks:
                if chunk.id == chunk_id:
                    return chunk
        raise NotFound("There is no such passage.")

    async def note_read(
        self,
        principal: Principal,
        act: str,
        target: str,
        *,
        document_ids: Iterable[str] = (),
        of: Iterable[Maker] = (),
    ) -> None:
        if principal.is_admin and not principal.system:
            self.noted.append((act, target, tuple(document_ids)))

    async def save_trace(self, trace: Trace) -> bool:
        if any(d not in self.documents for d in trace.document_ids):
            return False
        self.saved[trace.id] = trace
        return True

    async def trace(self, principal: Principal, trace_id: str) -> Trace:
        trace = self.saved.get(trace_id)
        own = trace is not None and (trace.subject, trace.key_id) == (principal.subject, principal.key_id)
        if trace is None or trace.tenant != principal.tenant or not (own or principal.is_admin):
            raise NotFound("There is no such answer.")
        return trace

    async def traces(self, principal: Principal, limit: int) -> list[Trace]:
        mine = [t for t in self.saved.values() if t.tenant == principal.tenant and t.subject == principal.subject]
        return mine[-limit:]


def _facts(chunk: VisibleChunk) -> Facts:
    return Facts(
        source=chunk.source,
        external_id=chunk.name,
        name=chunk.name,
        title=chunk.title,
        updated_at=chunk.updated_at,
        metadata=chunk.metadata,
    )


class FakeStore:
    """Brute force over points. `lies` are proposed first in every search, whatever the scope says; `searches` counts them."""

    def __init__(self) -> None:
        self.points: dict[str, Point] = {}
        self.lies: list[Candidate] = []
        self.searches = 0

    async def upsert(self, points: Sequence[Point]) -> None:
        self.points |= {p.chunk_id: p for p in points}

    async def move(self, document_id: str, acl_id: int) -> None:
        for key, point in self.points.items():
            if point.document_id == document_id:
                self.points[key] = msgspec.structs.replace(point, acl_id=acl_id)

    async def remove(self, chunk_ids: Sequence[str]) -> None:
        for key in chunk_ids:
            self.points.pop(key, None)

    async def remove_document(self, document_id: str, keep: frozenset[str] = frozenset()) -> None:
        self.points = {k: p for k, p in self.points.items() if p.document_id != document_id or k in keep}

    async def dense(self, vector: bytes, scope: Scope, limit: int) -> list[Candidate]:
        query = _floats(vector)
        scored = [
            Candidate(p.chunk_id, sum(a * b for a, b in zip(query, _floats(p.vector), strict=True)))
            for p in self._within(scope)
            if p.vector is not None
        ]
        return self._answer(scored, limit)

    async def lexical(self, terms: Sequence[str], scope: Scope, limit: int) -> list[Candidate]:
        everything = [p for p in self.points.values() if p.tenant == scope.tenant]
        average = sum(len(p.terms) for p in everything) / max(1, len(everything))
        scored = []
        for point in self._within(scope):
            counts = Counter(point.terms)
            score = 0.0
            for term in set(terms) & counts.keys():
                df = sum(term in p.terms for p in everything)
                idf = math.log1p((len(everything) - df + 0.5) / (df + 0.5))
                score += idf * counts[term] * 2.2 / (counts[term] + 1.2 * (0.25 + 0.75 * len(point.terms) / average))
            if score > 0:
                scored.append(Candidate(point.chunk_id, score))
        return self._answer(scored, limit)

    async def count(self, tenant: str) -> int:
        return len(await self.chunk_ids(tenant))

    async def chunk_ids(self, tenant: str) -> set[str]:
        return {p.chunk_id for p in self.points.values() if p.tenant == tenant}

    def _within(self, scope: Scope) -> Iterable[Point]:
        return [
            p
            for p in self.points.values()
            if p.tenant == scope.tenant and p.collection_id in scope.collection_ids and p.acl_id in scope.allowed
        ]

    def _answer(self, scored: Sequence[Candidate], limit: int) -> list[Candidate]:
        self.searches += 1
        return (self.lies + sorted(scored, key=lambda c: (-c.score, c.chunk_id)))[:limit]


class WordEmbedder:
    """Vectors of hashed words: texts that share words are near. `error` is raised when set."""

    fingerprint = "fake:words:1"
    dimension = 64

    def __init__(self) -> None:
        self.error: BasculeError | None = None
        self.calls: list[Call] = []

    async def embed(self, texts: Sequence[str], purpose: Purpose, call: Call) -> tuple[bytes, ...]:
        self.calls.append(call)
        if self.error is not None:
            raise self.error
        return tuple(self.vector(t) for t in texts)

    def vector(self, text: str) -> bytes:
        values = [0.0] * self.dimension
        for term in terms(text):
            values[hashlib.blake2b(term.encode()).digest()[0] % self.dimension] += 1.0
        length = math.sqrt(sum(v * v for v in values)) or 1.0
        return struct.pack(f"<{self.dimension}f", *(v / length for v in values))


class RecitingModel:
    """A ChatModel that says `text`, streamed in pieces of `piece` characters. `echo`: says the user's message instead.

    `error` is raised before the first piece, or after `fails_after` pieces of a stream.
    """

    def __init__(self, text: str = "", *, echo: bool = False, piece: int = 7) -> None:
        self.text = text
        self.echo = echo
        self.piece = piece
        self.complete = True
        self.error: BasculeError | None = None
        self.fails_after = 0
        self.advice: dict[str, str | BasculeError] = {}  # by a word of the instruction: what is said instead of `text`
        self.requests: list[ChatRequest] = []
        self.calls: list[Call] = []

    async def chat(self, request: ChatRequest, call: Call) -> ChatResponse:
        text = self._hear(request, call)
        if self.error is not None:
            raise self.error
        return ChatResponse(
            wire=request.wire,
            body=b"{}",
            model=request.model,
            provider="fake",
            usage=Usage(input_tokens=10, output_tokens=5),
            text=text,
            finish="stop" if self.complete else "length",
            complete=self.complete,
        )

    async def stream(self, request: ChatRequest, call: Call) -> ChatStream:
        text = self._hear(request, call)
        if self.error is not None and not self.fails_after:
            raise self.error
        return ChatStream(self._chunks(text), wire=request.wire, model=request.model, provider="fake")

    def _hear(self, request: ChatRequest, call: Call) -> str:
        self.requests.append(request)
        self.calls.append(call)
        call.cache = "MISS"
        for word, said in self.advice.items():
            if word in request.view["messages"][0]["content"]:
                if isinstance(said, BasculeError):
                    raise said
                return said
        return str(request.view["messages"][-1]["content"]) if self.echo else self.text

    async def _chunks(self, text: str) -> AsyncIterator[ChatChunk]:
        pieces = [text[i : i + self.piece] for i in range(0, len(text), self.piece)]
        for number, piece in enumerate(pieces):
            if self.error is not None and number == self.fails_after:
                raise self.error
            yield ChatChunk(b"{}", text=piece)
        usage = Usage(input_tokens=10, output_tokens=5)
        yield ChatChunk(b"{}", finish="stop" if self.complete else "length", usage=usage)
        yield ChatChunk(b"[DONE]", last=True)


class World:
    """A catalogue, a store and the questions over them. `add` makes a document findable at once."""

    def __init__(
        self,
        *,
        embedder: Embedder | None = None,
        chat: RecitingModel | None = None,
        options: RagOptions | None = None,
        reranker: Reranker | None = None,
        judge: Judge | None = None,
    ) -> None:
        self.reranker = reranker
        self.judge = judge
        self.catalogue = FakeCatalogue()
        self.store = FakeStore()
        self.embedder = embedder
        self.chat = chat
        self.options = options or RagOptions(chat_model="fast" if chat else "", prompt_key=b"k" * 32)

    @property
    def questions(self) -> Questions:
        return Questions(
            passages=self.catalogue,
            traces=self.catalogue,
            store=self.store,
            embedder=self.embedder,
            chat=self.chat,
            options=self.options,
            adviser=Adviser(self.chat, self.options) if self.chat is not None else None,
            reranker=self.reranker,
            judge=self.judge,
        )

    def collection(self, tenant: str, name: str, fingerprint: str) -> Collection:
        made = Collection(id=f"{tenant}/{name}", tenant=tenant, name=name, fingerprint=fingerprint)
        return self.catalogue.collections.setdefault((tenant, name), made)

    async def add(
        self,
        document_id: str,
        texts: str | Sequence[str],
        *,
        title: str = "",
        allow: Iterable[str] = ("public",),
        deny: Iterable[str] = (),
        tenant: str = "t",
        collection: str = "docs",
        metadata: Mapping[str, Any] | None = None,
        heading_path: tuple[str, ...] = (),
        kind: str = "text",
        lexical_only: bool = False,
    ) -> list[str]:
        """The ids of its chunks, one a text."""
        embedder = None if lexical_only else self.embedder
        home = self.collection(tenant, collection, embedder.fingerprint if embedder else "")
        rights = Rights.of(allow, deny)
        chunks = []
        for ordinal, text in enumerate([texts] if isinstance(texts, str) else texts):
            chunks.append(
                VisibleChunk(
                    id=chunk_id(tenant, document_id, content_hash(text.encode()), 0),
                    document_id=document_id,
                    collection_id=home.id,
                    collection=collection,
                    title=title or document_id,
                    name=document_id,
                    source="upload",
                    text=text,
                    heading_path=heading_path,
                    start=0,
                    end=len(text),
                    page=None,
                    ordinal=ordinal,
                    tokens=len(text.split()),
                    version=1,
                    metadata=metadata or {},
                    updated_at="2026-01-01T00:00:00.000Z",
                    kind=kind,
                )
            )
        self.catalogue.documents[document_id] = FakeDocument(document_id, tenant, collection, rights, chunks)
        acl_id = self.catalogue.acl_id(tenant, rights)
        for chunk in chunks:
            text = (chunk.title + "\n" if title else "") + chunk.indexed_text
            call_vector = None
            if embedder is not None:
                assert isinstance(embedder, WordEmbedder)
                call_vector = embedder.vector(text)
            point = Point(
                chunk_id=chunk.id,
                document_id=document_id,
                tenant=tenant,
                collection_id=home.id,
                acl_id=acl_id,
                vector=call_vector,
                terms=terms(text),
            )
            await self.store.upsert([point])
        return [c.id for c in chunks]


def _floats(vector: bytes | None) -> tuple[float, ...]:
    return struct.unpack(f"<{len(vector) // 4}f", vector) if vector is not None else ()
