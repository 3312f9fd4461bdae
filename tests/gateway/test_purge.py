from __future__ import annotations

import asyncio

import aiohttp
import pytest

from bascule.core.embedding import EmbeddingRequest
from bascule.gateway.cache_key import key_tag, model_tag, user_tag
from bascule.testing.gateway import ScriptedModel, bench, call, principal, request, until
from bascule.testing.server import ADMIN, CHATTER, DOCUMENT, FakeApp, serving


async def test_a_model_is_purged_for_one_tenant_alone() -> None:
    b = bench(ScriptedModel())
    for tenant in ("a", "b"):
        await b.gateway.chat(request(), call(principal(tenant)))
        await b.gateway.embed(EmbeddingRequest(model="fast", texts=("x", "y")), call(principal(tenant)))
    assert await b.state.purge(model_tag("a", "fast")) == 3
    verdicts = []
    for tenant in ("a", "b"):
        c = call(principal(tenant))
        await b.gateway.chat(request(), c)
        verdicts.append(c.cache)
    assert verdicts == ["MISS", "HIT"]


@pytest.mark.parametrize(("scope", "tag"), [("key", key_tag("t", "k1")), ("user", user_tag("t", "ann"))])
async def test_one_keys_and_one_persons_answers_are_purged_where_they_are_kept_apart(scope: str, tag: str) -> None:
    b = bench(ScriptedModel(), cache_scope=scope)
    for key_id, subject in (("k1", "ann"), ("k2", "ben")):
        await b.gateway.chat(request(), call(principal("t", key_id, subject)))
    assert await b.state.purge(tag) == 1
    other = call(principal("t", "k2", "ben"))
    await b.gateway.chat(request(), other)
    assert other.cache == "HIT"


async def test_an_answer_under_way_while_its_model_is_purged_is_not_kept() -> None:
    model = ScriptedModel(gate=asyncio.Event())
    b = bench(model)
    running = asyncio.create_task(b.gateway.chat(request(), call()))
    await until(lambda: model.requests)
    await b.state.purge(model_tag("t", "fast"))
    model.gate.set()  # type: ignore[union-attr]
    await running
    again = call()
    await b.gateway.chat(request(), again)
    assert again.cache == "MISS"


def test_names_that_run_together_are_different_tags() -> None:
    assert model_tag("a:b", "c") != model_tag("a", "b:c")


async def purge(http: aiohttp.ClientSession, key: str = ADMIN, **query: str) -> tuple[int, dict]:
    async with http.delete("/v1/cache", params=query, headers={"authorization": f"Bearer {key}"}) as reply:
        return reply.status, await reply.json()


async def test_the_route_purges_the_callers_own_tenant_and_tells_how_much() -> None:
    app = FakeApp()
    for tag in (model_tag("t", "fast"), model_tag("other", "fast"), key_tag("t", "k1"), user_tag("t", "ann"), DOCUMENT):
        await app.state.put("for " + tag, b"x", 60, (tag,))
    async with serving(app) as (url, _), aiohttp.ClientSession(url) as http:
        assert await purge(http, scope="model", id="fast") == (200, {"removed": 1})
        assert await purge(http, scope="tenant") == (200, {"removed": 0})
        assert await purge(http, scope="key", id="k1") == (200, {"removed": 1})
        assert await purge(http, scope="user", id="ann") == (200, {"removed": 1})
        assert await purge(http, scope="document", id=DOCUMENT) == (200, {"removed": 1})
        assert (await purge(http, scope="document", id="another"))[0] == 404
        assert (await purge(http, scope="everything"))[0] == 400
        assert (await purge(http, scope="model"))[0] == 400
        assert (await purge(http, scope="tenant", id="other"))[0] == 400
        assert (await purge(http, CHATTER, scope="tenant"))[0] == 403
    assert await app.state.get("for " + model_tag("other", "fast")) == b"x"
