"""What callers are shown: the shape of every JSON answer of our own routes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from bascule.core.connectors import SkippedItem
from bascule.core.documents import Document, Hit, Job, VisibleChunk
from bascule.core.keys import KeyRecord
from bascule.core.principals import Principal


class RightsView(msgspec.Struct, frozen=True):
    allow: list[str]
    deny: list[str]
    owner: str


class DocumentView(msgspec.Struct, frozen=True, kw_only=True):
    """`rights` and `report` (what cleaning and redaction removed) are shown to the owner and to administrators only. `alike`:
    up to five other documents that say nearly the same, of those the caller may read."""

    id: str
    collection: str
    external_id: str
    name: str
    title: str
    source: str
    state: str
    reason: str
    version: int
    media_type: str
    size_bytes: int
    chunk_count: int
    metadata: Mapping[str, Any]
    created_at: str
    updated_at: str
    rights: RightsView | None
    report: Mapping[str, Any] | None
    alike: Sequence[str] = ()

    @classmethod
    def of(cls, document: Document, principal: Principal, alike: Sequence[str] = ()) -> DocumentView:
        mine = is_keeper(document, principal)
        rights = document.rights
        return cls(
            id=document.id,
            collection=document.collection,
            external_id=document.external_id,
            name=document.name,
            title=document.title,
            source=document.source,
            state=document.state,
            reason=document.reason,
            version=document.version,
            media_type=document.media_type,
            size_bytes=document.size_bytes,
            chunk_count=document.chunk_count,
            metadata=document.metadata,
            created_at=document.created_at,
            updated_at=document.updated_at,
            rights=RightsView(sorted(rights.allow), sorted(rights.deny), rights.owner) if mine else None,
            report=document.report if mine else None,
            alike=alike,
        )


def is_keeper(document: Document, principal: Principal) -> bool:
    """Who may know whom else a document is for: its owner and administrators."""
    owner = document.rights.owner
    return principal.is_admin or (bool(owner) and owner == principal.subject)


class DocumentList(msgspec.Struct, frozen=True):
    """`next`: pass it as `after` for the next page; null on the last."""

    data: list[DocumentView]
    next: str | None
    object: str = "list"


class ChunkView(msgspec.Struct, frozen=True, kw_only=True):
    """`start`, `end`: where the text lies in the document's cleaned text, in characters."""

    chunk_id: str
    document_id: str
    collection: str
    title: str
    name: str
    text: str
    heading_path: tuple[str, ...]
    start: int
    end: int
    page: int | None
    ordinal: int
    kind: str
    version: int
    updated_at: str

    @classmethod
    def of(cls, chunk: VisibleChunk) -> ChunkView:
        return cls(
            **_shared(chunk),
            start=chunk.start,
            end=chunk.end,
            ordinal=chunk.ordinal,
            kind=chunk.kind,
            version=chunk.version,
            updated_at=chunk.updated_at,
        )


class ChunkList(msgspec.Struct, frozen=True):
    data: list[ChunkView]
    object: str = "list"


class PassageView(msgspec.Struct, frozen=True):
    passage: ChunkView
    around: list[ChunkView]


class HitView(msgspec.Struct, frozen=True, kw_only=True):
    """`score` is normalised to 0..1 over the caller's own hits; `parts` gives it per method."""

    chunk_id: str
    document_id: str
    collection: str
    title: str
    name: str
    text: str
    heading_path: tuple[str, ...]
    page: int | None
    score: float
    parts: Mapping[str, float]

    @classmethod
    def of(cls, hit: Hit) -> HitView:
        return cls(**_shared(hit.chunk), score=hit.score, parts=hit.parts)


class HitList(msgspec.Struct, frozen=True):
    hits: list[HitView]
    degraded: list[str] = []


class Revealed(msgspec.Struct, frozen=True):
    """`value`: what stands behind a pseudonym."""

    value: str


class JobItemView(msgspec.Struct, frozen=True):
    document_id: str
    name: str
    state: str
    reason: str
    attempts: int


class SkippedView(msgspec.Struct, frozen=True):
    external_id: str
    reason: str


class JobView(msgspec.Struct, frozen=True, kw_only=True):
    """`counts`: documents by state. `source`: what brought them: `upload`, `folder`, `source:NAME`.
    `skipped`: what this very request brought and was not taken in, and why. `reason`: why the job does not go on."""

    id: str
    collection: str
    kind: str
    state: str
    created_at: str
    finished_at: str | None
    counts: Mapping[str, int]
    items: list[JobItemView]
    skipped: list[SkippedView] = []
    source: str = ""
    reason: str = ""

    @classmethod
    def of(cls, job: Job, skipped: list[SkippedItem] | None = None) -> JobView:
        return cls(
            id=job.id,
            collection=job.collection,
            kind=job.kind,
            state=job.state,
            created_at=job.created_at,
            finished_at=job.finished_at,
            counts=job.counts,
            items=[JobItemView(i.document_id, i.name, i.state, i.reason, i.attempts) for i in job.items],
            skipped=[SkippedView(s.external_id, s.reason) for s in skipped or []],
            source=job.source,
            reason=job.reason,
        )


class JobList(msgspec.Struct, frozen=True):
    data: list[JobView]
    next: str | None = None
    object: str = "list"


class KeyView(msgspec.Struct, frozen=True, kw_only=True):
    """`key` is the whole key: shown once, when it is made, and null ever after."""

    id: str
    tenant: str
    name: str
    prefix: str
    subject: str
    groups: list[str]
    roles: list[str]
    scopes: list[str]
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    requests_per_min: int | None
    tokens_per_min: int | None
    usd_per_day: float | None
    concurrent: int | None
    usd_per_month: float | None
    key: str | None = None

    @classmethod
    def of(cls, record: KeyRecord, key: str | None = None) -> KeyView:
        return cls(
            id=record.id,
            tenant=record.tenant,
            name=record.name,
            prefix=record.prefix,
            subject=record.subject,
            groups=sorted(record.groups),
            roles=sorted(record.roles),
            scopes=sorted(record.scopes),
            created_at=record.created_at,
            expires_at=record.expires_at,
            revoked_at=record.revoked_at,
            requests_per_min=record.requests_per_min,
            tokens_per_min=record.tokens_per_min,
            usd_per_day=record.usd_per_day,
            concurrent=record.concurrent,
            usd_per_month=record.usd_per_month,
            key=key,
        )


class KeyList(msgspec.Struct, frozen=True):
    data: list[KeyView]
    object: str = "list"


class Health(msgspec.Struct, frozen=True):
    """`status`: alive, ready, draining or unavailable."""

    status: str


def _shared(chunk: VisibleChunk) -> dict[str, Any]:
    return {
        "chunk_id": chunk.id,
        "document_id": chunk.document_id,
        "collection": chunk.collection,
        "title": chunk.title,
        "name": chunk.name,
        "text": chunk.text,
        "heading_path": chunk.heading_path,
        "page": chunk.page,
    }
