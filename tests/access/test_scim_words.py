"""SCIM's words to values: paths with the schema before them, and those that would be read over though they mean what is kept."""

from __future__ import annotations

from typing import Any, Final

import pytest

from bascule.access.scim import Naming, group_edit, user_patch
from bascule.core.scim import GroupEdit, ScimInvalid, ScimUser

USER: Final = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP: Final = "urn:ietf:params:scim:schemas:core:2.0:Group"


def patched(*operations: dict[str, Any]) -> ScimUser:
    return user_patch(operations, Naming())(ScimUser(user_name="ann", name="ann"))


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "replace", "path": f"{USER}:active", "value": False},
        {"op": "Replace", "path": f"{USER.upper()}:ACTIVE", "value": "False"},
        {"op": "replace", "value": {f"{USER}:active": False}},
        {"op": "replace", "path": USER, "value": {"active": False}},
    ],
)
def test_an_attribute_is_the_same_with_its_schema_before_it(operation: dict[str, Any]) -> None:
    assert patched(operation).active is False


def test_a_groups_attributes_are_known_by_their_schema_too() -> None:
    edit = group_edit(
        [
            {"op": "add", "path": f"{GROUP}:members", "value": [{"value": "a"}]},
            {"op": "remove", "path": f'{GROUP}:members[value eq "b"]'},
            {"op": "replace", "path": GROUP, "value": {"displayName": "hr", "id": "7"}},
        ]
    )
    assert edit == GroupEdit(display_name="hr", add=frozenset({"a"}), remove=frozenset({"b"}))


@pytest.mark.parametrize(
    "path", ["active.value", "activeX", 'userName[type eq "x"]', "displayName.x", f"{USER}:active.x"]
)
def test_a_users_path_that_only_begins_like_one_is_refused(path: str) -> None:
    with pytest.raises(ScimInvalid) as caught:
        patched({"op": "replace", "path": path, "value": False})
    assert caught.value.scim_type == "invalidPath"


@pytest.mark.parametrize(
    "path", ["members.value", 'members[display eq "x"]', 'members[value eq "a"].display', "membersX", "displayNames"]
)
@pytest.mark.parametrize("op", ["add", "remove", "replace"])
def test_a_groups_path_that_only_begins_like_one_is_refused(op: str, path: str) -> None:
    with pytest.raises(ScimInvalid) as caught:
        group_edit([{"op": op, "path": path, "value": "x"}])
    assert caught.value.scim_type == "invalidPath"


def test_other_attributes_are_read_over_still() -> None:
    enterprise = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department"
    told = [
        {"op": "add", "path": path, "value": "x"}
        for path in (enterprise, "nickName", 'phoneNumbers[type eq "work"].value')
    ]
    assert patched(*told) == ScimUser(user_name="ann", name="ann")
    assert group_edit(told) == GroupEdit()


def test_one_member_is_not_replaced_since_that_would_be_the_whole_membership() -> None:
    with pytest.raises(ScimInvalid) as caught:
        group_edit([{"op": "replace", "path": 'members[value eq "a"]', "value": {"value": "a"}}])
    assert caught.value.scim_type == "mutability"


def test_a_group_keeps_a_name() -> None:
    for operation in ({"op": "remove", "path": "displayName"}, {"op": "replace", "path": "displayName", "value": " "}):
        with pytest.raises(ScimInvalid):
            group_edit([operation])
