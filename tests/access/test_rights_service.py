from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from bascule.access.directory import DirectoryService
from bascule.access.rights import RightsService
from bascule.core.errors import InvalidRequest, NotFound, ScopeMissing, StorageError
from bascule.core.rights import Rights
from bascule.core.rights_levels import Group
from bascule.db.catalogue import SqlCatalogue, connect
from bascule.testing.catalogue_world import World, admin, person

ANN, BEN = person("ann"), person("ben")


@pytest.fixture
async def catalogue(tmp_path: Path) -> AsyncGenerator[SqlCatalogue]:
    async with connect(f"sqlite:///{tmp_path}/c.sqlite", f"sqlite:///{tmp_path}/l.sqlite") as opened:
        yield opened


async def test_granting_and_revoking_is_effective_at_once_and_audited(catalogue: SqlCatalogue) -> None:
    world, service = World(catalogue), RightsService(catalogue, catalogue, catalogue)
    document = await world.add("a", "x", by=ANN, rights=Rights())
    granted = await service.grant(ANN, document.id, ["user:ben"], ["group:interns"])
    assert granted.rights == Rights.of(["user:ben"], ["group:interns"], "ann")
    assert await world.sees(BEN, document)
    await service.revoke(ANN, document.id, ["user:ben", "group:interns"])
    assert not await world.sees(BEN, document)
    now = (await catalogue.document(ANN, document.id)).rights
    assert now == Rights.of([], ["group:interns"], "ann"), "revoking opens nothing"
    await service.replace(admin(), document.id, ["public"], [])
    assert (await catalogue.document(BEN, document.id)).rights == Rights.of(["public"], [], "ann")
    acts = [row.act for row in await catalogue.audit_rows(admin(), 10)]
    assert acts == ["rights.replace", "rights.revoke", "rights.grant"]


async def test_a_mark_named_again_moves_between_the_lists_and_deny_wins(catalogue: SqlCatalogue) -> None:
    world, service = World(catalogue), RightsService(catalogue, catalogue, catalogue)
    document = await world.add("a", "x", by=ANN, rights=Rights())
    await service.grant(ANN, document.id, deny=["user:ben"])
    assert (await service.grant(ANN, document.id, ["user:ben"])).rights == Rights.of(["user:ben"], [], "ann")
    both = await service.grant(ANN, document.id, ["user:ben"], ["user:ben"])
    assert both.rights == Rights.of([], ["user:ben"], "ann")


async def test_somebody_elses_document_does_not_exist(catalogue: SqlCatalogue) -> None:
    world, service = World(catalogue), RightsService(catalogue, catalogue, catalogue)
    document = await world.add("a", "x", by=ANN, rights=Rights.of(["public"]))
    said = set()
    for who, target in ((BEN, document.id), (BEN, "missing"), (admin("other"), document.id)):
        for act in (
            service.grant(who, target, ["user:ben"]),
            service.revoke(who, target, ["public"]),
            service.replace(who, target, [], []),
        ):
            with pytest.raises(NotFound) as caught:
                await act
            said.add(caught.value.message)
    assert len(said) == 1
    with pytest.raises(InvalidRequest):
        await service.grant(ANN, document.id, ["everybody"])


async def test_a_change_that_cannot_be_audited_is_refused(catalogue: SqlCatalogue) -> None:
    class Broken:
        async def audit(self, *_: object) -> None:
            raise StorageError("The audit log cannot be written.")

    world = World(catalogue)
    document = await world.add("a", "x", by=ANN, rights=Rights())
    with pytest.raises(StorageError):
        await RightsService(catalogue, Broken(), catalogue).grant(ANN, document.id, ["public"])
    assert not await world.sees(BEN, document)


async def test_levels_are_set_and_asked_about_by_those_who_may_and_audited(catalogue: SqlCatalogue) -> None:
    world, service = World(catalogue), RightsService(catalogue, catalogue, catalogue)
    document = await world.add("hr/a", "x", by=ANN)
    await catalogue.put_group(admin(), Group(name="hr", users=("ben",), groups=()))
    await service.set_level(admin(), "folder", "hr/", ["group:hr"], [], "handbook")
    assert await world.sees(person("hal", "hr"), document) and not await world.sees(BEN, document)
    found = await service.why(admin(), document.id, "user:ben")
    assert (found.allowed, found.effect, found.level, found.name, found.mark) == (
        True,
        "allow",
        "folder",
        "hr/",
        "group:hr",
    )
    assert not (await service.why(admin(), document.id, "role:boss")).allowed
    await service.replace(ANN, document.id, [], [])
    assert not (await service.why(admin(), document.id, "group:hr")).allowed
    await service.inherit(ANN, document.id)
    assert (await service.why(admin(), document.id, "group:hr")).level == "folder"
    acts = [row.act for row in await catalogue.audit_rows(admin(), 10)]
    assert acts == [
        "rights.why",
        "rights.inherit",
        "rights.why",
        "rights.replace",
        "rights.why",
        "rights.why",
        "rights.level",
    ]
    for refused in (service.set_level(ANN, "source", "x", [], []), service.why(ANN, document.id, "public")):
        with pytest.raises(ScopeMissing):
            await refused


async def test_a_rule_that_cannot_be_audited_is_not_made_and_no_reason_told(catalogue: SqlCatalogue) -> None:
    class Broken:
        async def audit(self, *_: object) -> None:
            raise StorageError("The audit log cannot be written.")

    world = World(catalogue)
    document = await world.add("a", "x", by=ANN)
    service = RightsService(catalogue, Broken(), catalogue)
    for refused in (
        service.set_level(admin(), "collection", "handbook", [], []),
        service.why(admin(), document.id, "public"),
        service.inherit(ANN, document.id),
        DirectoryService(catalogue, Broken()).set_active(admin(), "ann", False),
    ):
        with pytest.raises(StorageError):
            await refused
    assert await world.sees(BEN, document) and not await catalogue.users(admin())
