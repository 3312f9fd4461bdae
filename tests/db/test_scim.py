"""Users and groups that SCIM keeps, on both engines: two clients at once, long lists, and what a change says it touched."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa

from bascule.access.authenticate import Authenticator
from bascule.access.keys import KeyService
from bascule.core.principals import system_principal
from bascule.core.rights_levels import Group
from bascule.core.scim import GroupEdit, ScimGroup, ScimTaken, ScimUser, Wanted
from bascule.db import scim

OPERATOR = system_principal("acme")


def user(name: str) -> ScimUser:
    return ScimUser(user_name=name, name=name)


def group(name: str) -> ScimGroup:
    return ScimGroup(display_name=name, name=name)


async def made(catalogue: Any, *names: str) -> list[str]:
    return [(await catalogue.scim_add_user(OPERATOR, user(name)))[0].id for name in names]


async def test_of_two_clients_that_take_a_name_at_once_one_is_told_that_it_is_taken(catalogue, monkeypatch) -> None:
    """The look before is blinded: it is what each of two servers sees."""
    monkeypatch.setattr(scim, "_refuse_taken", lambda *_: None)
    found = await asyncio.gather(
        *(catalogue.scim_add_user(OPERATOR, user("ann")) for _ in range(4)), return_exceptions=True
    )
    assert sorted(type(one).__name__ for one in found) == ["ScimTaken"] * 3 + ["tuple"]
    (ben,) = await made(catalogue, "ben")
    with pytest.raises(ScimTaken):
        await catalogue.scim_change_user(OPERATOR, ben, lambda _: user("ann"))
    assert (await catalogue.scim_user(OPERATOR, ben)).user_name == "ben"


async def test_a_list_of_groups_takes_the_same_questions_however_many_there_are(catalogue) -> None:
    ann, ben = await made(catalogue, "ann", "ben")
    asked = 0

    def count(*_: object) -> None:
        nonlocal asked
        asked += 1

    numbers = []
    for size in (2, 12):
        for at in range(size - 2, size):
            await catalogue.scim_add_group(OPERATOR, group(f"g{size}-{at}"), frozenset({ann, ben}))
        sa.event.listen(catalogue._database.engine, "before_cursor_execute", count)
        asked = 0
        _, found = await catalogue.scim_groups(OPERATOR, Wanted())
        numbers.append(asked)
        sa.event.remove(catalogue._database.engine, "before_cursor_execute", count)
        assert all([member.id for member in one.members] == sorted([ann, ben]) for one in found)
    assert len(found) == 4 and numbers[0] == numbers[1]


async def test_a_change_says_whom_it_touched(catalogue) -> None:
    ann, ben = await made(catalogue, "ann", "ben")
    hr, touched = await catalogue.scim_add_group(OPERATOR, group("hr"), frozenset({ann}))
    assert touched == {"ann"}

    async def change(**edit: Any) -> Any:
        return await catalogue.scim_change_group(OPERATOR, hr.id, GroupEdit(**edit))

    assert await change(display_name="people") == frozenset()
    assert await change(add=frozenset({ben}), remove=frozenset({ann, "nobody"})) == {"ann", "ben"}
    assert await change(members=frozenset({ann})) == {"ann", "ben"}
    await catalogue.put_group(OPERATOR, Group(name="hr", users=("ann",), groups=("inner",)))
    assert await change(members=frozenset({ann})) is None, "who is in the inner group is another list"
    assert await catalogue.scim_remove_group(OPERATOR, hr.id) == {"ann"}
    _, touched = await catalogue.scim_change_user(OPERATOR, ann, lambda _: user("anna"))
    assert touched == {"ann", "anna"}
    assert await catalogue.scim_remove_user(OPERATOR, ben) == {"ben"}


async def test_an_entry_of_the_audit_log_does_not_grow_with_the_group(catalogue) -> None:
    ids = frozenset(await made(catalogue, *(f"u{n:03}" for n in range(101))))
    await catalogue.scim_add_group(OPERATOR, group("all"), ids)
    (row,) = (row for row in await catalogue.audit_rows(OPERATOR, 5) if row.act == "scim.group.add")
    assert row.facts["users"] == [f"u{n:03}" for n in range(100)] and row.facts["users_count"] == 101


async def test_what_is_read_of_some_users_is_what_a_whole_look_would_find(catalogue) -> None:
    keys = KeyService(catalogue, catalogue)
    ann, ben = await made(catalogue, "ann", "ben")
    secrets = {}
    for name in ("ann", "ben", "zoe"):
        _, secrets[name] = await keys.create(OPERATOR, name=name, subject=name, groups=["hr", "staff", "it"])
        await catalogue.remove_membership(OPERATOR, name, ["hr", "staff", "it"])
    some, whole = Authenticator(catalogue), Authenticator(catalogue)
    await some.refresh()
    await catalogue.put_group(OPERATOR, Group(name="staff", users=(), groups=("hr",)))
    untouched = some.principal(secrets["zoe"])

    async def agree(touched: Any) -> None:
        assert touched is not None
        await some.refresh_some("acme", touched)
        await whole.refresh()
        for secret in secrets.values():
            hashed = some.hashed(secret)
            assert some.holder(hashed) == whole.holder(hashed)
        for name in ("ann", "anna", "ben", "zoe"):
            assert some.groups_of("acme", name) == whole.groups_of("acme", name)
        assert set(some._by_id) == set(whole._by_id)

    hr, touched = await catalogue.scim_add_group(OPERATOR, group("hr"), frozenset({ann}))
    await catalogue.put_group(OPERATOR, Group(name="staff", users=(), groups=("hr",)))
    await agree(touched)
    assert some.principal(secrets["ann"]).groups == {"hr", "staff"}
    await agree(await catalogue.scim_change_group(OPERATOR, hr.id, GroupEdit(add=frozenset({ben}))))
    for off in (True, False):
        changed = ScimUser(user_name="ben", name="ben", active=not off)
        _, touched = await catalogue.scim_change_user(OPERATOR, ben, lambda _, to=changed: to)
        await agree(touched)
        assert (some.groups_of("acme", "ben") is None) is off
    _, touched = await catalogue.scim_change_user(OPERATOR, ann, lambda _: user("anna"))
    await agree(touched)
    assert some.groups_of("acme", "anna") == {"hr", "staff"} and some.holder(some.hashed(secrets["ann"])) is None
    await agree(await catalogue.scim_remove_user(OPERATOR, ben))
    await agree(await catalogue.scim_remove_group(OPERATOR, hr.id))
    assert some.principal(secrets["zoe"]) is untouched
