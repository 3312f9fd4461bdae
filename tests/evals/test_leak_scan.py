"""A canary is found however it is wrapped; what is not there is not found."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.evals.leaks.scan import leaks, shape
from bascule.evals.leaks.world import Person, World, canary

WORD = "zq0123456789abcdef"  # a fixed one: it is part of test names
FOREIGN = {WORD: "the text of hr", canary(): "another"}


def torn(word: str, at: int) -> bytes:
    parts = (word[:at], word[at:])
    events = [json.dumps({"choices": [{"delta": {"content": part}}]}) for part in parts]
    return "".join(f"data: {event}\n\n" for event in events).encode()


@pytest.mark.parametrize(
    "payload",
    [
        f"says {WORD}.".encode(),
        WORD.upper().encode(),
        json.dumps({"a": "".join(f"\\u{ord(c):04x}" for c in WORD)}).replace("\\\\u", "\\u").encode(),
        quote(f"?q={WORD}", safe="").encode(),
        "".join(f"%{ord(c):02x}" for c in WORD).encode(),
        *(torn(WORD, at) for at in range(1, len(WORD), 4)),
        json.dumps({WORD: 1}).encode(),
    ],
)
def test_a_canary_is_found_however_it_is_written(payload: bytes) -> None:
    assert leaks(payload, FOREIGN) == {WORD: "the text of hr"}


@given(st.binary(max_size=30), st.binary(max_size=30))
def test_a_canary_is_found_within_base64_wherever_it_begins(before: bytes, after: bytes) -> None:
    text = base64.b64encode(before + b" " * 12 + WORD.encode() + b" " * 12 + after)
    assert leaks(b'{"content": "' + text + b'"}', FOREIGN) == {WORD: "the text of hr"}


@given(st.text(max_size=300))
def test_nothing_is_found_where_nothing_is(text: str) -> None:
    assert leaks(json.dumps({"text": text}).encode(), FOREIGN) == {}


def test_a_shape_tells_of_lengths_and_keys_and_of_no_value() -> None:
    assert shape({"a": [1, 2], "b": "x"}) == shape({"b": "y", "a": [3, 4]})
    assert shape({"a": [1, 2]}) != shape({"a": [1]})


def test_the_oracle_denies_before_it_allows_and_counts_what_held_throughout() -> None:
    ann = Person(name="ann", tenant="t", subject="ann", groups={"hr"})
    world = World([ann])
    paper = world.paper("p", "t", {"group:hr"}, {"user:ann"})
    assert set(world.foreign(ann)) == {paper.text_canary, paper.title_canary}
    watch = world.watch(ann)
    paper.deny = set()
    world.changed()
    paper.deny = {"user:ann"}
    world.changed()
    assert world.end(watch) == {}
    other = Person(name="ann", tenant="u", subject="ann", groups={"hr"})
    paper.deny = set()
    assert not world.foreign(ann) and len(world.foreign(other)) == 2
    old = world.renew(paper)
    world.retire(old)
    assert set(world.foreign(ann)) == set(old)
