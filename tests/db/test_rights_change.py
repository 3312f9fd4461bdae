"""Who may change a document: administrators, its owner while it may read it, and the service key that brought it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bascule.core.errors import NotFound, ScopeMissing
from bascule.core.principals import SCOPE_ASK, SCOPE_INGEST, Principal, system_principal
from bascule.core.rights import Rights
from bascule.db.catalogue import SqlCatalogue
from bascule.db.rights import acl_entry_rows, may_change, need_scope, parse_canonical
from bascule.testing.catalogue_world import World, admin, person, service

ANN = person("ann")
MINE, SHUT = Rights(owner="ann"), Rights(deny=frozenset({"user:ann"}), owner="ann")
OPEN, OF_BEN = Rights(allow=frozenset({"public"})), Rights(allow=frozenset({"user:ann"}), owner="ben")


@pytest.mark.parametrize(
    ("who", "rights", "brought_by", "may"),
    [
        (admin(), SHUT, "x", True),
        (system_principal("acme"), OPEN, "", True),
        (ANN, MINE, "x", True),
        (ANN, SHUT, "x", False),
        (ANN, OF_BEN, "x", False),
        (ANN, OPEN, ANN.key_id, False),  # one who speaks for a person changes what is that person's
        (service("k"), OPEN, "k", True),
        (service("k"), OPEN, "other", False),
        (service("k"), OPEN, "", False),
        (service(""), OPEN, "", False),
        (service(""), Rights(owner=""), "x", False),
    ],
)
def test_the_rule_of_changing(who: Principal, rights: Rights, brought_by: str, may: bool) -> None:
    assert may_change(who, rights, brought_by) is may


@pytest.mark.parametrize("who", [ANN, service("k")])
async def test_of_two_documents_the_one_that_is_named_is_changed_and_only_ones_own(
    tmp_path: Path, who: Principal
) -> None:
    from bascule.db.catalogue import connect

    async with connect(f"sqlite:///{tmp_path}/catalogue.sqlite", f"sqlite:///{tmp_path}/calls.sqlite") as catalogue:
        await _changes(catalogue, World(catalogue), who)


async def _changes(catalogue: SqlCatalogue, world: World, who: Principal) -> None:
    first, second = await world.add("a", "x", by=who), await world.add("b", "y", by=who)
    others = await world.add("c", "z", by=service("other"))
    changed = await catalogue.set_rights(who, second.id, Rights.of(["group:hr"]))
    assert (changed.id, changed.rights.allow) == (second.id, {"group:hr"})
    assert (await catalogue.document(world.system, first.id)).rights == first.rights
    for missing in (others.id, "0" * 32):
        with pytest.raises(NotFound):
            await catalogue.set_rights(who, missing, Rights.of(["public"]))
    with pytest.raises(NotFound):
        await catalogue.set_rights(admin("other"), first.id, Rights.of(["public"]))
    reader = Principal(tenant=who.tenant, subject=who.subject, key_id=who.key_id, scopes=frozenset({SCOPE_ASK}))
    with pytest.raises(ScopeMissing):
        await catalogue.set_rights(reader, first.id, Rights.of(["public"]))


def test_a_scope_is_needed_by_name():
    need_scope(service("k"), SCOPE_INGEST)
    with pytest.raises(ScopeMissing):
        need_scope(Principal(tenant="t", scopes=frozenset({SCOPE_ASK})), SCOPE_INGEST)


def test_rights_are_written_as_rows_and_read_from_text_whole():
    rights = Rights.of(["public", "group:hr"], ["user:ben", "role:x"], "ann")
    assert acl_entry_rows(7, "t", rights) == [
        {"acl_id": 7, "tenant": "t", "effect": effect, "mark": mark}
        for effect, mark in (
            ("allow", "group:hr"),
            ("allow", "public"),
            ("deny", "role:x"),
            ("deny", "user:ben"),
            ("owner", "ann"),
        )
    ]
    assert acl_entry_rows(7, "t", Rights()) == []
    assert parse_canonical(rights.canonical()) == rights
    assert parse_canonical(Rights().canonical()) == Rights()
