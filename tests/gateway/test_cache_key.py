"""The key: two bodies that a vendor may read differently never share one; order and white space do not matter."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bascule.core.chat import OPENAI_CHAT, ChatRequest
from bascule.core.principals import Principal
from bascule.gateway.cache_key import canonical, chat_key, names_twice, signature
from bascule.gateway.routes import Route, Target
from bascule.testing.gateway import ScriptedModel, bench, call, principal

ROUTE = Route(model="fast", targets=(Target(provider="p", model="m"),))
scalars = (
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**70), max_value=2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("Cs",)))
    | st.sampled_from(['":', ' " : ', '\\":', '{"a":1,"a":2}', "\\u0022", "\u2028", "é", "e\u0301"])
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
bodies = st.dictionaries(st.sampled_from(["a", "b", "seed", '":', "x y"]), values, max_size=4)
writers = st.sampled_from(
    [
        {},
        {"separators": (",", ":")},
        {"indent": 2},
        {"separators": (" , ", " : ")},
        {"ensure_ascii": False},
    ]
)


def key(body: bytes, who: Principal | None = None, route: Route = ROUTE) -> str:
    request = ChatRequest(wire=OPENAI_CHAT, body=body, view=msgspec.json.decode(body), model="fast")
    return chat_key(signature(route), route, who or principal(), b"chat", request)


def exact(value: Any) -> Any:
    """The value with every difference a parser could see: kinds of numbers, signs of zero."""
    if isinstance(value, dict):
        return {k: exact(v) for k, v in value.items()}
    if isinstance(value, list):
        return [exact(v) for v in value]
    return (type(value).__name__, repr(value))


def shuffled(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: shuffled(value[k]) for k in reversed(value)}
    return [shuffled(v) for v in value] if isinstance(value, list) else value


@settings(max_examples=150, deadline=None)
@given(bodies, bodies, writers, writers)
def test_bodies_share_a_key_exactly_when_they_say_the_same(one: Any, two: Any, write: Any, write_too: Any) -> None:
    same = exact(one) == exact(two)
    assert (key(json.dumps(one, **write).encode()) == key(json.dumps(two, **write_too).encode())) is same


@settings(max_examples=200, deadline=None)
@given(bodies, writers, writers)
def test_order_space_and_escapes_do_not_matter(body: Any, write: Any, write_too: Any) -> None:
    assert key(json.dumps(body, **write).encode()) == key(json.dumps(shuffled(body), **write_too).encode())


@settings(max_examples=200, deadline=None)
@given(bodies, writers)
def test_a_body_without_repeated_keys_is_never_taken_for_one_with(body: Any, write: Any) -> None:
    text = json.dumps(body, **write).encode()
    assert not names_twice(text, canonical(msgspec.json.decode(text)))


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":1,"a":2}',
        b'{"x":{"deep":[{"a":1,"a":1}]}}',
        b'{"a":1,"\\u0061":2}',
        b'{"x":{"a":1,"a":2,"b" :3}}',
        b'{"x":{"a":1,"a":2,"b"\n:3}}',
        b'{"x":{"a":1,"a":2},"t":"\\u0022:"}',
        b'{"x":{"a":1,"a":2},"t":"\\"\\u003a"}',
        b'{"x":{"a":1,"a":2},"t":"\\"\\u003A"}',
    ],
)
def test_a_key_given_twice_anywhere_leaves_no_one_key(body: bytes) -> None:
    assert key(body) == ""


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("1", "1.0"),
        ("0.0", "-0.0"),
        ("1", "true"),
        ("1", '"1"'),
        ("null", '"null"'),
        ("18446744073709551616", "1.8446744073709552e19"),
    ],
)
def test_forms_a_vendor_may_treat_differently_have_keys_of_their_own(one: str, two: str) -> None:
    assert key(b'{"a":%s}' % one.encode()) != key(b'{"a":%s}' % two.encode())


def test_a_narrower_scope_separates_keys_and_people() -> None:
    by_key = msgspec.structs.replace(ROUTE, cache_scope="key")
    by_user = msgspec.structs.replace(ROUTE, cache_scope="user")
    ann_1, ann_2, ben = (principal(key_id=k, subject=s) for k, s in (("k1", "ann"), ("k2", "ann"), ("k1", "ben")))
    assert len({key(b"{}", who, by_key) for who in (ann_1, ann_2, ben)}) == 3
    assert key(b"{}", ann_1, by_user) == key(b"{}", ann_2, by_user) != key(b"{}", ben, by_user)
    nobody = [key(b"{}", principal(key_id=k), by_user) for k in ("k1", "k2")]
    assert nobody[0] != nobody[1]
    assert key(b"{}", principal("a", "k"), by_key) != key(b"{}", principal("b", "k"), by_key)


async def test_a_body_with_a_nested_key_given_twice_is_passed_on_and_neither_shared_nor_kept() -> None:
    model = ScriptedModel()
    b = bench(model)
    body = b'{"model":"fast","messages":[{"role":"user","content":"hi"}],"knob":{"a":1,"a":2}}'
    asked = ChatRequest(wire=OPENAI_CHAT, body=body, view=msgspec.json.decode(body), model="fast")
    for _ in range(2):
        c = call()
        await b.gateway.chat(asked, c)
        assert (c.cache, c.cache_reason) == ("BYPASS", "the body names a field twice")
    assert len(model.requests) == 2
