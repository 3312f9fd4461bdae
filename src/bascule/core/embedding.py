"""The embedding envelope and port. A vector is `bytes`: float32, little-endian, `dimension` values, unit length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from bascule.core.calls import Call, Usage

Purpose = Literal["query", "document"]


class EmbeddingRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Texts to embed with the model named `model`. `dimensions` asks a vendor for shorter vectors, where it can."""

    model: str
    texts: tuple[str, ...]
    purpose: Purpose = "document"
    dimensions: int | None = None


class EmbeddingResponse(msgspec.Struct, frozen=True, kw_only=True):
    """One vector for each text, in order: float32 little-endian bytes, `4 * dimension` long."""

    vectors: tuple[bytes, ...]
    dimension: int
    model: str
    provider: str
    fingerprint: str
    usage: Usage


class EmbeddingModel(Protocol):
    """Embeds texts. `fingerprint` changes whenever the same text would give another vector."""

    async def embed(self, request: EmbeddingRequest, call: Call) -> EmbeddingResponse:
        """Raises RequestError or UpstreamError."""
        ...


class Embedder(Protocol):
    """What `rag` needs to know about the one model a collection is embedded with."""

    @property
    def fingerprint(self) -> str: ...

    @property
    def dimension(self) -> int: ...

    async def embed(self, texts: Sequence[str], purpose: Purpose, call: Call) -> tuple[bytes, ...]: ...
