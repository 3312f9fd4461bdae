"""One of each thing that the HTTP edge shows, and the keys of its three callers."""

from __future__ import annotations

from collections.abc import Sequence

from bascule.core.documents import Answer, Citation, Document, Job, JobItem, VisibleChunk
from bascule.core.keys import KeyRecord
from bascule.core.rights import Rights

ADMIN, READER, CHATTER = "bsk_admin", "bsk_reader", "bsk_chatter"
DOCUMENT, CHUNK = "0190-doc", "c" * 32
WHEN = "2026-01-02T03:04:05+00:00"
HOSTILE = '<img src=x onerror="alert(1)"><script>alert(2)</script> https://evil.example/'


def a_chunk() -> VisibleChunk:
    return VisibleChunk(
        id=CHUNK,
        document_id=DOCUMENT,
        collection_id="c1",
        collection="handbook",
        title="Returns " + HOSTILE,
        name="returns.md",
        source="upload",
        text="Goods may be returned within 30 days. " + HOSTILE,
        heading_path=("Policies", "Returns"),
        start=0,
        end=80,
        page=2,
        ordinal=0,
        tokens=12,
        version=1,
        metadata={},
        updated_at=WHEN,
    )


def an_answer() -> Answer:
    citation = Citation(
        number=1,
        document_id=DOCUMENT,
        chunk_id=CHUNK,
        title="Returns " + HOSTILE,
        quote="Goods may be returned within 30 days.",
        span=(0, 37),
        collection="handbook",
    )
    return Answer(
        id="a1",
        status="answered",
        answer=f"Goods may be returned within 30 days. [1] {HOSTILE} [7]",
        citations=(citation,),
        usage={"input_tokens": 5, "output_tokens": 2},
        degraded=("lexical_only",),
    )


def a_document(rights: Rights) -> Document:
    return Document(
        id=DOCUMENT,
        tenant="t",
        collection_id="c1",
        collection="handbook",
        external_id="returns.md",
        name="returns.md",
        title="Returns " + HOSTILE,
        source="upload",
        state="indexed",
        version=1,
        content_hash="00",
        media_type="text/markdown",
        size_bytes=10,
        chunk_count=1,
        rights=rights,
        metadata={},
        created_at=WHEN,
        updated_at=WHEN,
        report={"redacted": {"email": 1}},
    )


def a_job() -> Job:
    failed = JobItem(id="i1", job_id="j1", document_id="d2", name="scan.pdf", state="failed", reason="No text in it.")
    items: Sequence[JobItem] = (failed,)
    return Job(
        id="j1",
        tenant="t",
        collection="handbook",
        kind="ingest",
        state="done",
        created_at=WHEN,
        finished_at=WHEN,
        counts={"indexed": 1, "failed": 1},
        items=tuple(items),
    )


def a_key(key_id: str) -> KeyRecord:
    return KeyRecord(
        id=key_id,
        tenant="t",
        name="demo",
        prefix="bsk_demo1234",
        secret_hash="ff" * 32,
        subject="ann",
        groups=frozenset(),
        roles=frozenset(),
        scopes=frozenset({"ask"}),
        created_at=WHEN,
    )
