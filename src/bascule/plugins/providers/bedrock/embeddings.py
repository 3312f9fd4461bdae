"""Embeddings on Bedrock by InvokeModel: Amazon's Titan, one text a request, and Cohere's models, up to 96.

Shapes after AWS's parameter reference of the two families.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from bascule.core.embedding import EmbeddingRequest
from bascule.core.errors import InvalidRequest, UpstreamInvalid

COHERE_TEXTS: Final = 96
_INPUT_TYPES: Final = {"query": "search_query", "document": "search_document"}


def bodies(request: EmbeddingRequest) -> list[dict[str, Any]]:
    """One for each request to the vendor. Raises InvalidRequest for a model of another family."""
    if "titan-embed" in request.model:
        return [_titan(text, request) for text in request.texts]
    if "cohere.embed" in request.model:
        parts = [request.texts[at : at + COHERE_TEXTS] for at in range(0, len(request.texts), COHERE_TEXTS)]
        return [_cohere(part, request) for part in parts]
    raise InvalidRequest("This model does not embed, or in a way that is not known here.", param="model")


def _titan(text: str, request: EmbeddingRequest) -> dict[str, Any]:
    if "v1" in request.model.rpartition("titan-embed")[2]:
        if request.dimensions:
            raise InvalidRequest("This model's vectors have one length.", param="dimensions")
        return {"inputText": text}
    return {"inputText": text, "normalize": True} | ({"dimensions": request.dimensions} if request.dimensions else {})


def _cohere(texts: tuple[str, ...], request: EmbeddingRequest) -> dict[str, Any]:
    body: dict[str, Any] = {
        "texts": list(texts),
        "input_type": _INPUT_TYPES[request.purpose],
        "embedding_types": ["float"],
    }
    return body | ({"output_dimension": request.dimensions} if request.dimensions else {})


def read(body: bytes, headers: Mapping[str, str], provider: str) -> tuple[list[list[float]], int]:
    """(vectors, tokens) of one answer; -1 tokens where neither the answer nor its head says. Raises UpstreamInvalid."""
    try:
        answer = msgspec.json.decode(body)
        found = answer["embeddings"] if "embeddings" in answer else [answer["embedding"]]
        vectors = found["float"] if isinstance(found, dict) else found
        vectors = list(vectors)
        tokens = int(answer.get("inputTextTokenCount") or headers.get("x-amzn-bedrock-input-token-count") or -1)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError, TypeError, AttributeError, ValueError):
        raise UpstreamInvalid(
            "The model's provider sent an answer that is not embeddings.", provider=provider
        ) from None
    return vectors, tokens
