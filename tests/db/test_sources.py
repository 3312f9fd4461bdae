"""What the catalogue tells a sync of its source, on every engine."""

import pytest

from bascule.core.errors import ScopeMissing
from bascule.core.principals import system_principal
from bascule.core.rights import Rights
from bascule.testing.catalogue_world import PUBLIC, World, new_document, person

ANN, BEN = person("ann"), person("ben")


async def told(catalogue, who, collection="docs", source="source:s"):
    return await catalogue.source_items(who, collection, source)


async def brought(catalogue, who, *new, collection="docs"):
    target = await catalogue.ensure_collection(who, collection, fingerprint="", dimension=0, rights=Rights())
    return await catalogue.accept(who, target, list(new))


def page(name, text="text", source="source:s", **more):
    return new_document(name, text, PUBLIC, source=source, **more)


async def test_a_source_is_told_its_own_live_documents_with_what_it_said_of_them(catalogue):
    system = system_principal("acme")
    await brought(
        catalogue,
        system,
        page("a", metadata={"etag": "x"}),
        page("b"),
        page("upload", source="upload"),
        page("o", source="source:o"),
    )
    await brought(catalogue, system, page("c"), collection="other")
    found = await told(catalogue, system)
    assert sorted(found) == ["a", "b"] and found["a"].metadata == {"etag": "x"}
    assert (found["a"].rights.allow, found["a"].failed) == ({"public"}, False)
    await catalogue.delete_document(system, found["b"].document_id)
    assert sorted(await told(catalogue, system)) == ["a"]
    assert await told(catalogue, system, "nothing") == {} and await told(catalogue, system_principal("else")) == {}


async def test_what_failed_is_told_so(catalogue):
    world = World(catalogue)
    job = await brought(catalogue, world.system, page("a"))
    (item,) = await catalogue.claim(world.system, job.id, 10)
    await catalogue.fail_item(world.system, item, "broken", "unreadable", retry=False, report={})
    assert (await told(catalogue, world.system))["a"].failed


async def test_rights_that_wait_for_their_content_are_told_as_given(catalogue):
    world = World(catalogue)
    job = await brought(catalogue, world.system, page("a", "one"))
    (item,) = await catalogue.claim(world.system, job.id, 10)
    await world.commit(item, "one")
    closed = new_document("a", "two", Rights.of(["group:hr"]), source="source:s")
    await brought(catalogue, world.system, closed)
    assert (await told(catalogue, world.system))["a"].rights.allow == {"group:hr"}


async def test_it_is_told_only_to_those_who_may_read_and_bring_documents(catalogue):
    await brought(catalogue, ANN, new_document("a", "text", Rights.of(["user:ann"]), source="source:s"))
    assert list(await told(catalogue, ANN)) == ["a"] and await told(catalogue, BEN) == {}
    with pytest.raises(ScopeMissing):
        await told(catalogue, person("eve", ingest=False))
