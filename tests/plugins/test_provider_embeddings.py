"""Embeddings of Gemini, Vertex AI and Bedrock over real HTTP: their shapes, their batches, their counts."""

from __future__ import annotations

import json
from array import array
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web

from bascule.core.embedding import EmbeddingRequest
from bascule.core.errors import InvalidRequest, UpstreamInvalid, UpstreamRateLimited
from bascule.core.http import HttpClient
from bascule.plugins.http_clients import httptools
from bascule.plugins.providers import bedrock, gemini, vertex
from bascule.plugins.providers.bedrock import signing
from bascule.plugins.providers.bedrock.provider import BedrockProvider
from bascule.testing.bedrock import BedrockVendor
from bascule.testing.gateway import call
from bascule.testing.gemini import GeminiVendor
from bascule.testing.vendors import SECRET, Vendor, serving


def embedding_of(text: str) -> list[float]:
    """Not of unit length, and told apart by the text's length."""
    return [3.0, float(len(text)), 4.0]


def unit_of(text: str) -> list[float]:
    values = embedding_of(text)
    norm = sum(v * v for v in values) ** 0.5
    return [v / norm for v in values]


def answer(path: str, body: dict[str, Any]) -> dict[str, Any]:
    """As each of the vendors' operations answers."""
    if path.endswith(":batchEmbedContents"):
        texts = [one["content"]["parts"][0]["text"] for one in body["requests"]]
        return {"embeddings": [{"values": embedding_of(text)} for text in texts]}
    if path.endswith(":predict"):
        rows = [(embedding_of(one["content"]), {"token_count": 2, "truncated": False}) for one in body["instances"]]
        return {"predictions": [{"embeddings": {"values": v, "statistics": s}} for v, s in rows]}
    if path.endswith(":embedContent"):
        text = body["content"]["parts"][0]["text"]
        return {"embedding": {"values": embedding_of(text)}, "usageMetadata": {"promptTokenCount": 3}}
    if "inputText" in body:
        return {"embedding": embedding_of(body["inputText"]), "inputTextTokenCount": 5}
    return {
        "embeddings": {"float": [embedding_of(text) for text in body["texts"]]},
        "response_type": "embeddings_by_type",
    }


def answering(kind: type[Vendor], headers: dict[str, str] | None = None) -> Vendor:
    """A vendor that reads what it is asked."""

    class Answering(kind):  # type: ignore[misc, valid-type]
        async def handle(self, request: web.Request) -> web.StreamResponse:
            if self.reply.status == 200 and not self.reply.pieces:
                found = answer(request.path, await request.json())
                self.says(json.dumps(found).encode())
                self.reply.headers = headers or {}
                response = await super().handle(request)
                self.reply = type(self.reply)()
                return response
            return await super().handle(request)

    made: Vendor = Answering()
    return made


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    async with httptools.connect(httptools.Settings()) as client:
        yield client


def of_gemini(vendor: Vendor, http: HttpClient) -> gemini.GeminiProvider:
    return gemini.GeminiProvider(gemini.Settings(base_url=vendor.url, api_key="env:K"), http, SECRET)


def of_vertex(vendor: Vendor, http: HttpClient) -> vertex.VertexProvider:
    return vertex.VertexProvider(vertex.Settings(project="p", base_url=vendor.url, api_key="env:K"), http, SECRET, None)


def of_bedrock(vendor: Vendor, http: HttpClient) -> BedrockProvider:
    settings = bedrock.Settings(region="eu-central-1", base_url=vendor.url)
    return BedrockProvider(settings, http, signing.fixed("AKIDEXAMPLE", SECRET, None, "eu-central-1"))


CASES: list[tuple[Any, Callable[..., Any], str, int, int | None]] = [
    # vendor, provider, model, requests for 130 texts, tokens (None: the vendor does not say)
    (GeminiVendor, of_gemini, "gemini-embedding-001", 2, None),
    (GeminiVendor, of_vertex, "gemini-embedding-001", 130, 390),
    (GeminiVendor, of_vertex, "text-embedding-005", 2, 260),
    (GeminiVendor, of_vertex, "gemini-embedding-2", 130, 390),
    (BedrockVendor, of_bedrock, "amazon.titan-embed-text-v2:0", 130, 650),
    (BedrockVendor, of_bedrock, "eu.cohere.embed-v4:0", 2, 14),
]


