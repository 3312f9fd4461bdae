"""The nouns of retrieval-augmented generation: what is stored, what is proposed, what is answered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from bascule.core.ids import generation_id
from bascule.core.rights import Rights

DocumentState = Literal["queued", "indexed", "failed", "deleted"]
ItemState = Literal["queued", "running", "indexed", "unchanged", "failed", "superseded", "cancelled"]
JobState = Literal["queued", "running", "paused", "done", "failed", "cancelled"]


def preparation(redact: str, chunk_tokens: int, names: str = "") -> str:
    """By which rules a document's chunks were made: what is otherwise is to be prepared again."""
    return f"{redact}:{chunk_tokens}" + (f":{names}" if names else "")


class Collection(msgspec.Struct, frozen=True, kw_only=True):
    """A named set of documents of one tenant, embedded with one model.

    `fingerprint` is "" and `dimension` 0 while the collection is lexical-only (no embedding model in reach). `model` is the name
    it was embedded by, `pin` the name it was asked to be embedded by, "" for the configured one. `generation` counts how
    often all of it was embedded anew: its points in the index carry it.
    """

    id: str
    tenant: str
    name: str
    fingerprint: str = ""
    dimension: int = 0
    rights: Rights = Rights()  # inherited by documents that bring none of their own
    generation: int = 0
    model: str = ""
    pin: str = ""

    @property
    def index_id(self) -> str:
        """Where the index holds the generation that is searched."""
        return generation_id(self.id, self.generation)


class NewDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What a connector hands over: the bytes are already durable under `blob` before the catalogue hears of them."""

    external_id: str
    name: str
    content_hash: str
    size_bytes: int
    blob: str
    title: str = ""
    source: str = "upload"
    media_type: str = ""
    metadata: Mapping[str, Any] = {}
    rights: Rights | None = None  # None: inherit the collection's


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """One document as its reader may see it."""

    id: str
    tenant: str
    collection_id: str
    collection: str
    external_id: str
    name: str
    title: str
    source: str
    state: DocumentState
    version: int
    content_hash: str
    media_type: str
    size_bytes: int
    chunk_count: int
    rights: Rights
    metadata: Mapping[str, Any]
    created_at: str
    updated_at: str
    reason: str = ""  # why it failed, and what to do
    report: Mapping[str, Any] = {}  # what cleaning and redaction removed


class RawDocument(msgspec.Struct, frozen=True):
    """A document as it came, on its way to the child process."""

    data: bytes
    name: str
    media_type: str


class ChunkDraft(msgspec.Struct, frozen=True, kw_only=True):
    """One chunk as the child process made it.

    text          what is shown and cited: characters [start, end) of the document's cleaned text
    heading_path  the headings above it, outermost first; prefixed when embedding and indexing, never cited
    tokens        length in tokens of the embedding model's tokenizer (or the fallback's, when there is none)
    occurrence    0 for the first chunk with this content in the document, 1 for the second, ...
    """

    text: str
    heading_path: tuple[str, ...]
    start: int
    end: int
    page: int | None
    tokens: int
    content_hash: str
    occurrence: int = 0
    kind: str = "text"  # text | table | code

    @property
    def indexed_text(self) -> str:
        """What is embedded and tokenised: the heading path, then the text."""
        return " > ".join(self.heading_path) + "\n" + self.text if self.heading_path else self.text


class PreparedDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A document parsed, cleaned, redacted and chunked: all that ever leaves the child process."""

    title: str
    media_type: str
    chunks: tuple[ChunkDraft, ...]
    report: Mapping[str, Any]
    signature: bytes = b""  # see `rag.signature`


class IndexedChunk(msgspec.Struct, frozen=True, kw_only=True):
    """A draft with its id and vector, ready to commit. `vector` is float32 bytes, None when lexical-only."""

    id: str
    draft: ChunkDraft
    vector: bytes | None


class VisibleChunk(msgspec.Struct, frozen=True, kw_only=True):
    """A chunk the catalogue has let through for one principal: live, current, readable. The only source of text (law 1)."""

    id: str
    document_id: str
    collection_id: str
    collection: str
    title: str
    name: str
    source: str
    text: str
    heading_path: tuple[str, ...]
    start: int
    end: int
    page: int | None
    ordinal: int
    tokens: int
    version: int
    metadata: Mapping[str, Any]
    updated_at: str
    kind: str = "text"

    @property
    def indexed_text(self) -> str:
        return " > ".join(self.heading_path) + "\n" + self.text if self.heading_path else self.text


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """A visible chunk with its score, normalised to 0..1 over this principal's own hits. `parts`: score per method."""

    chunk: VisibleChunk
    score: float
    parts: Mapping[str, float]


class Citation(msgspec.Struct, frozen=True, kw_only=True):
    """Where a sentence of an answer comes from. `span` is [start, end) within the chunk's text; `quote` is that text."""

    number: int
    document_id: str
    chunk_id: str
    title: str
    quote: str
    span: tuple[int, int]
    collection: str = ""
    heading_path: tuple[str, ...] = ()
    page: int | None = None


AnswerStatus = Literal["answered", "partial", "refused"]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    status: AnswerStatus
    answer: str
    citations: tuple[Citation, ...] = ()
    reason: str | None = None  # a refusal's code: no_evidence, not_said, unsupported, empty_collection, upstream_error
    cache: str = "BYPASS"
    usage: Mapping[str, int] = {}
    model: str = "extractive"
    degraded: tuple[str, ...] = ()  # what was missing: "lexical_only", "no_model", ... (law 11)


class JobItem(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    job_id: str
    document_id: str
    name: str
    state: ItemState
    reason: str = ""
    attempts: int = 0


class Job(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    tenant: str
    collection: str
    kind: str
    state: JobState
    created_at: str
    finished_at: str | None
    counts: Mapping[str, int]  # by item state
    items: tuple[JobItem, ...] = ()
    source: str = ""  # of its documents
    reason: str = ""  # why the work does not go on, where it is not a single document's
