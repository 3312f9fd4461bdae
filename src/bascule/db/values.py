"""Between rows and values: JSON, instants, and the structs the rest of the product knows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import Row

from bascule.core.documents import Collection, Document, Job, JobItem, VisibleChunk
from bascule.db.rights import parse_canonical
from bascule.db.tables import acls, chunks, collections, documents

COLLECTION_ROWS = sa.select(collections, acls.c.canonical).join(acls, acls.c.id == collections.c.acl_id)
DOCUMENT_ROWS = (
    sa.select(documents, collections.c.name.label("collection"), acls.c.canonical)
    .join(collections, collections.c.id == documents.c.collection_id)
    .join(acls, acls.c.id == documents.c.acl_id)
)
CHUNK_ROWS = (
    sa.select(
        chunks,
        documents.c.collection_id,
        documents.c.title,
        documents.c.name,
        documents.c.source,
        documents.c.metadata,
        documents.c.updated_at,
        collections.c.name.label("collection"),
    )
    .join(documents, documents.c.id == chunks.c.document_id)
    .join(collections, collections.c.id == documents.c.collection_id)
)


def now_text() -> str:
    return instant_text(datetime.now(UTC))


def instant_text(at: datetime) -> str:
    """Of an instant in UTC: as text, such instants compare as they do in time."""
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def indexed_text(heading_path: Sequence[str], text: str) -> str:
    """As `ChunkDraft.indexed_text`."""
    return " > ".join(heading_path) + "\n" + text if heading_path else text


def to_json(value: Any) -> str:
    try:
        return msgspec.json.encode(value, order="deterministic").decode()
    except UnicodeEncodeError:  # a lone surrogate somewhere: see `tables.SafeText`
        plain = msgspec.to_builtins(value)
        text = json.dumps(plain, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        return text.encode("utf-8", "replace").decode()


def from_json(text: str) -> Any:
    return msgspec.json.decode(text) if text else {}


def collection_of(row: Row[Any]) -> Collection:
    return Collection(
        id=row.id,
        tenant=row.tenant,
        name=row.name,
        fingerprint=row.fingerprint,
        dimension=row.dimension,
        rights=parse_canonical(row.canonical),
        generation=row.generation,
        model=row.model,
        pin=row.pin,
    )


def document_of(row: Row[Any]) -> Document:
    return Document(
        id=row.id,
        tenant=row.tenant,
        collection_id=row.collection_id,
        collection=row.collection,
        external_id=row.external_id,
        name=row.name,
        title=row.title,
        source=row.source,
        state=row.state,
        version=row.version,
        content_hash=row.content_hash,
        media_type=row.media_type,
        size_bytes=row.size_bytes,
        chunk_count=row.chunk_count,
        rights=parse_canonical(row.canonical),
        metadata=from_json(row.metadata),
        created_at=row.created_at,
        updated_at=row.updated_at,
        reason=row.reason,
        report=from_json(row.report),
    )


def chunk_of(row: Row[Any]) -> VisibleChunk:
    return VisibleChunk(
        id=row.id,
        document_id=row.document_id,
        collection_id=row.collection_id,
        collection=row.collection,
        title=row.title,
        name=row.name,
        source=row.source,
        text=row.text,
        heading_path=tuple(from_json(row.heading_path)),
        start=row.start,
        end=row.end,
        page=row.page,
        ordinal=row.ordinal,
        tokens=row.tokens,
        version=row.version,
        metadata=from_json(row.metadata),
        updated_at=row.updated_at,
        kind=row.kind,
    )


def job_of(row: Row[Any], counts: dict[str, int], reason: str, job_items: tuple[JobItem, ...]) -> Job:
    return Job(
        id=row.id,
        tenant=row.tenant,
        collection=row.collection,
        kind=row.kind,
        state=row.shown_state,
        source=row.source,
        created_at=row.created_at,
        finished_at=row.finished_at,
        counts=counts,
        items=job_items,
        reason=reason,
    )
