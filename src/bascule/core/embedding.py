"""The embedding envelope and port. A vector is `bytes`: float32, little-endian, `dimension` values, unit length."""

from __future__ import annotations

import hashlib
import math
from array import array
from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from bascule.core.calls import Call, Usage
from bascule.core.errors import UpstreamInvalid

Purpose = Literal["query", "document"]


class EmbeddingRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Texts to embed with the model named `model`. `dimensions` asks a vendor for shorter vectors, where it can. `user`: whom the
    request says it is for, for limits and records."""

    model: str
    texts: tuple[str, ...]
    purpose: Purpose = "document"
    dimensions: int | None = None
    user: str = ""

    @property
    def view(self) -> dict[str, str]:
        """What of it names its end user, as a chat's does."""
        return {"user": self.user} if self.user else {}


class EmbeddingResponse(msgspec.Struct, frozen=True, kw_only=True):
    """One vector for each text, in order: float32 little-endian bytes, `4 * dimension` long."""

    vectors: tuple[bytes, ...]
    dimension: int
    model: str
    provider: str
    fingerprint: str
    usage: Usage


def unit(values: array[float]) -> bytes:
    """Of unit length. Raises ValueError for a vector that has none: zeros, infinities, NaN."""
    norm = math.sqrt(sum(v * v for v in values))
    if not math.isfinite(norm) or norm == 0.0:
        raise ValueError("no direction")
    if abs(norm - 1.0) > 1e-4:
        values = array("f", [v / norm for v in values])
    return values.tobytes()


def embedded(
    found: Sequence[Sequence[float]], request: EmbeddingRequest, usage: Usage, *, provider: str, place: str
) -> EmbeddingResponse:
    """One vector for each text. `place` is where the model is: another place is another fingerprint.
    Raises UpstreamInvalid for another number of vectors than texts, uneven ones, and what is no vector."""
    try:
        vectors = tuple(unit(array("f", values)) for values in found)
    except (TypeError, ValueError, OverflowError):
        raise UpstreamInvalid(
            "The model's provider sent an answer that is not embeddings.", provider=provider
        ) from None
    if len(vectors) != len(request.texts) or len({len(vector) for vector in vectors}) != 1:
        said = "The model's provider sent another number of embeddings than texts, or uneven ones."
        raise UpstreamInvalid(said, provider=provider)
    dimension = len(vectors[0]) // 4
    source = f"{place}\0{request.model}\0{dimension}"
    return EmbeddingResponse(
        vectors=vectors,
        dimension=dimension,
        model=request.model,
        provider=provider,
        fingerprint=f"{provider}:" + hashlib.sha256(source.encode()).hexdigest()[:16],
        usage=usage,
    )


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
