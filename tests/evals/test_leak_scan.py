"""A canary is found however it is wrapped; what is not there is not found."""

from __future__ import annotations

import asyncio
import base64
import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.core.errors import NotFound
from bascule.evals.leaks import audit
from bascule.evals.leaks.acts import Act
from bascule.evals.leaks.judge import Finding
from bascule.evals.leaks.scan import leaks, shape
from bascule.evals.leaks.shrink import shortest
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
        json.dumps({"a": [{"b": "".join(f"\\u{ord(c):04x}" for c in WORD.upper())}]}).replace("\\\\u", "\\u").encode(),
    ],
)
def test_a_canary_is_found_however_it_is_written(payload: bytes) -> None:
    assert leaks(payload, FOREIGN) == {WORD: "the text of hr"}


@given(st.binary(max_size=30), st.binary(max_size=30))
def test_a_canary_is_found_within_base64_wherever_it_begins(before: bytes, after: bytes) -> None:
    text = base64.b64encode(before + b" " * 12 + WORD.encode() + b" " * 12 + after)
    assert leaks(b'{"content": "' + text + b'"}', FOREIGN) == {WORD: "the text of hr"}


@given(
    st.binary(max_size=30), st.binary(max_size=30), st.sampled_from([WORD, WORD.upper()]), st.text("ab3", max_size=3)
)
def test_the_alphabet_of_urls_and_what_stands_before_hide_nothing(
    before: bytes, after: bytes, word: str, beside: str
) -> None:
    text = base64.urlsafe_b64encode(before + word.encode() + after)
    assert leaks(beside.encode() + text, FOREIGN) == {WORD: "the text of hr"}


@given(st.text(max_size=300))
def test_nothing_is_found_where_nothing_is(text: str) -> None:
    assert leaks(json.dumps({"text": text}).encode(), FOREIGN) == {}


def test_a_shape_tells_of_lengths_and_keys_and_of_no_value() -> None:
    assert shape({"a": [1, 2], "b": "x"}) == shape({"b": "y", "a": [3, 4]})
    assert shape({"a": [1, 2]}) != shape({"a": [1]})
    assert shape({"a": "xx"}) != shape({"a": "x"})


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


def test_the_oracle_knows_that_a_group_more_also_takes_away_and_that_a_group_left_out_shuts_out() -> None:
    ann = Person(name="ann", tenant="t", subject="ann", groups={"all"})
    world = World([ann])
    paper = world.paper("p", "t", {"group:all"}, {"group:hr"})
    assert paper.read_by(ann)
    watch = world.watch(ann)
    ann.between = [({"all"}, {"all", "hr"}), ({"all", "hr"}, {"all", "hr"})]
    world.changed()
    assert paper.read_by(ann), "it may be as it was"
    ann.directory, ann.between = {"all", "hr"}, []
    world.changed()
    assert not paper.read_by(ann), "the key has all alone, and ann is in hr"
    assert world.end(watch) == {}


def test_an_administrator_may_see_what_lives_in_its_tenant_and_no_more() -> None:
    chief = Person(name="administrator", tenant="t", subject="", admin=True)
    world = World([], [chief])
    papers = [world.paper("p", "t", ()), world.paper("q", "u", ("public",)), world.paper("r", "t", ())]
    papers[2].deleted = True
    old = world.renew(papers[0])
    world.retire(old)
    world.changed()
    hidden = {word for paper in papers[1:] for word in (paper.text_canary, paper.title_canary)}
    assert set(world.end(world.watch(chief))) == hidden | set(old)
    assert [world.an_earlier_name(word, chief) for word in old] == [False, True]


@given(st.lists(st.integers(0, 40), unique=True, min_size=1, max_size=30), st.data())
def test_what_is_left_of_a_failing_list_fails_and_can_lose_nothing(acts: list[int], data: st.DataObject) -> None:
    guilty = set(data.draw(st.lists(st.sampled_from(acts), max_size=4)))

    async def fails(fewer: tuple[int, ...]) -> bool:
        return guilty <= set(fewer)

    left, tries = asyncio.run(shortest(acts, fails, 1_000))
    assert set(left) == guilty and list(left) == [act for act in acts if act in guilty]
    few, made = asyncio.run(shortest(acts, fails, 2))
    assert guilty <= set(few) and made <= 2 and tries < 1_000


async def test_acts_that_cannot_be_done_again_without_the_others_do_not_end_the_audit(monkeypatch) -> None:
    acts, finding = (
        tuple(Act(kind="delete", name=paper) for paper in "abc"),
        Finding(kind="canary", who="", where="", what=""),
    )
    cleaned = []

    class Again:
        def __init__(self, client, admins, plan, script) -> None:
            self.office, self._script = self, script

        async def go(self, tell) -> list[Finding]:
            if acts[0] not in self._script:
                raise NotFound("There is no such paper.")
            return [finding]

        async def clean(self) -> None:
            cleaned.append(self._script)

    monkeypatch.setattr(audit, "Run", Again)
    plan = audit.Plan(tries=10)
    left, tries = await audit._shortened(None, {}, plan, (finding, acts), lambda *_: None)
    assert left == acts[:1] and len(cleaned) == tries > 1
