from __future__ import annotations

import zlib

import msgspec
import pytest

from bascule.core.calls import CacheDirectives
from bascule.core.embedding import EmbeddingRequest
from bascule.core.principals import Principal, system_principal
from bascule.gateway.kept import NotCached
from bascule.gateway.routes import Options
from bascule.plugins.state_stores.memory import MemoryState
from bascule.testing.gateway import (
    ScriptedModel,
    bench,
    call,
    collect,
    http_client,
    openai_provider,
    principal,
    request,
)
from bascule.testing.state_store_contract import HandClock
from bascule.testing.upstream import Fault, fake_upstream


async def test_the_same_request_is_answered_once_and_then_from_the_cache() -> None:
    model = ScriptedModel()
    b = bench(model)
    first, second = call(), call()
    one = await b.gateway.chat(request(), first)
    two = await b.gateway.chat(request(), second)
    assert one == two
    assert (first.cache, second.cache, len(model.requests)) == ("MISS", "HIT", 1)
    assert second.cache_reason


async def test_key_order_and_white_space_do_not_matter_but_every_value_does() -> None:
    async with fake_upstream() as up, http_client() as http:
        b = bench(openai_provider(up.url, http))
        await b.gateway.chat(request(temperature=1, seed=2), call())
        same = call()
        await b.gateway.chat(request(seed=2, temperature=1), same)
        assert same.cache == "HIT"
        for fields in (
            {"temperature": 1.0, "seed": 2},
            {"temperature": "1", "seed": 2},
            {"temperature": 1, "seed": 2, "vendor_knob": None},
            {"temperature": 1, "seed": 2, "vendor_knob": {"deep": [1]}},
            {"temperature": 1, "seed": 2, "vendor_knob": {"deep": ["1"]}},
            {"temperature": 1, "seed": 2, "user": "u"},
        ):
            other = call()
            await b.gateway.chat(request(**fields), other)
            assert other.cache == "MISS", fields
        assert len(up.calls) == 7


async def test_a_stream_and_a_plain_request_are_separate_entries_and_a_stream_is_replayed_as_it_was() -> None:
    async with fake_upstream() as up, http_client() as http:
        b = bench(openai_provider(up.url, http))
        await b.gateway.chat(request(), call())
        first, second = call(), call()
        one = await collect(await b.gateway.stream(request(stream=True), first))
        two = await collect(await b.gateway.stream(request(stream=True), second))
        assert [c.data for c in one] == [c.data for c in two]
        assert two[-1].data == b"[DONE]"
        assert (first.cache, second.cache, len(up.calls)) == ("MISS", "HIT", 2)


async def test_tenants_never_share_an_answer() -> None:
    model = ScriptedModel()
    b = bench(model)
    await b.gateway.chat(request(), call(principal("a")))
    other = call(principal("b"))
    await b.gateway.chat(request(), other)
    assert (other.cache, len(model.requests)) == ("MISS", 2)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (principal("ab", "c"), principal("a", "bc")),
        (principal('a","b', "c"), principal("a", 'b","c')),
    ],
)
async def test_names_that_run_together_are_still_two_tenants(one: Principal, two: Principal) -> None:
    model = ScriptedModel()
    b = bench(model, cache_scope="key")
    await b.gateway.chat(request(), call(one))
    await b.gateway.chat(request(), call(two))
    assert len(model.requests) == 2


async def test_a_route_may_narrow_the_scope_to_one_key() -> None:
    model = ScriptedModel()
    wide, narrow = bench(model), bench(ScriptedModel(), cache_scope="key")
    for b, verdict in ((wide, "HIT"), (narrow, "MISS")):
        await b.gateway.chat(request(), call(principal(key_id="one")))
        second = call(principal(key_id="two"))
        await b.gateway.chat(request(), second)
        assert second.cache == verdict


@pytest.mark.parametrize(
    "fault",
    [
        Fault(content=""),
        Fault(content=" \n\t "),
        Fault(finish="length"),
        Fault(finish="content_filter"),
        Fault(raw=b'{"choices":[{"message":{"content":null},"finish_reason":"stop"}]}'),
        Fault(raw=b'{"choices":[{"message":{"content":"I can not","refusal":"no"},"finish_reason":"stop"}]}'),
        Fault(raw=b'{"choices":[{"message":{"content":"no finish"}}]}'),
        Fault(
            raw=b'{"choices":[{"message":{"content":"a"},"finish_reason":"stop"},{"message":{"content":""},"finish_reason":"stop"}]}'
        ),
    ],
    ids=["empty", "white space", "truncated", "filtered", "null", "refused", "unfinished", "one of two empty"],
)
async def test_an_answer_that_is_not_good_is_never_kept(fault: Fault) -> None:
    async with fake_upstream() as up, http_client() as http:
        b = bench(openai_provider(up.url, http))
        up.always = fault
        for _ in range(2):
            again = call()
            await b.gateway.chat(request(), again)
            assert again.cache == "MISS"
        assert len(up.calls) == 2


