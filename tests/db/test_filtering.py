"""Filters in SQL mean what they mean in `core.filters`, on every engine, and tell nothing of hidden documents."""

from __future__ import annotations

import random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bascule.core.filter_grammar import read_filter
from bascule.core.filters import Facts, matches
from bascule.core.rights import Rights
from bascule.db.filtering import matching_documents
from bascule.testing.catalogue_world import PUBLIC, World, person

ANN, BEN = person("ann"), person("ben")
HIDDEN = Rights.of(["user:ann"])
KEYS = ("a", "b c", "é", "lang", "source")
VALUES = (
    "x", "X", "xy", "é", "\U0001f600", "\uffff", "", " ", "1", "true", "2026-01-31", "a'b", "%", "_", "null", 'q"',
    0, 1, -1, 2, 0.1, 0.30000000000000004, 1.5, 1e300, -1e-300, 2**53, 2**53 - 1, 10**12, True, False,
)  # fmt: skip
KEPT = (
    *VALUES,
    None,
    [],
    ["x", 1, True, None],
    ["1", ["x"], {"a": "x"}],
    {"a": "x", "0": 1},
    2**70,
    "\0",
    "\\u0000",
    "\ud800",
)
FOLDERS = ("", "d/", "d/e/", "D/", "d%/", "é/")


def fields():
    own = st.sampled_from([*KEYS, "metadata.a", "metadata.source", "missing"])
    return own | st.sampled_from(["name", "title", "type", "external_id"])


def filters():
    value = st.sampled_from(VALUES) | st.floats(-(2**53), 2**53)
    equal = value.filter(lambda v: isinstance(v, str) or abs(v) <= 2**53)
    comparable = equal.filter(lambda v: not isinstance(v, bool))
    text = st.sampled_from([v for v in VALUES if isinstance(v, str)])
    own = st.sampled_from([*(k for k in KEYS if k != "source"), "metadata.a", "metadata.source", "missing"])
    one = st.one_of(
        st.builds(lambda f, op, v: {f: {op: v}}, own, st.sampled_from(["eq", "ne"]), equal),
        st.builds(lambda f, op, v: {f: {op: v}}, own, st.sampled_from(["lt", "lte", "gt", "gte"]), comparable),
        st.builds(lambda f, vs: {f: {"in": vs}}, own, st.lists(equal, min_size=1, max_size=4)),
        st.builds(lambda f, v: {f: {"exists": v}}, fields() | st.just("folder"), st.booleans()),
        st.builds(lambda f, op, v: {f: {op: v}}, st.sampled_from(["name", "title", "type", "source", "external_id"]),
                  st.sampled_from(["eq", "ne", "lt", "gte"]), text),
        st.builds(lambda v: {"folder": v}, st.sampled_from(["d", "d/e", "d%", "é", "D", "x"])),
        st.builds(lambda f, v: {f: {"gte": v}}, st.sampled_from(["created_at", "updated_at"]),
                  st.sampled_from(["2020-01-01", "2100-01-01"])),
    )  # fmt: skip
    return st.recursive(
        one,
        lambda inner: st.one_of(
            st.builds(lambda parts: {"and": parts}, st.lists(inner, min_size=1, max_size=3)),
            st.builds(lambda parts: {"or": parts}, st.lists(inner, min_size=1, max_size=3)),
            st.builds(lambda part: {"not": part}, inner),
        ),
        max_leaves=5,
    ).filter(lambda wanted: _depth(wanted) <= 5)


def _depth(wanted):
    nested = [*wanted.get("and", ()), *wanted.get("or", ()), *([wanted["not"]] if "not" in wanted else ())]
    return 1 + max(map(_depth, nested), default=0)


async def _stored(world, chance, number, rights):
    metadata = {key: chance.choice(KEPT) for key in KEYS if chance.random() < 0.6}
    name = chance.choice(FOLDERS) + f"{chance.choice(VALUES)}{number}"
    return await world.add(name, f"text {number}", rights=rights, metadata=metadata)


def _facts(document):
    return Facts(
        source=document.source,
        external_id=document.external_id,
        name=document.name,
        title=document.title,
        media_type=document.media_type,
        created_at=document.created_at,
        updated_at=document.updated_at,
        language=document.report.get("language"),
        metadata=document.metadata,
    )


async def test_sql_finds_the_visible_documents_that_match_and_no_others(catalogue):
    world, chance = World(catalogue), random.Random(5)
    kept = [await _stored(world, chance, n, PUBLIC) for n in range(40)]
    for n in range(20):
        await _stored(world, chance, 100 + n, HIDDEN)
    facts = {document.id: _facts(document) for document in kept}
    within = frozenset({kept[0].collection_id})

    @settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
    @given(filters())
    def agree(sent):
        wanted = read_filter(sent)
        found = catalogue._database.read_now(lambda c: matching_documents(c, BEN, within, wanted, 1000))
        assert found == {name for name, own in facts.items() if matches(wanted, own)}

    agree()


async def test_a_filter_on_what_only_hidden_documents_have_finds_nothing_and_fails_for_nothing(catalogue):
    world = World(catalogue)
    shown = await world.add("shown", "x", rights=PUBLIC, metadata={"n": 1})
    for number, value in enumerate((10**40, "\0", "\\u0000", [[[]]], {"deep": {"er": 1}}, "1e999999", -0.0)):
        await world.add(f"hidden{number}", "y", rights=HIDDEN, metadata={"n": value, "only": "here"})
    within = frozenset({shown.collection_id})
    for sent in ({"only": {"exists": True}}, {"only": "here"}, {"n": {"gt": 1}}, {"n": {"lt": "z"}}):
        assert await catalogue.matching_documents(BEN, within, read_filter(sent), 100) == frozenset()
    assert await catalogue.matching_documents(BEN, within, read_filter({"n": {"lt": 2}}), 100) == {shown.id}


async def test_more_than_asked_for_is_told_of_visible_documents_alone(catalogue):
    world = World(catalogue)
    for n in range(3):
        shown = await world.add(f"shown{n}", "x", rights=PUBLIC, metadata={"n": n})
        await world.add(f"hidden{n}", "y", rights=HIDDEN, metadata={"n": n})
    within, wanted = frozenset({shown.collection_id}), read_filter({"n": {"gte": 0}})
    assert len(await catalogue.matching_documents(BEN, within, wanted, 3) or ()) == 3
    assert await catalogue.matching_documents(BEN, within, wanted, 2) is None
    assert await catalogue.matching_documents(ANN, within, wanted, 5) is None
    assert await catalogue.matching_documents(BEN, frozenset({"elsewhere"}), wanted, 2) == frozenset()


async def test_values_and_names_are_bound(catalogue):
    world = World(catalogue)
    kept = await world.add("a", "x", rights=PUBLIC, metadata={"a": "' OR '1'='1"})
    await world.add("b", "x", rights=PUBLIC, metadata={"a": "x"})
    within = frozenset({kept.collection_id})
    assert await catalogue.matching_documents(BEN, within, read_filter({"a": "' OR '1'='1"}), 9) == {kept.id}
