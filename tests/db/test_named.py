"""Documents by whatever somebody calls them, on every engine: only those one may read."""

from __future__ import annotations

from tests.db.test_sources import brought, page

from bascule.core.principals import system_principal
from bascule.core.rights import Rights
from bascule.testing.catalogue_world import person

ANN, BEN = person("ann"), person("ben")


async def test_a_document_is_found_by_each_of_its_names_by_its_readers_alone(catalogue):
    await brought(catalogue, system_principal("acme"), page("open"))
    await brought(catalogue, ANN, page("closed", title="Plans"))
    (mine,) = await catalogue.documents_named(ANN, "closed", 5)
    await catalogue.set_rights(system_principal("acme"), mine.id, Rights.of(["user:ann"]))
    for name in (mine.id, mine.external_id, mine.name, mine.title):
        assert [d.id for d in await catalogue.documents_named(ANN, name, 5)] == [mine.id]
        assert await catalogue.documents_named(BEN, name, 5) == []
        assert await catalogue.documents_named(system_principal("else"), name, 5) == []
    assert len(await catalogue.documents_named(BEN, "open", 5)) == 1
    await catalogue.delete_document(system_principal("acme"), mine.id)
    assert await catalogue.documents_named(ANN, mine.id, 5) == []
    assert await catalogue.documents_named(ANN, "", 5) == []


async def test_titles_are_told_to_readers_alone(catalogue):
    await brought(catalogue, system_principal("acme"), page("open"))
    await brought(catalogue, ANN, page("closed", title="Plans"))
    (open_,) = await catalogue.documents_named(ANN, "open", 5)
    (mine,) = await catalogue.documents_named(ANN, "closed", 5)
    await catalogue.set_rights(system_principal("acme"), mine.id, Rights.of(["user:ann"]))
    wanted = (open_.id, mine.id, "unknown")
    assert await catalogue.titles(ANN, wanted) == {open_.id: open_.title or open_.name, mine.id: "Plans"}
    assert list(await catalogue.titles(BEN, wanted)) == [open_.id]
    assert await catalogue.titles(system_principal("else"), wanted) == await catalogue.titles(ANN, ()) == {}
