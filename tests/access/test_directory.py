"""The directory: groups in groups, exact and changed members, users switched off."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from bascule.access.authenticate import Authenticator
from bascule.access.directory import DirectoryService
from bascule.access.keys import KeyService
from bascule.core.errors import AuthenticationFailed, InvalidRequest, ScopeMissing
from bascule.core.principals import system_principal
from bascule.core.rights_levels import Group, GroupChange, User
from bascule.db.catalogue import SqlCatalogue, connect
from bascule.testing.catalogue_world import admin, person


@pytest.fixture
async def catalogue(tmp_path: Path) -> AsyncGenerator[SqlCatalogue]:
    async with connect(f"sqlite:///{tmp_path}/c.sqlite", f"sqlite:///{tmp_path}/l.sqlite") as opened:
        yield opened


async def test_members_of_an_inner_group_are_members_of_the_outer_even_in_a_ring(catalogue: SqlCatalogue) -> None:
    directory = DirectoryService(catalogue, catalogue)
    await directory.put_group(admin(), Group(name="staff", users=("zoe",), groups=("hr", "it")))
    await directory.put_group(admin(), Group(name="hr", users=("ann",), groups=("staff",)))
    assert await catalogue.memberships("acme", "ann") == {"hr", "staff"}
    assert await catalogue.memberships("acme", "zoe") == {"hr", "staff"}
    assert await catalogue.memberships("other", "ann") == frozenset()
    await directory.patch_group(
        admin(), "hr", GroupChange(add_users=["ben"], remove_users=["ann"], remove_groups=["staff"])
    )
    assert await catalogue.memberships("acme", "ann") == frozenset()
    assert await directory.groups(admin()) == [
        Group(name="hr", users=("ben",), groups=()),
        Group(name="staff", users=("zoe",), groups=("hr", "it")),
    ]
    assert await directory.users(admin()) == [
        User(name="ben", active=True, groups=("hr",), all_groups=("hr", "staff")),
        User(name="zoe", active=True, groups=("staff",), all_groups=("staff",)),
    ]
    assert await directory.groups(admin("other")) == [] and await directory.users(admin("other")) == []


async def test_a_user_switched_off_is_refused_with_every_key_until_switched_on(catalogue: SqlCatalogue) -> None:
    directory, keys = DirectoryService(catalogue, catalogue), KeyService(catalogue, catalogue)
    _, secret = await keys.create(system_principal("acme"), name="n", subject="ann", groups=["hr"])
    _, namesake = await keys.create(system_principal("other"), name="n", subject="ann")
    authenticator = Authenticator(catalogue)
    await authenticator.refresh()
    before = await catalogue.change_mark()
    await directory.set_active(admin(), "ann", False)
    assert await catalogue.change_mark() != before
    await authenticator.refresh()
    with pytest.raises(AuthenticationFailed):
        authenticator.principal(secret)
    assert authenticator.principal(namesake).tenant == "other"
    assert await catalogue.memberships("acme", "ann") == frozenset()
    await directory.set_active(admin(), "ann", True)
    await authenticator.refresh()
    assert authenticator.principal(secret).groups == {"hr"}


async def test_only_administrators_change_the_directory_and_names_are_checked(catalogue: SqlCatalogue) -> None:
    directory = DirectoryService(catalogue, catalogue)
    for refused in (
        directory.users(person("ann")),
        directory.groups(person("ann")),
        directory.put_group(person("ann"), Group(name="hr", users=("ann",), groups=())),
        directory.patch_group(person("ann"), "hr", GroupChange(add_users=["ann"])),
        directory.set_active(person("ann"), "ben", False),
    ):
        with pytest.raises(ScopeMissing):
            await refused
    with pytest.raises(InvalidRequest):
        await directory.put_group(admin(), Group(name="a b", users=(), groups=()))
    with pytest.raises(InvalidRequest):
        await directory.patch_group(admin(), "hr", GroupChange(add_users=["a,b"]))
    assert await catalogue.audit_rows(admin(), 10) == []
