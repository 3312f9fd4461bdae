"""Inherited rights: rules on collections, sources and folders, in force at commit, without touching a chunk."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bascule.core.errors import InvalidRequest, NotFound, ScopeMissing
from bascule.core.principals import SCOPE_ADMIN, SCOPE_AUDIT, Principal
from bascule.core.rights import Given, Level, Reason, Rights, effective, may_read, reason
from bascule.db.catalogue import SqlCatalogue
from bascule.testing.catalogue_world import World, admin, new_document, person

ANN, BEN, HAL = person("ann"), person("ben"), person("hal", "hr")
AUDITOR = Principal(tenant="acme", subject="joe", scopes=frozenset({SCOPE_AUDIT}), key_id="k")
HR = Rights.of(["group:hr"])


async def seen(world: World, *documents: object) -> list[list[bool]]:
    return [[await world.sees(who, d) for who in (ANN, BEN, HAL)] for d in documents]  # type: ignore[arg-type]


async def test_a_collections_rights_reach_its_documents_when_they_change_and_touch_no_chunk(
    catalogue: SqlCatalogue,
) -> None:
    world = World(catalogue)
    inheriting = await world.add("a", "x", by=ANN)
    own = await world.add("b", "y", by=ANN, rights=Rights.of(["user:ben"]))
    await world.drain()
    assert await seen(world, inheriting, own) == [[True, True, True], [True, True, False]]
    await catalogue.set_level(admin(), "collection", "handbook", HR)
    assert await seen(world, inheriting, own) == [[True, False, True], [True, True, False]]
    assert await world.drain() == []
    assert (await catalogue.document(admin(), inheriting.id)).rights == Rights.of(["group:hr"], owner="ann")
    later = await world.add("c", "z", by=ANN)
    assert await seen(world, later) == [[True, False, True]]


async def test_a_deny_on_a_level_shuts_out_of_documents_with_rights_of_their_own_too(catalogue: SqlCatalogue) -> None:
    world = World(catalogue)
    own = await world.add("a", "x", by=ANN, rights=Rights.of(["user:ben"]))
    await world.drain()
    await catalogue.set_level(admin(), "collection", "handbook", Rights.of(["public"], ["user:ben", "user:ann"]))
    assert await seen(world, own) == [[False, False, False]]
    assert await world.drain() == [("move", own.id)], (
        "only the first deny gives a document a set that depends on the level"
    )
    await catalogue.set_level(admin(), "collection", "handbook", Rights.of(["public"], ["user:ann"]))
    assert await seen(world, own) == [[False, True, False]]
    assert await world.drain() == []
    assert (await catalogue.change_rights(admin(), own.id, lambda now: now)).rights.deny == {"user:ann"}
    await catalogue.set_level(admin(), "collection", "handbook", Rights.of(["public"]))
    assert await seen(world, own) == [[True, True, False]], "a change of the document kept no copy of the level's deny"


async def test_the_narrowest_folder_says_who_is_let_in(catalogue: SqlCatalogue) -> None:
    world = World(catalogue)
    top, deep, beside = [await world.add(name, name, by=admin()) for name in ("hr/a", "hr/pay/b", "hrx/c")]
    await catalogue.set_level(admin(), "folder", "hr/", HR, "handbook")
    await catalogue.set_level(admin(), "folder", "hr/pay/", Rights.of(["user:ben"]), "handbook")
    assert await seen(world, top, deep, beside) == [[False, False, True], [False, True, False], [True, True, True]]
    await world.add("hr/pay/x", "x", collection="other")
    await catalogue.set_level(admin(), "folder", "hr/pay/", Rights(), "other")
    assert await seen(world, deep) == [[False, True, False]], "the same path of another collection is another folder"
    await catalogue.set_level(admin(), "folder", "hr/pay/", Rights(), "handbook")
    assert await seen(world, deep) == [[False, False, True]], "a rule without marks says nothing"


async def test_a_folder_without_a_collection_is_not_found(catalogue: SqlCatalogue) -> None:
    world = World(catalogue)
    await world.add("hr/a", "x")
    for collection in ("", "nosuch"):
        with pytest.raises(NotFound):
            await catalogue.set_level(admin(), "folder", "hr/", HR, collection)
    with pytest.raises(NotFound):
        await catalogue.set_level(admin("other"), "folder", "hr/", HR, "handbook")
    with pytest.raises(InvalidRequest):
        await catalogue.set_level(admin(), "folder", "hr", HR, "handbook")
    with pytest.raises(ScopeMissing):
        await catalogue.set_level(ANN, "collection", "handbook", Rights.of(["user:ann"]))
    with pytest.raises(ScopeMissing):
        await catalogue.levels(ANN)


async def test_a_document_follows_the_source_that_brings_it_now(catalogue: SqlCatalogue) -> None:
    world = World(catalogue)
    await catalogue.set_level(admin(), "source", "secret", Rights.of(["user:ann"], ["group:hr"]))

    async def bring(source: str, text: str) -> str:
        job = await world.accept(admin(), new_document("a", text, source=source))
        for item in await world.claim(job):
            await world.commit(item, text)
        return job.items[0].document_id

    document = await catalogue.document(admin(), await bring("open", "one"))
    assert await seen(world, document) == [[True, True, True]]
    await bring("secret", "two")
    assert await seen(world, document) == [[True, False, False]]
    await bring("open", "three")
    assert await seen(world, document) == [[True, True, True]]


async def test_a_document_with_own_rights_can_inherit_again(catalogue: SqlCatalogue) -> None:
    world = World(catalogue)
    document = await world.add("a", "x", by=ANN, rights=Rights())
    with pytest.raises(NotFound):
        await catalogue.inherit_rights(BEN, document.id)
    assert (await catalogue.inherit_rights(ANN, document.id)).rights == Rights.of(["public"], owner="ann")
    await catalogue.set_rights(ANN, document.id, Rights.of(["public"]))
    await catalogue.set_level(admin(), "collection", "handbook", HR)
    assert await seen(world, document) == [[True, True, True]], (
        "rights given whole are its own, even where they are equal"
    )


async def test_why_names_the_rule_that_decided(catalogue: SqlCatalogue) -> None:
    world = World(catalogue)
    document = await world.add("hr/a", "x", by=ANN)
    await catalogue.set_level(admin(), "folder", "hr/", Rights.of(["group:hr"], ["user:ben"]), "handbook")
    found = [await catalogue.why(AUDITOR, document.id, who) for who in (ANN, BEN, HAL, person("zoe"), admin())]
    assert found == [
        Reason(allowed=True, effect="owner", level="document", mark="user:ann"),
        Reason(allowed=False, effect="deny", level="folder", name="hr/", mark="user:ben"),
        Reason(allowed=True, effect="allow", level="folder", name="hr/", mark="group:hr"),
        Reason(allowed=False, effect="none"),
        Reason(allowed=True, effect="admin"),
    ]
    with pytest.raises(ScopeMissing):
        await catalogue.why(ANN, document.id, ANN)
    for who, target in ((AUDITOR, "missing"), (Principal(tenant="other", scopes=AUDITOR.scopes), document.id)):
        with pytest.raises(NotFound):
            await catalogue.why(who, target, ANN)


async def test_documents_taken_in_while_a_level_changes_miss_nothing(catalogue: SqlCatalogue) -> None:
    world = World(catalogue)
    await world.collection()
    rules = [Rights.of(["public"]), Rights.of(["group:hr"], ["user:ben"])] * 5

    async def change() -> None:
        for rights in rules:
            await catalogue.set_level(admin(), "folder", "hr/", rights, "handbook")

    documents, _ = await asyncio.gather(
        asyncio.gather(*(world.add(f"hr/{n}", "x", by=person(f"p{n}")) for n in range(8))), change()
    )
    assert await seen(world, *documents) == [[False, False, True]] * 8


MARKS = st.sampled_from(["public", "user:ann", "user:ben", "group:hr", "role:boss"])
SETS = st.frozensets(MARKS, max_size=3)
LEVELS = st.lists(
    st.builds(
        Level,
        kind=st.sampled_from(["collection", "source", "folder"]),
        name=st.sampled_from(["a/", "a/b/"]),
        allow=SETS,
        deny=SETS,
    ),
    max_size=4,
)
GIVEN = st.builds(Given, allow=st.none() | SETS, deny=SETS, owner=st.sampled_from(["", "ann"]))
ASKERS = st.builds(
    Principal,
    tenant=st.just("acme"),
    subject=st.sampled_from(["", "ann", "ben"]),
    groups=st.frozensets(st.just("hr")),
    scopes=st.sampled_from([frozenset[str](), frozenset({SCOPE_ADMIN})]),
)


@settings(max_examples=300, deadline=None)
@given(GIVEN, LEVELS, ASKERS)
def test_the_reason_and_the_rights_in_force_never_disagree(own: Given, levels: list[Level], asker: Principal) -> None:
    found = reason(own, levels, asker)
    assert found.allowed == may_read(effective(own, levels), asker)
    if found.effect == "deny" and found.level != "document":
        assert any(found.mark in level.deny and level.name == found.name for level in levels)
