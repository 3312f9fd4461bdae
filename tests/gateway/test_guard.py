from __future__ import annotations

import json

import pytest

from bascule.core.chat import OPENAI_CHAT, ChatRequest
from bascule.core.embedding import EmbeddingRequest
from bascule.core.errors import InvalidRequest, NotFound, TooLarge
from bascule.gateway.guard import FORBIDDEN
from bascule.gateway.routes import Options
from bascule.testing.gateway import ScriptedModel, bench, call, request


def raw(body: str) -> ChatRequest:
    return ChatRequest(wire=OPENAI_CHAT, body=body.encode(), view=json.loads(body), model="fast")


@pytest.mark.parametrize("field", sorted(FORBIDDEN))
async def test_a_caller_cannot_choose_where_a_call_goes_or_with_what_credential(field: str) -> None:
    model = ScriptedModel()
    with pytest.raises(InvalidRequest) as caught:
        await bench(model).gateway.chat(request(**{field: "http://evil.example"}), call())
    assert caught.value.param == field
    assert not model.requests


async def test_an_unknown_model_is_a_404_with_openais_code_and_its_record_is_counted_as_unknown() -> None:
    from bascule.gateway.metrics import CALLS

    b = bench(ScriptedModel())
    labels = ("unknown", "chat", "error", "BYPASS", "model_not_found")
    before = CALLS.labels(*labels)._value.get()
    with pytest.raises(NotFound) as caught:
        await b.gateway.chat(request(model="a-name-from-outside"), call())
    assert (caught.value.http_status, caught.value.code, caught.value.param) == (404, "model_not_found", "model")
    assert CALLS.labels(*labels)._value.get() == before + 1


@pytest.mark.parametrize(
    "messages", [None, [], "hello", [None], ["x"], [{}], [{"role": 1}], [{"role": "user", "content": 5}]]
)
async def test_messages_must_be_there_and_well_formed(messages: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await bench(ScriptedModel()).gateway.chat(request(messages=messages), call())
    assert str(caught.value.param).startswith("messages")


async def test_a_body_nested_deeper_than_the_limit_is_refused_and_one_at_the_limit_is_not() -> None:
    def nested(levels: int) -> ChatRequest:
        return raw(
            '{"model":"fast","messages":[{"role":"user","content":"x"}],"x":' + "[" * levels + "]" * levels + "}"
        )

    b = bench(ScriptedModel(), options=Options(max_depth=20))
    await b.gateway.chat(nested(19), call())
    with pytest.raises(TooLarge):
        await b.gateway.chat(nested(20), call())


async def test_many_brackets_side_by_side_are_not_depth() -> None:
    b = bench(ScriptedModel(), options=Options(max_depth=20))
    await b.gateway.chat(request(x=[[] for _ in range(1000)]), call())


async def test_a_body_larger_than_the_limit_is_refused() -> None:
    b = bench(ScriptedModel(), options=Options(max_request_bytes=1000))
    with pytest.raises(TooLarge):
        await b.gateway.chat(request("x" * 1000), call())


@pytest.mark.parametrize(
    "body",
    [
        '{"model":"fast","messages":[{"role":"user","content":"a"}],"messages":[{"role":"user","content":"b"}]}',
        '{"model":"other","model":"fast","messages":[{"role":"user","content":"a"}]}',
        '{"\\u006dodel":"other","model":"fast","messages":[{"role":"user","content":"a"}]}',
    ],
)
async def test_a_field_given_twice_is_refused_since_vendor_and_cache_could_read_it_differently(body: str) -> None:
    with pytest.raises(InvalidRequest, match="twice"):
        await bench(ScriptedModel()).gateway.chat(raw(body), call())


async def test_a_field_name_that_occurs_inside_is_no_duplicate() -> None:
    await bench(ScriptedModel()).gateway.chat(request("x", user="u", metadata={"model": "m", "messages": 1}), call())


async def test_a_label_of_the_end_user_is_kept_without_what_a_database_refuses_to_read() -> None:
    chat, embedding = call(), call()
    await bench(ScriptedModel()).gateway.chat(request("x", user="a\0b"), chat)
    asked = EmbeddingRequest(model="fast", texts=("a",), user="\0c" + "d" * 300)
    await bench(ScriptedModel()).gateway.embed(asked, embedding)
    assert (chat.end_user, embedding.end_user) == ("ab", "c" + "d" * 254)


@pytest.mark.parametrize("texts", [(), ("",), ("a", "")])
async def test_texts_to_embed_must_be_there(texts: tuple[str, ...]) -> None:
    with pytest.raises(InvalidRequest):
        await bench(ScriptedModel()).gateway.embed(EmbeddingRequest(model="fast", texts=texts), call())


async def test_too_many_texts_at_once_are_refused() -> None:
    with pytest.raises(TooLarge):
        await bench(ScriptedModel()).gateway.embed(EmbeddingRequest(model="fast", texts=("a",) * 2049), call())
