"""A credential that leaves one of its holder's groups out reads less, never more: SQL, both walls, and the rule say the same."""

from __future__ import annotations

import itertools

import pytest
import sqlalchemy as sa

from bascule.core.principals import Principal
from bascule.core.rights import Rights, may_read
from bascule.db.catalogue import SqlCatalogue
from bascule.testing.catalogue_world import World, person

MARKS = ("public", "group:hr", "group:all", "user:ann")


def leaving_out(principal: Principal, *groups: str) -> Principal:
    return Principal(
        tenant=principal.tenant,
        subject=principal.subject,
        groups=principal.groups - set(groups),
        unused_groups=frozenset(groups),
        scopes=principal.scopes,
        key_id=principal.key_id,
    )


@pytest.fixture
async def shelf(catalogue: SqlCatalogue) -> dict[str, Rights]:
    """A document for each way to allow and deny one mark or none."""
    world, made = World(catalogue), {}
    for number, (allow, deny) in enumerate(itertools.product((None, *MARKS), repeat=2)):
        rights = Rights.of([allow] if allow else [], [deny] if deny else [], owner="ann" if number % 3 == 0 else "")
        made[f"d{number}"] = rights
        await world.add(f"d{number}", f"text {number}", rights=rights)
    return made


async def listed(catalogue: SqlCatalogue, who: Principal) -> set[str]:
    return {document.external_id for document in await catalogue.documents(who, None, 200, None)}


async def test_what_is_closed_to_a_group_stays_closed_to_who_leaves_it_out(
    catalogue: SqlCatalogue, shelf: dict[str, Rights]
) -> None:
    whole = person("ann", "hr", "all")
    for left_out in (("hr",), ("all",), ("hr", "all")):
        who = leaving_out(whole, *left_out)
        readable = {name for name, rights in shelf.items() if may_read(rights, who)}
        assert await listed(catalogue, who) == readable
        assert readable <= await listed(catalogue, whole)
        assert await catalogue.readable_acl_ids(who) <= await catalogue.readable_acl_ids(whole)


async def test_the_second_wall_knows_the_groups_left_out(catalogue: SqlCatalogue, shelf: dict[str, Rights]) -> None:
    if await catalogue.wall() == "none":
        pytest.skip("SQLite has no row-level security")
    who = leaving_out(person("ann", "hr", "all"), "hr")
    names = sa.text("SELECT external_id FROM documents")
    seen = await catalogue._read_for(who, lambda c: set(c.execute(names).scalars()))
    assert seen == {name for name, rights in shelf.items() if may_read(rights, who)}
