"""What must be identical for one question to be given the answer of another: everything but how it is worded."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from bascule.core.chat import ANTHROPIC_MESSAGES, OPENAI_CHAT, OPENAI_RESPONSES, ChatRequest
from bascule.core.principals import Principal
from bascule.gateway.semantic import without_question
from bascule.testing.gateway import Bench, ScriptedModel, call, collect, principal, until
from bascule.testing.gateway import request as plain_request
from bascule.testing.semantic import ONE, OTHER, NearEmbedder, asked, semantic_bench


class AnyWire(ScriptedModel):
    wires = frozenset({OPENAI_CHAT, ANTHROPIC_MESSAGES, OPENAI_RESPONSES})


def made(wire: str, **view: Any) -> ChatRequest:
    view = {"model": "fast", **view}
    return ChatRequest(wire=wire, body=msgspec.json.encode(view), view=view, model=str(view["model"]))


async def verdict(b: Bench, request: ChatRequest, who: Principal | None = None) -> str:
    one = call(who)
    await b.gateway.chat(request, one)
    return one.cache


@pytest.mark.parametrize(
    ("scope", "who", "hits"),
    [
        ("tenant", principal("t", "k2", "ben"), True),
        ("tenant", principal("u", "k1", "ann"), False),
        ("key", principal("t", "k2", "ann"), False),
        ("key", principal("t", "k1", "ann"), True),
        ("user", principal("t", "k2", "ben"), False),
        ("user", principal("t", "k2", "ann"), True),
        ("user", principal("t", "k2"), False),
        ("user", principal("u", "k1", "ann"), False),
    ],
)
async def test_answers_stay_within_their_scope(scope: str, who: Principal, hits: bool) -> None:
    embedder = NearEmbedder()
    b = semantic_bench(ScriptedModel(), embedder, cache_scope=scope)
    await asked(b, ONE, principal("t", "k1", "ann"))
    assert ((await asked(b, OTHER, who)).cache == "HIT") is hits
    assert bool(embedder.texts) is hits  # a stranger's question is not even compared


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ({}, {"temperature": 0}),
        ({"temperature": 1}, {"temperature": 1.0}),
        ({"temperature": 0.1}, {"temperature": 0.2}),
        ({}, {"vendor_knob": None}),
        ({"vendor_knob": {"deep": [1]}}, {"vendor_knob": {"deep": [2]}}),
        ({}, {"user": "ann"}),
        ({"user": "ann"}, {"user": "ben"}),
        ({"metadata": {"a": "1"}}, {"metadata": {"a": "2"}}),
        ({}, {"response_format": {"type": "json_object"}}),
        ({"max_tokens": 10}, {"max_tokens": 100}),
        ({"seed": 1}, {"seed": 2}),
        ({}, {"model": "other"}),
    ],
)
async def test_every_other_field_must_be_the_same(was: dict[str, Any], now: dict[str, Any]) -> None:
    b = semantic_bench(ScriptedModel())
    assert (await asked(b, ONE, **was)).cache == "MISS"
    assert (await asked(b, OTHER, **now)).cache == "MISS"
    assert (await asked(b, OTHER.upper(), **was)).cache == "HIT"


SYSTEM = {"role": "system", "content": "Answer in English."}
TURNS = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Good day."}]


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ([], [SYSTEM]),
        ([SYSTEM], [{**SYSTEM, "content": "Answer in English"}]),
        ([SYSTEM], [{**SYSTEM, "role": "developer"}]),
        ([SYSTEM], [SYSTEM, *TURNS]),
        (TURNS, [{**TURNS[0], "content": "hello"}, TURNS[1]]),
        (TURNS, [TURNS[0], {**TURNS[1], "content": "Good day!"}]),
    ],
)
async def test_what_was_said_before_must_be_the_same(was: list[Any], now: list[Any]) -> None:
    b = semantic_bench(ScriptedModel())
    await verdict(b, made(OPENAI_CHAT, messages=[*was, {"role": "user", "content": ONE}]))
    assert await verdict(b, made(OPENAI_CHAT, messages=[*now, {"role": "user", "content": OTHER}])) == "MISS"
    named = {"role": "user", "name": "ann", "content": OTHER}
    assert await verdict(b, made(OPENAI_CHAT, messages=[*was, named])) == "MISS"
    assert await verdict(b, made(OPENAI_CHAT, messages=[*was, {"role": "user", "content": ONE.upper()}])) == "HIT"


@pytest.mark.parametrize(
    ("wire", "field", "kind"),
    [
        (OPENAI_CHAT, "messages", "text"),
        (ANTHROPIC_MESSAGES, "messages", "text"),
        (OPENAI_RESPONSES, "input", "input_text"),
    ],
)
async def test_in_every_format_a_single_text_counts_as_plain_or_as_one_part(wire: str, field: str, kind: str) -> None:
    b = semantic_bench(AnyWire())

    def said(text: str) -> dict[str, Any]:
        return {field: [{"role": "user", "content": text}]}

    def in_part(text: str) -> dict[str, Any]:
        return {field: [{"role": "user", "content": [{"type": kind, "text": text}]}]}

    for form in (said, in_part):
        assert await verdict(b, made(wire, **form(ONE))) == "MISS"  # the other form is another body
        assert await verdict(b, made(wire, **form(OTHER))) == "HIT"


async def test_formats_and_plain_and_streamed_are_kept_apart() -> None:
    b = semantic_bench(AnyWire())
    await verdict(b, made(OPENAI_CHAT, messages=[{"role": "user", "content": ONE}]))
    assert await verdict(b, made(ANTHROPIC_MESSAGES, messages=[{"role": "user", "content": OTHER}])) == "MISS"
    streamed = call()
    await collect(await b.gateway.stream(plain_request(OTHER), streamed))
    assert streamed.cache == "MISS"


TEXT = {"type": "text", "text": ONE}


@pytest.mark.parametrize(
    ("wire", "view"),
    [
        (OPENAI_CHAT, {"messages": [{"role": "user", "content": [TEXT, TEXT]}]}),
        (
            OPENAI_CHAT,
            {"messages": [{"role": "user", "content": [TEXT, {"type": "image_url", "image_url": {"url": "data:"}}]}]},
        ),
        (OPENAI_CHAT, {"messages": [{"role": "user", "content": None}]}),
        (
            OPENAI_CHAT,
            {"messages": [{"role": "user", "content": ONE}, {"role": "tool", "tool_call_id": "1", "content": ONE}]},
        ),
        (OPENAI_CHAT, {"messages": [{"role": "user", "content": ONE}, {"role": "assistant", "content": ONE}]}),
        (OPENAI_CHAT, {"messages": [{"role": "user", "content": ONE}], "tools": [{"type": "function"}]}),
        (OPENAI_CHAT, {"messages": [{"role": "user", "content": ONE}], "functions": [{"name": "f"}]}),
        (OPENAI_CHAT, {"messages": []}),
        (OPENAI_CHAT, {"messages": [ONE]}),
        (OPENAI_CHAT, {"messages": ONE}),
        (ANTHROPIC_MESSAGES, {"messages": [{"role": "user", "content": [{"type": "tool_result", "content": ONE}]}]}),
        (ANTHROPIC_MESSAGES, {"messages": [{"role": "user", "content": ONE}], "mcp_servers": [{"name": "x"}]}),
        (OPENAI_RESPONSES, {"input": [{"type": "function_call_output", "output": ONE}]}),
        (OPENAI_RESPONSES, {"input": ONE, "previous_response_id": "r1"}),
        (OPENAI_RESPONSES, {"input": ONE, "conversation": "c1"}),
        (OPENAI_RESPONSES, {}),
    ],
)
def test_a_request_that_says_more_than_one_plain_text_is_left_alone(wire: str, view: dict[str, Any]) -> None:
    assert without_question(made(wire, **view)) is None


def test_the_body_without_its_question_is_the_same_for_every_wording_and_the_request_stays_as_it_was() -> None:
    one, other = (made(OPENAI_RESPONSES, input=text, top_p=1) for text in (ONE, OTHER))
    parted, again = without_question(one), without_question(other)
    assert parted is not None
    assert again is not None
    assert (parted[0], again[0], parted[1] == again[1], one.view["input"]) == (ONE, OTHER, True, ONE)


async def test_a_call_with_documents_is_neither_answered_so_nor_learnt_from() -> None:
    model = ScriptedModel()
    b = semantic_bench(model)

    async def ask(text: str, *documents: str) -> str:
        one = call(document_ids=frozenset(documents))
        await b.gateway.chat(plain_request(text), one)
        return one.cache

    assert [await ask(ONE, "d1"), await ask(OTHER)] == ["MISS", "MISS"]
    assert [await ask(ONE.upper(), "d1"), await ask(ONE.lower())] == ["MISS", "HIT"]
    assert len(model.requests) == 3


async def test_a_flight_that_a_call_with_documents_has_joined_teaches_nothing() -> None:
    model = ScriptedModel(gate=asyncio.Event())
    b = semantic_bench(model)
    leads = asyncio.create_task(b.gateway.chat(plain_request(ONE), call()))
    await until(lambda: model.requests)
    joined = call(document_ids=frozenset({"d1"}))
    joins = asyncio.create_task(b.gateway.chat(plain_request(ONE), joined))
    await until(lambda: model.calls[0].document_ids)
    assert model.gate is not None
    model.gate.set()
    await asyncio.gather(leads, joins)
    assert (await asked(b, OTHER)).cache == "MISS"
