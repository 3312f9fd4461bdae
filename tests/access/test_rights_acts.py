"""What the rights service says to the audit log and to the catalogue, word for word and in this order (`make mutants`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from bascule.access.rights import RightsService
from bascule.core.errors import InvalidRequest, ScopeMissing
from bascule.core.principals import SCOPE_AUDIT, Principal
from bascule.core.rights import Rights
from bascule.testing.catalogue_world import admin, person

ANN, ROOT = person("ann"), admin()
AUDITOR = Principal(tenant="acme", subject="aud", scopes=frozenset({SCOPE_AUDIT}))
NOW = Rights.of(["user:a", "user:b"], ["user:c", "user:d"], "olga")


class Catalogue:
    """Notes what it is asked, and answers with what it would have stored."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    async def audit(self, *said: Any) -> None:
        self.told.append(("audit", *said))

    async def change_rights(self, principal: Principal, document_id: str, change: Callable[[Rights], Rights]) -> Any:
        self.told.append(("change", principal, document_id))
        return change(NOW)

    async def set_rights(self, *said: Any) -> Any:
        self.told.append(("set", *said))
        return said[-1]

    async def memberships(self, tenant: str, subject: str) -> frozenset[str]:
        return frozenset({f"{tenant}/{subject}"})

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def noted(*said: Any) -> Any:
            self.told.append((name, *said))
            return name

        return noted


@pytest.fixture
def catalogue() -> Catalogue:
    return Catalogue()


@pytest.fixture
def service(catalogue: Catalogue) -> RightsService:
    there: Any = catalogue
    return RightsService(there, there, there)


async def test_a_grant_moves_marks_and_keeps_the_owner(catalogue: Catalogue, service: RightsService) -> None:
    made: Any = await service.grant(ANN, "d", ["user:c", "group:x", "group:y"], ["user:b", "group:x"])
    assert made == Rights.of(["user:a", "user:c", "group:y"], ["user:d", "user:b", "group:x"], "olga")
    said = {"allow": ["group:y", "user:c"], "deny": ["group:x", "user:b"]}
    assert catalogue.told == [("audit", ANN, "rights.grant", "d", said), ("change", ANN, "d")]


async def test_a_grant_names_only_what_it_names(catalogue: Catalogue, service: RightsService) -> None:
    assert await service.grant(ANN, "d", ["public"]) == Rights.of(["user:a", "user:b", "public"], NOW.deny, "olga")
    assert await service.grant(ANN, "d", deny=["public"]) == Rights.of(
        NOW.allow, ["user:c", "user:d", "public"], "olga"
    )
    assert [said[-1] for said in catalogue.told if said[0] == "audit"] == [
        {"allow": ["public"], "deny": []},
        {"allow": [], "deny": ["public"]},
    ]


async def test_a_revoke_takes_off_the_allow_list_alone(catalogue: Catalogue, service: RightsService) -> None:
    assert await service.revoke(ANN, "d", ["user:b", "user:c"]) == Rights.of(["user:a"], NOW.deny, "olga")
    said = {"allow": ["user:b", "user:c"], "deny": []}
    assert catalogue.told == [("audit", ANN, "rights.revoke", "d", said), ("change", ANN, "d")]


async def test_both_lists_anew(catalogue: Catalogue, service: RightsService) -> None:
    wanted = Rights.of(["user:z", "group:x"], ["user:y", "user:b"])
    assert await service.replace(ANN, "d", ["user:z", "group:x"], ["user:y", "user:b"]) == wanted
    said = {"allow": ["group:x", "user:z"], "deny": ["user:b", "user:y"]}
    assert catalogue.told == [("audit", ANN, "rights.replace", "d", said), ("set", ANN, "d", wanted)]


async def test_inheriting_and_the_list_of_levels(catalogue: Catalogue, service: RightsService) -> None:
    assert (await service.inherit(ANN, "d"), await service.levels(ROOT)) == ("inherit_rights", "levels")
    assert catalogue.told == [
        ("audit", ANN, "rights.inherit", "d", {}),
        ("inherit_rights", ANN, "d"),
        ("levels", ROOT),
    ]


@pytest.mark.parametrize(
    ("kind", "where", "target"),
    [("folder", ("handbook",), "folder:handbook/n"), ("source", (), "source:n"), ("collection", (), "collection:n")],
)
async def test_a_level_is_named_in_the_log_as_it_is_found(
    catalogue: Catalogue, service: RightsService, kind: Any, where: tuple[str, ...], target: str
) -> None:
    assert await service.set_level(ROOT, kind, "n", ["public"], ["user:b", "user:a"], *where) == "set_level"
    rights = Rights.of(["public"], ["user:a", "user:b"])
    assert catalogue.told == [
        ("audit", ROOT, "rights.level", target, {"allow": ["public"], "deny": ["user:a", "user:b"]}),
        ("set_level", ROOT, kind, "n", rights, where[0] if where else ""),
    ]


@pytest.mark.parametrize(
    ("mark", "asker"),
    [
        ("user:u:v", Principal(tenant="acme", subject="u:v", groups=frozenset({"acme/u:v"}))),
        ("group:g", Principal(tenant="acme", groups=frozenset({"g"}))),
        ("role:r", Principal(tenant="acme", roles=frozenset({"r"}))),
        ("public", Principal(tenant="acme")),
    ],
)
async def test_who_is_asked_about(catalogue: Catalogue, service: RightsService, mark: str, asker: Principal) -> None:
    assert await service.why(AUDITOR, "d", mark) == "why"
    assert catalogue.told == [("audit", AUDITOR, "rights.why", "d", {"as": mark}), ("why", AUDITOR, "d", asker)]


async def test_whoever_may_not_or_names_nonsense_leaves_no_trace(catalogue: Catalogue, service: RightsService) -> None:
    for refused in (service.set_level(ANN, "source", "x", [], []), service.why(ANN, "d", "public")):
        with pytest.raises(ScopeMissing):
            await refused
    for malformed in (
        service.grant(ANN, "d", ["everybody"]),
        service.grant(ANN, "d", [], ["everybody"]),
        service.revoke(ANN, "d", ["everybody"]),
        service.replace(ANN, "d", ["everybody"], []),
        service.replace(ANN, "d", [], ["everybody"]),
        service.set_level(ROOT, "source", "x", ["everybody"], []),
        service.set_level(ROOT, "source", "x", [], ["everybody"]),
        service.why(AUDITOR, "d", "everybody"),
    ):
        with pytest.raises(InvalidRequest):
            await malformed
    assert catalogue.told == []
