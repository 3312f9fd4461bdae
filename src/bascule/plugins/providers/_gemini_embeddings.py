"""Embeddings of Google's models: batches in Gemini's API, predictions or single contents in Vertex AI.

Shapes after Google's Gen AI SDK, which chooses among them by the model's name as here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from bascule.core.calls import Usage
from bascule.core.embedding import EmbeddingRequest
from bascule.core.errors import UpstreamInvalid
from bascule.plugins.providers._gemini_answers import read_object

BATCH: Final = 100
_TASKS: Final = {"query": "RETRIEVAL_QUERY", "document": "RETRIEVAL_DOCUMENT"}


class Part(msgspec.Struct, frozen=True):
    """One request to the vendor: where, and with what."""

    operation: str
    body: dict[str, Any]


def batches(request: EmbeddingRequest) -> list[Part]:
    """For Gemini's API."""
    name = "models/" + request.model.removeprefix("models/")
    return [
        Part(":batchEmbedContents", {"requests": [{"model": name, **_one(text, request)} for text in part]})
        for part in _parts(request.texts, BATCH)
    ]


def predictions(request: EmbeddingRequest) -> list[Part]:
    """For Vertex AI: Gemini's own models and hosted ones take one content at a time, the older text models many texts."""
    if "gemini" in request.model or "maas" in request.model:
        return [Part(":embedContent", _content(text, request)) for text in request.texts]
    task = _TASKS[request.purpose]
    parameters = {"parameters": {"outputDimensionality": request.dimensions}} if request.dimensions else {}
    return [
        Part(":predict", {"instances": [{"content": text, "task_type": task} for text in part], **parameters})
        for part in _parts(request.texts, BATCH)
    ]


def _parts(texts: Sequence[str], most: int) -> list[Sequence[str]]:
    return [texts[at : at + most] for at in range(0, len(texts), most)]


def _one(text: str, request: EmbeddingRequest) -> dict[str, Any]:
    found: dict[str, Any] = {"content": {"parts": [{"text": text}]}, "taskType": _TASKS[request.purpose]}
    if request.dimensions:
        found["outputDimensionality"] = request.dimensions
    return found


def _content(text: str, request: EmbeddingRequest) -> dict[str, Any]:
    config: dict[str, Any] = {"taskType": _TASKS[request.purpose]}
    if request.dimensions:
        config["outputDimensionality"] = request.dimensions
    return {"content": {"parts": [{"text": text}]}, "embedContentConfig": config}


def read(body: bytes, provider: str) -> tuple[list[list[float]], int]:
    """(vectors, tokens) of one answer, whichever of the three it is; -1 tokens where it does not say. Raises UpstreamInvalid."""
    answer = read_object(body)
    try:
        if "predictions" in answer:
            found = [prediction["embeddings"] for prediction in answer["predictions"]]
        elif "embedding" in answer:
            found = [answer["embedding"]]
        else:
            found = list(answer["embeddings"])
        vectors = [embedding["values"] for embedding in found]
        counts = [int(e["statistics"]["token_count"]) for e in found if e.get("statistics", {}).get("token_count")]
        told = answer.get("usageMetadata") or {}
        tokens = int(told.get("promptTokenCount") or told.get("totalTokenCount") or sum(counts) or -1)
    except (KeyError, TypeError, AttributeError, ValueError):
        raise UpstreamInvalid(
            "The model's provider sent an answer that is not embeddings.", provider=provider
        ) from None
    return vectors, tokens


def usage_of(tokens: Sequence[int]) -> Usage:
    """Of several answers; estimated by others where one of them does not say."""
    if any(count < 0 for count in tokens):
        return Usage(estimated=True)
    return Usage(input_tokens=sum(tokens))
