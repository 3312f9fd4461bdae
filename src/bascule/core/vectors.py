"""The vector store's port. It proposes candidate chunk ids; the catalogue disposes (law 1). It never holds text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import msgspec


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One chunk as a store knows it.

    vector  float32 little-endian bytes of `dimension` values, unit length; None when lexical-only
    terms   BM25 terms of the heading path and text, in order, repeats kept: made once by `core.lexical.terms`
    """

    chunk_id: str
    document_id: str
    tenant: str
    collection_id: str
    acl_id: int
    vector: bytes | None
    terms: tuple[str, ...]


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """What a search may look at. `allowed` has no default: code that forgets whose question it is does not type-check.

    allowed    acl_ids this principal may read (interned per tenant); empty means nothing may be seen
    documents  only chunks of these, which a filter has chosen; None for all
    """

    tenant: str
    collection_ids: frozenset[str]
    allowed: frozenset[int]
    documents: frozenset[str] | None = None


class Candidate(msgspec.Struct, frozen=True):
    """`score`: cosine similarity in [-1, 1] for dense, BM25 (k1 1.2, b 0.75, higher is better) for lexical."""

    chunk_id: str
    score: float


@runtime_checkable
class RemovesTogether(Protocol):
    """What a store may do as well, where many small writes cost more than one."""

    async def remove_documents(self, keep: Mapping[str, frozenset[str]]) -> None:
        """`remove_document` for each document and what to keep of it."""
        ...


class VectorStore(Protocol):
    """Every method may be called from any task; writes are idempotent, so that an outbox can be replayed."""

    async def upsert(self, points: Sequence[Point]) -> None:
        """Insert or replace by chunk_id; durable when it returns. Raises StorageError."""
        ...

    async def move(self, document_id: str, acl_id: int) -> None:
        """Give all chunks of a document another acl_id."""
        ...

    async def remove(self, chunk_ids: Sequence[str]) -> None: ...

    async def remove_document(self, document_id: str, keep: frozenset[str] = frozenset()) -> None:
        """Remove the document's chunks except those in `keep`: with its current chunk ids, what an edit left behind goes."""
        ...

    async def dense(self, vector: bytes, scope: Scope, limit: int) -> list[Candidate]:
        """The `limit` nearest by cosine among what `scope` allows, best first; ties by chunk_id."""
        ...

    async def lexical(self, terms: Sequence[str], scope: Scope, limit: int) -> list[Candidate]:
        """The `limit` best by BM25 among what `scope` allows, best first; ties by chunk_id.

        Word statistics are those of the tenant's whole collection set (documented limit).
        """
        ...

    async def count(self, tenant: str) -> int:
        """How many chunks of the tenant the store holds: for doctor and tests, never shown to a caller."""
        ...

    async def chunk_ids(self, tenant: str) -> set[str]:
        """Every chunk id of the tenant it holds: for reconciliation and audits."""
        ...