@pytest.mark.parametrize(
    "fault", [Fault(content=""), Fault(content="  "), Fault(finish="length"), Fault(finish="content_filter")]
)
async def test_a_stream_that_is_not_good_is_never_kept(fault: Fault) -> None:
    async with fake_upstream() as up, http_client() as http:
        b = bench(openai_provider(up.url, http))
        up.always = fault
        for _ in range(2):
            await collect(await b.gateway.stream(request(stream=True), call()))
        assert len(up.calls) == 2


async def test_a_tool_call_without_text_is_a_good_answer_plain_and_streamed() -> None:
    tool = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    async with fake_upstream() as up, http_client() as http:
        b = bench(openai_provider(up.url, http))
        up.always = Fault(finish="tool_calls", tool_calls=tool)
        for _ in range(2):
            await b.gateway.chat(request(), call())
            await collect(await b.gateway.stream(request(stream=True), call()))
        assert len(up.calls) == 2


async def test_an_error_is_never_kept() -> None:
    async with fake_upstream() as up, http_client() as http:
        b = bench(openai_provider(up.url, http))
        up.faults.append(Fault(status=400))
        with pytest.raises(Exception, match="400"):
            await b.gateway.chat(request(), call())
        assert (await b.gateway.chat(request(), call())).text


async def test_request_directives_narrow_what_the_route_allows() -> None:
    model = ScriptedModel()
    b = bench(model)

    async def verdict(**wishes: object) -> str:
        c = call(directives=CacheDirectives(**wishes))  # type: ignore[arg-type]
        await b.gateway.chat(request(), c)
        return c.cache

    assert await verdict(no_store=True) == "BYPASS"
    assert await verdict() == "MISS"
    assert await verdict() == "HIT"
    assert await verdict(no_store=True) == "BYPASS"
    assert await verdict(no_cache=True) == "BYPASS"
    assert await verdict(max_age_s=100) == "HIT"
    assert await verdict(max_age_s=-1) == "MISS"
    assert len(model.requests) == 5


async def test_no_cache_refreshes_what_is_kept() -> None:
    model = ScriptedModel()
    b = bench(model)
    await b.gateway.chat(request(), call())
    fresh = await b.gateway.chat(request(), call(directives=CacheDirectives(no_cache=True)))
    assert (await b.gateway.chat(request(), call())).text == fresh.text == "ok 2"


async def test_an_entry_lives_no_longer_than_its_route_says_and_at_least_nine_tenths_of_it() -> None:
    clock = HandClock()
    model = ScriptedModel()
    b = bench(model, state=MemoryState(clock=clock), cache_ttl_s=60)
    await b.gateway.chat(request(), call())
    clock.move(53.9)
    await b.gateway.chat(request(), call())
    assert len(model.requests) == 1
    clock.move(6.2)
    await b.gateway.chat(request(), call())
    assert len(model.requests) == 2


async def test_a_route_without_cache_bypasses_and_says_so() -> None:
    b = bench(ScriptedModel(), cache_ttl_s=0)
    c = call()
    await b.gateway.chat(request(), c)
    assert (c.cache, c.cache_reason) == ("BYPASS", "off for this model")


async def test_an_answer_from_a_document_goes_with_the_document() -> None:
    model = ScriptedModel()
    b = bench(model)
    await b.gateway.chat(request(), call(document_ids=frozenset({"d1", "d2"})))
    assert await b.state.purge("d2") == 1
    again = call()
    await b.gateway.chat(request(), again)
    assert again.cache == "MISS"


async def test_an_answer_under_way_while_its_document_is_deleted_is_not_kept() -> None:
    import asyncio

    gate = asyncio.Event()
    model = ScriptedModel(gate=gate)
    b = bench(model)
    running = asyncio.create_task(b.gateway.chat(request(), call(document_ids=frozenset({"d1"}))))
    while not model.requests:
        await asyncio.sleep(0)
    await b.state.purge("d1")
    gate.set()
    await running
    again = call()
    await b.gateway.chat(request(), again)
    assert again.cache == "MISS"


async def test_texts_already_embedded_are_not_sent_again() -> None:
    model = ScriptedModel()
    b = bench(model)
    await b.gateway.embed(EmbeddingRequest(model="fast", texts=("a", "bb")), call())
    mixed = await b.gateway.embed(EmbeddingRequest(model="fast", texts=("bb", "ccc", "a")), call())
    assert model.embedded == [("a", "bb"), ("ccc",)]
    assert [int.from_bytes(v, "little") for v in mixed.vectors] == [2, 3, 1]
    hit = call()
    await b.gateway.embed(EmbeddingRequest(model="fast", texts=("ccc",)), hit)
    assert hit.cache == "HIT"


async def test_vectors_are_apart_by_tenant_purpose_and_dimensions() -> None:
    model = ScriptedModel()
    b = bench(model)
    base = EmbeddingRequest(model="fast", texts=("a",))
    await b.gateway.embed(base, call())
    await b.gateway.embed(base, call(principal("other")))
    await b.gateway.embed(EmbeddingRequest(model="fast", texts=("a",), purpose="query"), call())
    await b.gateway.embed(EmbeddingRequest(model="fast", texts=("a",), dimensions=4), call())
    assert len(model.embedded) == 4


