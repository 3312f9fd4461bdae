"""An organisation's users, groups and documents through 120 changes; after each, who sees what is compared with an oracle."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from bascule.access.authenticate import Authenticator
from bascule.access.keys import KeyService
from bascule.core.errors import AuthenticationFailed, NotFound
from bascule.core.principals import Principal, system_principal
from bascule.core.rights import Rights
from bascule.core.rights_levels import Group, GroupChange
from bascule.db.catalogue import SqlCatalogue, connect
from bascule.testing.catalogue_world import World, admin
from bascule.testing.postgres import server

DATA = Path(__file__).parents[3] / "shared" / "data" / "access"
pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason="the sample data of an organisation is not beside the checkout"
)


@pytest.fixture(params=["sqlite", "postgres"])
async def catalogue(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[SqlCatalogue]:
    url = server().new_database() if request.param == "postgres" else f"sqlite:///{tmp_path}/c.sqlite"
    async with connect(url, url if request.param == "postgres" else f"sqlite:///{tmp_path}/l.sqlite") as opened:
        yield opened


def read(name: str) -> Any:
    text = (DATA / name).read_text()
    return json.loads(text) if name.endswith(".json") else [json.loads(line) for line in text.splitlines()]


class Organisation:
    """Every person has a key that carries all of the tenant's groups, so that the directory alone decides."""

    def __init__(self, catalogue: SqlCatalogue, world: dict[str, Any]) -> None:
        self.catalogue = catalogue
        self.world = world
        self.ids: dict[str, str] = {}
        self.keys: dict[str, str] = {}
        self.tenants = {tenant: World(catalogue, tenant) for tenant in world["tenants"]}
        self.authenticator = Authenticator(catalogue)

    def mark(self, name: str) -> str:
        return f"group:{name}" if name in self.world["groups"] else f"user:{name}"

    def marks(self, names: Iterable[str]) -> list[str]:
        return [self.mark(name) for name in names]

    async def build(self) -> None:
        service = KeyService(self.catalogue, self.catalogue)
        for name, user in self.world["users"].items():
            groups = [g for g, group in self.world["groups"].items() if group["tenant"] == user["tenant"]]
            made = await service.create(system_principal(user["tenant"]), name=name, subject=name, groups=groups)
            self.keys[name] = made[1]
        for name, group in self.world["groups"].items():
            exact = Group(name=name, users=tuple(group["users"]), groups=tuple(group["groups"]))
            await self.catalogue.put_group(admin(group["tenant"]), exact)
        for name, held in self.world["docs"].items():
            allow = self.marks(held["allow"]) + (["public"] if held["public"] else [])
            rights = Rights.of(allow, self.marks(held["deny"]), held["owner"])
            document = await self.tenants[held["tenant"]].add(
                name, held["text"], by=admin(held["tenant"]), rights=rights
            )
            self.ids[name] = document.id
            if held["expired"]:
                await self.catalogue.delete_document(admin(held["tenant"]), document.id)

    async def principal(self, user: str) -> Principal | None:
        try:
            return self.authenticator.principal(f"Bearer {self.keys[user]}")
        except AuthenticationFailed:
            return None

    async def sees(self, user: str) -> set[str]:
        who = await self.principal(user)
        if who is None:
            return set()
        found = await self.catalogue.documents(who, None, 200, None)
        return {document.external_id for document in found}

    async def apply(self, op: dict[str, Any]) -> None:
        kind, user = op["op"], op["user"]
        operator = admin(op["doc"].partition("-")[0])
        if kind in ("join", "leave", "nest", "unnest"):
            await self.catalogue.patch_group(operator, *_member(kind, op))
        elif kind in ("activate", "deactivate"):
            await self.catalogue.set_active(operator, user, kind == "activate")
        elif kind in ("delete", "expire"):
            with suppress(NotFound):
                await self.catalogue.delete_document(operator, self.ids[op["doc"]])
        else:
            mark = self.mark(op["principal"])
            with suppress(NotFound):
                await self.catalogue.change_rights(
                    operator, self.ids[op["doc"]], lambda now: _changed(now, kind, mark, user)
                )


def _member(kind: str, op: dict[str, Any]) -> tuple[str, GroupChange]:
    """Nesting makes `group` a member of `principal`; rings come about."""
    if kind in ("join", "leave"):
        users = (op["user"],)
        return op["group"], GroupChange(add_users=users) if kind == "join" else GroupChange(remove_users=users)
    inner = (op["group"],)
    return op["principal"], GroupChange(add_groups=inner) if kind == "nest" else GroupChange(remove_groups=inner)


def _changed(now: Rights, kind: str, mark: str, user: str) -> Rights:
    allow, deny, owner = now.allow, now.deny, now.owner
    changes = {
        "grant": (allow | {mark}, deny, owner),
        "revoke": (allow - {mark}, deny, owner),
        "deny": (allow, deny | {mark}, owner),
        "undeny": (allow, deny - {mark}, owner),
        "publish": (allow | {"public"}, deny, owner),
        "unpublish": (allow - {"public"}, deny, owner),
        "chown": (allow, deny, user),
    }
    opened, shut, whose = changes[kind]
    return Rights(allow=opened, deny=shut, owner=whose)


async def test_every_row_of_the_oracle_agrees_before_and_after_every_change(catalogue: SqlCatalogue) -> None:
    organisation = Organisation(catalogue, read("world_0.json"))
    await organisation.build()
    await organisation.authenticator.refresh()
    compared = 0
    for row in read("oracle_0.jsonl"):
        assert await organisation.sees(row["user"]) == set(row["allowed"]), row["user"]
        compared += 1
    for op in read("ops_0.jsonl"):
        await organisation.apply(op)
        await organisation.authenticator.refresh()
        for user, allowed in op["probe_users"].items():
            assert await organisation.sees(user) == set(allowed), (op["step"], op["op"], user)
            compared += 1
    assert compared == 24 + 360