@pytest.mark.parametrize(("kind", "make", "model", "requests", "tokens"), CASES)
async def test_many_texts_come_back_in_order_at_unit_length_with_their_usage(
    http: HttpClient, kind: Any, make: Callable[..., Any], model: str, requests: int, tokens: int | None
) -> None:
    vendor = answering(kind, {"x-amzn-bedrock-input-token-count": "7"})
    texts = tuple("x" * (n + 1) for n in range(130))
    async with serving(vendor):
        made = await make(vendor, http).embed(EmbeddingRequest(model=model, texts=texts, purpose="document"), call())
        again = await make(vendor, http).embed(EmbeddingRequest(model=model, texts=("x",), purpose="query"), call())
    assert (len(vendor.calls) - 1, made.dimension, len(made.vectors)) == (requests, 3, 130)
    for text, vector in zip(texts, made.vectors, strict=True):
        assert list(array("f", vector)) == pytest.approx(unit_of(text), abs=1e-6)
    assert (made.usage.estimated, made.usage.input_tokens) == (tokens is None, tokens or 0)
    assert made.fingerprint == again.fingerprint
    if kind is BedrockVendor:
        for seen in vendor.calls:
            assert vendor.credential(seen).endswith("/eu-central-1/bedrock/aws4_request")
            assert seen.path.endswith("/invoke")


async def test_purpose_and_dimensions_are_told_in_each_vendors_words(http: HttpClient) -> None:
    asked = {"texts": ("a",), "purpose": "query", "dimensions": 256}
    async with serving(google := answering(GeminiVendor)), serving(amazon := answering(BedrockVendor)):
        await of_gemini(google, http).embed(EmbeddingRequest(model="gemini-embedding-001", **asked), call())
        await of_vertex(google, http).embed(EmbeddingRequest(model="text-embedding-005", **asked), call())
        await of_vertex(google, http).embed(EmbeddingRequest(model="gemini-embedding-2", **asked), call())
        await of_bedrock(amazon, http).embed(EmbeddingRequest(model="amazon.titan-embed-text-v2:0", **asked), call())
        await of_bedrock(amazon, http).embed(EmbeddingRequest(model="cohere.embed-multilingual-v3", **asked), call())
    bodies = [json.loads(seen.raw) for seen in (*google.calls, *amazon.calls)]
    assert bodies[0]["requests"][0] == {
        "model": "models/gemini-embedding-001",
        "content": {"parts": [{"text": "a"}]},
        "taskType": "RETRIEVAL_QUERY",
        "outputDimensionality": 256,
    }
    assert bodies[1] == {
        "instances": [{"content": "a", "task_type": "RETRIEVAL_QUERY"}],
        "parameters": {"outputDimensionality": 256},
    }
    assert bodies[2]["embedContentConfig"] == {"taskType": "RETRIEVAL_QUERY", "outputDimensionality": 256}
    assert bodies[3] == {"inputText": "a", "normalize": True, "dimensions": 256}
    assert (bodies[4]["input_type"], bodies[4]["output_dimension"]) == ("search_query", 256)


NO_EMBEDDINGS = (
    b"{}",
    b"[]",
    b"not json",
    b'{"embeddings": []}',
    b'{"embeddings": [{"values": [0, 0]}]}',
    b'{"embeddings": [{"values": ["x"]}]}',
    b'{"embedding": [0.0, 0.0]}',
    b'{"embeddings": 5}',
    b'{"embedding": {"values": [1e999]}}',
)


@pytest.mark.parametrize("raw", NO_EMBEDDINGS)
async def test_what_is_no_embedding_is_never_taken_for_one(http: HttpClient, raw: bytes) -> None:
    for kind, make, model in (
        (GeminiVendor, of_gemini, "m"),
        (BedrockVendor, of_bedrock, "amazon.titan-embed-text-v2:0"),
    ):
        async with serving(vendor := kind()):
            vendor.says(raw)
            with pytest.raises(UpstreamInvalid):
                await make(vendor, http).embed(EmbeddingRequest(model=model, texts=("a",)), call())


async def test_refusals_are_told_as_for_chat_and_a_model_that_does_not_embed_is_not_asked(http: HttpClient) -> None:
    async with serving(vendor := GeminiVendor()):
        vendor.refuses(429, headers={"retry-after": "3"})
        with pytest.raises(UpstreamRateLimited) as raised:
            await of_gemini(vendor, http).embed(EmbeddingRequest(model="m", texts=("a",)), call())
        assert raised.value.retry_after_s == 3
    async with serving(vendor := BedrockVendor()):
        for model, more in (("anthropic.claude-x", {}), ("amazon.titan-embed-text-v1", {"dimensions": 5})):
            with pytest.raises(InvalidRequest):
                await of_bedrock(vendor, http).embed(EmbeddingRequest(model=model, texts=("a",), **more), call())
        assert vendor.calls == []
