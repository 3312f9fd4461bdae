"""SCIM over real HTTP, with the payloads Okta and Entra ID publish: users and groups in step, nobody in who should be out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec
import pytest

from bascule.bootstrap import App
from bascule.core.principals import system_principal
from bascule.testing.running import running, settings_for

USER: Final = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP: Final = "urn:ietf:params:scim:schemas:core:2.0:Group"
PATCH: Final = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
ERROR: Final = "urn:ietf:params:scim:api:messages:2.0:Error"
OPERATOR: Final = system_principal("default")

# After developer.okta.com/docs/api/openapi/okta-scim/guides/scim-20.
OKTA_USER: Final[dict[str, Any]] = {
    "schemas": [USER],
    "userName": "test.user@okta.local",
    "name": {"givenName": "Test", "familyName": "User"},
    "emails": [{"primary": True, "value": "test.user@okta.local", "type": "work"}],
    "displayName": "Test User",
    "locale": "en-US",
    "externalId": "00ujl29u0le5T6Aj10h7",
    "groups": [],
    "password": "1mz050nq",
    "active": True,
}
# After learn.microsoft.com/entra/identity/app-provisioning/use-scim-to-provision-users-and-groups.
ENTRA_USER: Final[dict[str, Any]] = {
    "schemas": [USER, "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"],
    "externalId": "0a21f0f2-8d2a-4f8e-bf98-7363c4aed4ef",
    "userName": "Test_User_ab6490ee-1e48-479e-a20b-2d77186b5dd1",
    "active": True,
    "emails": [{"primary": True, "type": "work", "value": "Test_User_fd0ea19b@testuser.com"}],
    "meta": {"resourceType": "User"},
    "name": {"formatted": "givenName familyName", "familyName": "familyName", "givenName": "givenName"},
    "roles": [],
}
ENTRA_GROUP: Final = {
    "schemas": [GROUP, "http://schemas.microsoft.com/2006/11/ResourceManagement/ADSCIM/2.0/Group"],
    "externalId": "8aa1a0c0-c4c3-4bc0-b4a5-2ef676900159",
    "displayName": "displayName",
    "meta": {"resourceType": "Group"},
}


class World(msgspec.Struct):
    http: aiohttp.ClientSession
    app: App
    admin: str
    scim: str
    foreign: str

    async def call(self, method: str, path: str, body: Any = None, key: str = "") -> tuple[int, Any]:
        headers = {"authorization": f"Bearer {key or self.scim}", "content-type": "application/scim+json"}
        data = None if body is None else msgspec.json.encode(body)
        async with self.http.request(method, "/scim/v2" + path, data=data, headers=headers) as reply:
            raw = await reply.read()
            assert not raw or reply.content_type == "application/scim+json", (path, reply.content_type, raw)
            return reply.status, msgspec.json.decode(raw) if raw else None

    async def made(self, path: str, body: Any) -> dict[str, Any]:
        status, found = await self.call("POST", path, body)
        assert status == 201, found
        return found  # type: ignore[no-any-return]

    async def patched(self, path: str, *operations: dict[str, Any]) -> Any:
        """The resource as it is then; of a group the change itself sends nothing back."""
        status, found = await self.call("PATCH", path, {"schemas": [PATCH], "Operations": list(operations)})
        if path.startswith("/Groups"):
            assert (status, found) == (204, None), found
            status, found = await self.call("GET", path)
        assert status == 200, found
        return found

    async def groups_of(self, name: str) -> frozenset[str]:
        return await self.app.catalogue.memberships("default", name)

    async def members(self, group: str) -> set[str]:
        _, found = await self.call("GET", f"/Groups/{group}")
        return {member["value"] for member in found["members"]}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    settings = settings_for(tmp_path / "data", server={"operator_tenant": "default"})
    async with running(settings) as (url, app, admin), aiohttp.ClientSession(url) as http:
        _, scim = await app.keys.create(OPERATOR, name="okta", scopes=["scim"])
        other = system_principal("other")
        _, foreign = await app.keys.create(other, name="okta", tenant="other", scopes=["scim"])
        await app.authenticator.refresh()
        yield World(http, app, admin, scim, foreign)


def found_by(attribute: str, value: str) -> str:
    return f"?filter={attribute}%20eq%20%22{value}%22"


async def test_what_okta_sends_from_the_first_look_to_the_last(world: World) -> None:
    status, found = await world.call(
        "GET", "/Users" + found_by("userName", "test.user@okta.local") + "&startIndex=1&count=100"
    )
    assert (status, found["totalResults"], found["Resources"]) == (200, 0, [])
    made = await world.made("/Users", OKTA_USER)
    assert made["userName"] == OKTA_USER["userName"] and made["name"] == OKTA_USER["name"] and made["active"] is True
    assert made["emails"] == OKTA_USER["emails"] and "password" not in made and made["meta"]["resourceType"] == "User"
    status, found = await world.call("GET", "/Users" + found_by("userName", "TEST.user@okta.local"))
    assert [user["id"] for user in found["Resources"]] == [made["id"]], "user names have no case"
    status, found = await world.call("POST", "/Users", OKTA_USER)
    assert (status, found["schemas"], found["status"], found["scimType"]) == (409, [ERROR], "409", "uniqueness")
    group = await world.made("/Groups", {"schemas": [GROUP], "displayName": "Test SCIMv2", "members": []})
    at = f"/Groups/{group['id']}"
    add = {"op": "add", "path": "members", "value": [{"value": made["id"], "display": "test.user@okta.local"}]}
    for _ in range(2):
        await world.patched(at, add)
        assert await world.groups_of("test.user@okta.local") == {"Test%20SCIMv2"}
    await world.patched(at, {"op": "replace", "value": {"id": group["id"], "displayName": "Test SCIMv2 renamed"}})
    assert await world.groups_of("test.user@okta.local") == {"Test%20SCIMv2"}, "rights go on by the name they know"
    for _ in range(2):
        await world.patched(at, {"op": "remove", "path": f'members[value eq "{made["id"]}"]'})
        assert await world.groups_of("test.user@okta.local") == frozenset()
    await world.patched(at, {"op": "replace", "path": "members", "value": [{"value": made["id"]}]})
    assert await world.members(group["id"]) == {made["id"]}
    status, found = await world.call(
        "PUT", f"/Users/{made['id']}", OKTA_USER | {"id": made["id"], "displayName": "New"}
    )
    assert (status, found["displayName"], found["id"]) == (200, "New", made["id"])
    assert await world.groups_of("test.user@okta.local") == {"Test%20SCIMv2"}, "who replaces a user touches no group"
    off = await world.patched(f"/Users/{made['id']}", {"op": "replace", "value": {"active": False}})
    assert off["active"] is False and await world.groups_of("test.user@okta.local") == frozenset()
    for status in (204, 404):
        assert (await world.call("DELETE", at))[0] == status


async def test_what_entra_sends_with_its_capitals_and_texts_for_truths(world: World) -> None:
    made = await world.made("/Users", ENTRA_USER)
    at = f"/Users/{made['id']}"
    changed = await world.patched(
        at,
        {"op": "Replace", "path": 'emails[type eq "work"].value', "value": "updatedEmail@microsoft.com"},
        {"op": "Replace", "path": "name.familyName", "value": "updatedFamilyName"},
        {"op": "Add", "path": "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department", "value": "bob"},
    )
    assert changed["emails"][0]["value"] == "updatedEmail@microsoft.com"
    assert changed["name"] == ENTRA_USER["name"] | {"familyName": "updatedFamilyName"}
    changed = await world.patched(at, {"op": "Replace", "path": "userName", "value": "5b50642d"})
    assert changed["userName"] == "5b50642d"
    assert (await world.patched(at, {"op": "Replace", "path": "active", "value": "False"}))["active"] is False
    assert (await world.patched(at, {"op": "Replace", "path": "active", "value": "True"}))["active"] is True
    status, found = await world.call("GET", "/Users" + found_by("externalId", ENTRA_USER["externalId"]))
    assert [user["id"] for user in found["Resources"]] == [made["id"]]
    group = await world.made("/Groups", ENTRA_GROUP)
    status, found = await world.call(
        "GET", "/Groups" + found_by("displayName", "displayName") + "&excludedAttributes=members"
    )
    assert status == 200 and "members" not in found["Resources"][0] and found["Resources"][0]["id"] == group["id"]
    there = f"/Groups/{group['id']}"
    member = [{"$ref": None, "value": made["id"]}]
    await world.patched(there, {"op": "Add", "path": "members", "value": member})
    assert await world.members(group["id"]) == {made["id"]}
    await world.patched(there, {"op": "Remove", "path": "members", "value": member})
    assert await world.members(group["id"]) == set()
    renamed = await world.patched(there, {"op": "Replace", "path": "displayName", "value": "1879db59-3bdf-4490"})
    assert renamed["displayName"] == "1879db59-3bdf-4490" and renamed["externalId"] == ENTRA_GROUP["externalId"]
    assert (await world.call("DELETE", at))[0] == 204 and (await world.call("GET", at))[0] == 404


async def test_whoever_is_switched_off_or_removed_is_refused_with_the_next_request(world: World) -> None:
    made = await world.made("/Users", {"userName": "ann"})
    _, key = await world.app.keys.create(OPERATOR, name="ann", subject="ann", scopes=["ask"])
    await world.app.authenticator.refresh()

    async def gets_in() -> bool:
        async with world.http.get("/v1/documents", headers={"authorization": f"Bearer {key}"}) as reply:
            return reply.status == 200

    assert await gets_in()
    await world.patched(f"/Users/{made['id']}", {"op": "replace", "value": {"active": False}})
    assert not await gets_in()
    await world.patched(f"/Users/{made['id']}", {"op": "replace", "value": {"active": True}})
    assert await gets_in()
    await world.patched(f"/Users/{made['id']}", {"op": "replace", "path": "userName", "value": "anna"})
    assert not await gets_in(), "a key for the old name would outlive the person"
    await world.patched(f"/Users/{made['id']}", {"op": "replace", "path": "userName", "value": "ann"})
    assert not await gets_in(), "it is revoked, not held back"


async def test_a_later_user_of_the_same_name_does_not_come_by_the_keys_of_the_one_before(world: World) -> None:
    async def gets_in(key: str) -> bool:
        async with world.http.get("/v1/documents", headers={"authorization": f"Bearer {key}"}) as reply:
            return reply.status == 200

    made = await world.made("/Users", {"userName": "ann"})
    record, key = await world.app.keys.create(OPERATOR, name="ann", subject="ann", scopes=["ask"])
    _, others = await world.app.keys.create(OPERATOR, name="ben", subject="ben", scopes=["ask"])
    await world.app.authenticator.refresh()
    assert await gets_in(key) and await gets_in(others)
    assert (await world.call("DELETE", f"/Users/{made['id']}"))[0] == 204
    assert not await gets_in(key) and await gets_in(others)
    await world.made("/Users", {"userName": "ann"})
    assert not await gets_in(key) and await gets_in(others)
    (removed,) = (row for row in await world.app.catalogue.audit_rows(OPERATOR, 9) if row.act == "scim.user.remove")
    assert removed.facts["revoked_keys"] == [record.id]


async def test_members_read_what_the_group_may_from_the_commit_on_and_no_longer(world: World) -> None:
    own = {"authorization": f"Bearer {world.admin}"}
    document = {"external_id": "a", "text": "The safe is green.", "allow": ["group:Pay%20Office"]}
    body = {"collection": "c", "documents": [document]}
    async with world.http.post("/v1/documents", json=body, headers=own) as reply:
        assert reply.status == 202
    ann = await world.made("/Users", {"userName": "ann"})
    _, key = await world.app.keys.create(OPERATOR, name="ann", subject="ann", groups=["Pay%20Office"], scopes=["ask"])
    await world.app.catalogue.remove_membership(OPERATOR, "ann", ["Pay%20Office"])
    await world.app.authenticator.refresh()

    async def sees() -> int:
        async with world.http.get("/v1/documents", headers={"authorization": f"Bearer {key}"}) as reply:
            return len((await reply.json())["data"])

    assert await sees() == 0
    group = await world.made("/Groups", {"displayName": "Pay Office", "members": [{"value": ann["id"]}]})
    assert await sees() == 1
    await world.patched(f"/Groups/{group['id']}", {"op": "remove", "path": "members"})
    assert await sees() == 0
    assert (await world.call("DELETE", f"/Groups/{group['id']}"))[0] == 204
    await world.made("/Groups", {"displayName": "Pay Office", "members": [{"value": ann["id"]}]})
    assert await sees() == 1, "rights know a group by its name: docs/how-to/provision.md"


async def test_another_tenant_neither_sees_nor_changes_and_other_scopes_are_refused(world: World) -> None:
    ann = await world.made("/Users", {"userName": "ann"})
    group = await world.made("/Groups", {"displayName": "hr", "members": [{"value": ann["id"]}]})
    for kind, thing in (("Users", ann), ("Groups", group)):
        for method, body in (("GET", None), ("PUT", {"userName": "x", "displayName": "x"}), ("DELETE", None)):
            status, told = await world.call(method, f"/{kind}/{thing['id']}", body, world.foreign)
            missing = await world.call(method, f"/{kind}/00000000-0000-7000-8000-000000000000", body, world.foreign)
            assert (status, told) == missing and status == 404 and told["schemas"] == [ERROR]
        assert (await world.call("GET", f"/{kind}", None, world.foreign))[1]["totalResults"] == 0
    mixed = {"displayName": "theirs", "members": [{"value": ann["id"]}]}
    status, told = await world.call("POST", "/Groups", mixed, world.foreign)
    assert (status, told["scimType"]) == (400, "invalidValue"), "a member of another tenant"
    assert await world.groups_of("ann") == {"hr"}
    _, plain = await world.app.keys.create(OPERATOR, name="p", scopes=["chat", "ask", "ingest", "audit", "metrics"])
    await world.app.authenticator.refresh()
    assert (await world.call("GET", "/Users", None, plain))[0] == 403
    assert (await world.call("GET", "/Users", None, "bsk_wrong"))[0] == 401
    for path in ("/v1/documents", "/v1/directory/users", "/v1/keys", "/v1/calls"):
        async with world.http.get(path, headers={"authorization": f"Bearer {world.scim}"}) as reply:
            assert reply.status == 403, "the scope is good for nothing else"


async def test_every_change_is_in_the_audit_log_with_it_or_not_made(world: World) -> None:
    ann = await world.made("/Users", {"userName": "ann"})
    group = await world.made("/Groups", {"displayName": "hr"})
    await world.patched(f"/Groups/{group['id']}", {"op": "add", "path": "members", "value": [{"value": ann["id"]}]})
    await world.patched(f"/Users/{ann['id']}", {"op": "replace", "path": "active", "value": False})
    rows = [row for row in await world.app.catalogue.audit_rows(OPERATOR, 100) if row.act.startswith("scim.")]
    assert [(row.act, row.target) for row in reversed(rows)] == [
        ("scim.user.add", "ann"),
        ("scim.group.add", "hr"),
        ("scim.group.change", "hr"),
        ("scim.user.change", "ann"),
    ]
    assert rows[1].facts["add"] == ["ann"] and rows[0].facts["active"] is False
    assert not any("1mz050nq" in str(row.facts) for row in rows)


WRONG: Final[list[tuple[str, str, Any, str]]] = [
    ("GET", "/Users?filter=userName%20co%20%22a%22", None, "invalidFilter"),
    ("GET", "/Users?filter=userName%20eq%20%22a%22%20or%20id%20pr", None, "invalidFilter"),
    ("GET", "/Users?filter=password%20eq%20%22a%22", None, "invalidFilter"),
    ("POST", "/Users", {"displayName": "nobody"}, "invalidValue"),
    ("POST", "/Users", {"userName": "two words"}, "invalidValue"),
    ("POST", "/Users", {"userName": ["a"]}, "invalidValue"),
    ("POST", "/Users", {"userName": "a", "active": "perhaps"}, "invalidValue"),
    ("POST", "/Users", {"userName": "a" * 300}, "invalidValue"),
    ("POST", "/Groups", {"displayName": "g", "members": [{"value": "nobody"}]}, "invalidValue"),
    ("POST", "/Groups", {"displayName": "g", "members": ["a"]}, "invalidValue"),
    ("PATCH", "/Users/{id}", {"Operations": []}, "invalidSyntax"),
    ("PATCH", "/Users/{id}", {"Operations": [{"op": "move", "path": "userName"}]}, "invalidSyntax"),
    ("PATCH", "/Users/{id}", {"Operations": [{"op": "replace", "value": True}]}, "invalidValue"),
    ("PATCH", "/Users/{id}", {"Operations": [{"op": "remove", "path": "userName"}]}, "invalidValue"),
    ("PATCH", "/Users/{id}", {}, "invalidSyntax"),
    ("GET", "/Users?filter=id%20eq%20%22a%5Cu0000%22", None, "invalidFilter"),
    (
        "PATCH",
        "/Users/{id}",
        {"Operations": [{"op": "replace", "path": "active.value", "value": False}]},
        "invalidPath",
    ),
    ("PATCH", "/Users/{id}", {"Operations": [{"op": "replace", "value": {"activeX": False}}]}, "invalidPath"),
]


async def test_what_is_wrong_is_said_in_scims_words_and_changes_nothing(world: World) -> None:
    ann = await world.made("/Users", {"userName": "ann"})
    for method, path, body, kind in WRONG:
        status, told = await world.call(method, path.replace("{id}", ann["id"]), body)
        assert (status, told["status"], told["schemas"], told.get("scimType")) == (400, "400", [ERROR], kind), (
            path,
            body,
        )
    for data in (b"{", b"[]", b"\xff"):
        headers = {"authorization": f"Bearer {world.scim}"}
        async with world.http.post("/scim/v2/Users", data=data, headers=headers) as reply:
            assert reply.status == 400 and (await reply.json(content_type=None))["schemas"] == [ERROR]
    status, told = await world.call("GET", "/Nothing")
    assert status == 404 and told["schemas"] == [ERROR]
    garbage = [{"op": "replace", "path": "emails", "value": value} for value in (["x"], {"a": 1}, 7, "x")]
    garbage += [{"op": "add", "path": 'emails[type eq "work"].value', "value": "a@b.example"}]
    garbage += [
        {"op": "replace", "path": "name", "value": ["x"]},
        {"op": "add", "path": "name.givenName", "value": "A"},
    ]
    changed = await world.patched(f"/Users/{ann['id']}", *garbage)
    assert changed["name"] == {"givenName": "A"} and [mail["value"] for mail in changed["emails"]] == ["a@b.example"]
    assert (await world.call("GET", "/Users"))[1]["totalResults"] == 1
    assert (await world.call("GET", "/Groups"))[1]["totalResults"] == 0


async def test_lists_come_in_pages_and_the_service_says_what_it_can(world: World) -> None:
    names = [f"user{n:02}" for n in range(7)]
    for name in names:
        await world.made("/Users", {"userName": name})
    seen = []
    for start in (1, 4, 7):
        _, found = await world.call("GET", f"/Users?startIndex={start}&count=3&sortBy=x")
        assert (
            found["totalResults"] == 7
            and found["startIndex"] == start
            and found["itemsPerPage"] == len(found["Resources"])
        )
        seen += [user["userName"] for user in found["Resources"]]
    assert seen == names
    assert (await world.call("GET", "/Users?count=0"))[1]["Resources"] == []
    _, config = await world.call("GET", "/ServiceProviderConfig")
    assert config["patch"]["supported"] and not config["bulk"]["supported"]
    _, types = await world.call("GET", "/ResourceTypes")
    _, schemas = await world.call("GET", "/Schemas")
    assert [kind["schema"] for kind in types["Resources"]] == [USER, GROUP] == [s["id"] for s in schemas["Resources"]]
    assert (await world.call("GET", f"/Schemas/{USER}"))[1]["id"] == USER


async def test_names_in_rights_can_be_the_ids_that_never_change(world: World) -> None:
    wanted = world.app.settings.scim.model_copy(update={"user_name": "externalId", "group_name": "externalId"})
    world.app.settings = world.app.settings.model_copy(update={"scim": wanted})
    made = await world.made("/Users", ENTRA_USER)
    await world.made("/Groups", ENTRA_GROUP | {"members": [{"value": made["id"]}]})
    assert await world.groups_of(ENTRA_USER["externalId"]) == {ENTRA_GROUP["externalId"]}
    await world.patched(f"/Users/{made['id']}", {"op": "Replace", "path": "userName", "value": "married"})
    assert await world.groups_of(ENTRA_USER["externalId"]) == {ENTRA_GROUP["externalId"]}
    status, told = await world.call("POST", "/Users", {"userName": "without"})
    assert (status, told["scimType"]) == (400, "invalidValue")