async def test_vectors_of_two_models_are_never_mixed_in_one_answer() -> None:
    model = ScriptedModel()
    b = bench(model)
    await b.gateway.embed(EmbeddingRequest(model="fast", texts=("a",)), call())
    model.fingerprint = "scripted:2"
    mixed = await b.gateway.embed(EmbeddingRequest(model="fast", texts=("a", "bb")), call())
    assert model.embedded == [("a",), ("bb",), ("a", "bb")]
    assert mixed.fingerprint == "scripted:2"


async def test_documents_that_the_catalogue_keeps_do_not_fill_the_cache() -> None:
    model = ScriptedModel()
    b = bench(model)
    for _ in range(2):
        c = call(system_principal("t"))
        await b.gateway.embed(EmbeddingRequest(model="fast", texts=("a",), purpose="document"), c)
        assert c.cache == "BYPASS"
    assert len(model.embedded) == 2


# ---------------------------------------------------------------- how entries are kept


async def test_only_if_cached_answers_from_the_cache_or_not_at_all() -> None:
    model = ScriptedModel()
    b = bench(model)
    wish = CacheDirectives(only_if_cached=True)
    with pytest.raises(NotCached) as caught:
        await b.gateway.chat(request(), call(directives=wish))
    with pytest.raises(NotCached):
        await b.gateway.embed(EmbeddingRequest(model="fast", texts=("a",)), call(directives=wish))
    assert caught.value.http_status == 504
    await b.gateway.chat(request(), call())
    hit = call(directives=wish)
    await b.gateway.chat(request(), hit)
    assert (hit.cache, len(model.requests), model.embedded) == ("HIT", 1, [])


async def test_a_hit_knows_its_age() -> None:
    b = bench(ScriptedModel())
    first, second = call(), call()
    await b.gateway.chat(request(), first)
    await b.gateway.chat(request(), second)
    assert first.age_s is None
    assert 0 <= (second.age_s or 0) < 5


@pytest.mark.parametrize(
    "poison",
    [
        b"",
        b"\x00",
        b"not msgpack at all",
        b"\x78\x9cbroken",
        zlib.compress(b"x" * 100),
        zlib.compress(b"")[:-2],
        msgspec.msgpack.encode([1.0]),
        msgspec.msgpack.encode([1.0, {"wire": "x"}]),
        msgspec.msgpack.encode({"stored_at_s": 1.0}),
    ],
)
async def test_an_entry_that_cannot_be_read_is_a_miss_and_is_replaced(poison: bytes) -> None:
    state = MemoryState()
    model = ScriptedModel()
    b = bench(model, state=state)
    first, second, third = call(), call(), call()
    await b.gateway.chat(request(), first)
    await state.put(first.shared_key, poison, 60)
    await b.gateway.chat(request(), second)
    await b.gateway.chat(request(), third)
    assert (second.cache, third.cache, len(model.requests)) == ("MISS", "HIT", 2)
    await collect(await b.gateway.stream(request(stream=True), first))
    await state.put(first.shared_key, poison, 60)
    await collect(await b.gateway.stream(request(stream=True), second))
    assert second.cache == "MISS"


async def test_an_entry_of_the_version_before_is_a_miss() -> None:
    state = MemoryState()
    b = bench(ScriptedModel(), state=state)
    c = call()
    response = await b.gateway.chat(request(), c)
    await state.put(c.shared_key, msgspec.msgpack.encode([1.0, response]), 60)
    again = call()
    await b.gateway.chat(request(), again)
    assert again.cache == "MISS"


async def test_a_forged_entry_cannot_grow_without_bound() -> None:
    state = MemoryState()
    b = bench(ScriptedModel(), state=state, options=Options(cache_max_entry_bytes=1000))
    c = call()
    await b.gateway.chat(request(), c)
    await state.put(c.shared_key, zlib.compress(b"\0" * 50_000_000), 60)
    again = call()
    await b.gateway.chat(request(), again)
    assert again.cache == "MISS"


@pytest.mark.parametrize("words", [10, 2_000, 60_000])
async def test_large_answers_are_kept_smaller_and_come_back_the_same(words: int) -> None:
    state = MemoryState()
    text = "many words make a large answer " * (words // 6 + 1)
    b = bench(ScriptedModel(text), state=state)
    first, second = call(), call()
    one = await b.gateway.chat(request(), first)
    two = await b.gateway.chat(request(), second)
    kept = await state.get(first.shared_key)
    assert kept is not None
    assert (one, second.cache) == (two, "HIT")
    assert (len(kept) < len(text) / 10) is (words > 10)


async def test_entries_made_at_once_do_not_expire_at_once() -> None:
    clock = HandClock()
    model = ScriptedModel()
    b = bench(model, state=MemoryState(clock=clock), cache_ttl_s=100)
    for i in range(100):
        await b.gateway.chat(request(f"q{i}"), call())
    clock.move(95)
    for i in range(100):
        await b.gateway.chat(request(f"q{i}"), call())
    assert 120 < len(model.requests) < 180
