from __future__ import annotations

import asyncio

import pytest

from bascule.core.embedding import EmbeddingRequest
from bascule.core.errors import ConfigError, InvalidRequest, UpstreamInvalid, UpstreamUnavailable
from bascule.gateway.gateway import Gateway
from bascule.testing.gateway import ScriptedModel, bench, call, http_client, openai_provider, request, until
from bascule.testing.upstream import fake_upstream

ORDER = ["Record", "Deadlines", "Guard", "Limit", "Cache", "SingleFlight", "Reserve", "Routing"]


def layers(gateway: Gateway) -> list[str]:
    found, layer = [], gateway._outermost
    while layer is not None:
        found.append(type(layer).__name__)
        layer = getattr(layer, "_next", None)  # type: ignore[assignment]
    return found


def test_the_layers_stand_in_the_one_order_there_is() -> None:
    assert layers(bench(ScriptedModel()).gateway) == ORDER


async def test_the_models_are_listed_while_every_vendor_is_down() -> None:
    async with fake_upstream() as up:
        url = up.url
    async with http_client() as http:
        assert bench(openai_provider(url, http)).gateway.models() == ["fast"]


async def test_an_embedder_knows_its_fingerprint_and_dimension_and_embeds() -> None:
    async with fake_upstream() as up, http_client() as http:
        b = bench(openai_provider(up.url, http))
        embedder = await b.gateway.embedder("fast")
        vectors = await embedder.embed(["a", "b"], "document", call())
        assert (embedder.dimension, len(vectors), {len(v) for v in vectors}) == (8, 2, {32})
        assert embedder.fingerprint.startswith("openai:")
        assert await embedder.embed([], "document", call()) == ()


async def test_an_embedder_refuses_vectors_of_a_model_that_has_become_another() -> None:
    model = ScriptedModel()
    embedder = await bench(model).gateway.embedder("fast")
    model.fingerprint = "scripted:2"
    with pytest.raises(UpstreamInvalid, match="changed"):
        await embedder.embed(["a"], "query", call())


async def test_an_embedder_of_an_unknown_model_stops_the_start() -> None:
    with pytest.raises(ConfigError, match="gone"):
        await bench(ScriptedModel()).gateway.embedder("gone")


class EmbedsOnly:
    def __init__(self) -> None:
        self.embed = ScriptedModel().embed


class ChatsOnly:
    def __init__(self) -> None:
        inner = ScriptedModel()
        self.chat, self.stream = inner.chat, inner.stream


async def test_a_provider_that_only_embeds_or_only_chats_says_so_and_is_not_asked_again() -> None:
    embeds, chats = bench(EmbedsOnly()), bench(ChatsOnly())
    texts = EmbeddingRequest(model="fast", texts=("a",))
    assert (await embeds.gateway.embed(texts, call())).vectors
    assert (await chats.gateway.chat(request(), call())).text
    with pytest.raises(InvalidRequest):
        await embeds.gateway.chat(request(), call())
    with pytest.raises(InvalidRequest):
        await chats.gateway.embed(texts, call())
    assert len(embeds.records[1].attempts) == 1


async def test_closing_stops_what_is_under_way_and_tells_those_who_wait() -> None:
    model = ScriptedModel(gate=asyncio.Event())
    b = bench(model)
    waiting = asyncio.create_task(b.gateway.chat(request(), call()))
    await until(lambda: model.requests)
    await b.gateway.aclose()
    with pytest.raises(UpstreamUnavailable):
        await waiting
    assert (b.gateway.under_way, model.cancelled) == (0, 1)
