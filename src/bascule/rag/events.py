"""What a streamed answer sends, in order: `sources`, then `delta` and `citation` as sentences are verified, then `done`.

`error` may come instead of any of them, and ends the stream. Joined, the deltas are exactly the answer that `done` carries.
A citation comes before the first delta that uses its number. `schemas()` is the reference the documentation is made from.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from bascule.core.documents import Answer, Citation, Hit
from bascule.core.errors import BasculeError


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A passage the answer may be made from. `rank` counts from 1; `score` is 0..1 over the asker's own hits."""

    rank: int
    chunk_id: str
    document_id: str
    title: str
    collection: str
    heading_path: tuple[str, ...]
    page: int | None
    score: float

    @classmethod
    def of(cls, rank: int, hit: Hit) -> Source:
        chunk = hit.chunk
        return cls(
            rank=rank,
            chunk_id=chunk.id,
            document_id=chunk.document_id,
            title=chunk.title or chunk.name,
            collection=chunk.collection,
            heading_path=chunk.heading_path,
            page=chunk.page,
            score=round(hit.score, 4),
        )


class SourcesData(msgspec.Struct, frozen=True):
    """Best first; empty when nothing was found."""

    sources: tuple[Source, ...]


class DeltaData(msgspec.Struct, frozen=True):
    """A verified sentence with its [n] marks, and what parts it from the one before."""

    text: str


class Failure(msgspec.Struct, frozen=True):
    message: str
    type: str
    param: str | None
    code: str


class ErrorData(msgspec.Struct, frozen=True):
    """The same body an HTTP error has."""

    error: Failure


class SourcesEvent(msgspec.Struct, frozen=True):
    data: SourcesData
    event: Literal["sources"] = "sources"


class DeltaEvent(msgspec.Struct, frozen=True):
    data: DeltaData
    event: Literal["delta"] = "delta"


class CitationEvent(msgspec.Struct, frozen=True):
    data: Citation
    event: Literal["citation"] = "citation"


class DoneEvent(msgspec.Struct, frozen=True):
    data: Answer
    event: Literal["done"] = "done"


class ErrorEvent(msgspec.Struct, frozen=True):
    data: ErrorData
    event: Literal["error"] = "error"

    @classmethod
    def of(cls, error: BasculeError) -> ErrorEvent:
        return cls(ErrorData(Failure(error.message, error.kind, error.param, error.code)))


AnswerEvent = SourcesEvent | DeltaEvent | CitationEvent | DoneEvent | ErrorEvent


def schemas() -> dict[str, dict[str, Any]]:
    """JSON Schema of each event's data, by the event's name."""
    data = {"sources": SourcesData, "delta": DeltaData, "citation": Citation, "done": Answer, "error": ErrorData}
    return {name: msgspec.json.schema(type_) for name, type_ in data.items()}
