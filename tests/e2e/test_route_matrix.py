"""Every route, by every role, with ids of one's own tenant, of another and of nothing: what may not be looks like what is not.

A route that is new in the table is asked by itself; one with an id must say what a real id of it is, or this fails.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec
import pytest

from bascule.access.keys import KeyService
from bascule.core.principals import SCOPE_ACT_AS, SCOPE_SCIM, Principal, system_principal
from bascule.server.route import Route
from bascule.server.table import HOT, OPEN, ROUTES
from bascule.testing.running import running, settings_for

SCOPES: Final = ("chat", "ask", "ingest", "admin", "audit", "metrics", SCOPE_ACT_AS, SCOPE_SCIM)
MISSING: Final = "00000000-0000-7000-8000-000000000000"
# What a path's id names: where the matrix gets a real one of the first tenant from.
KINDS: Final = {
    "/v1/answers": "answer",
    "/v1/calls": "call",
    "/v1/collections": "collection",
    "/v1/documents": "document",
    "/v1/evaluations": "evaluation",
    "/v1/jobs": "job",
    "/v1/keys": "key",
    "/v1/passages": "passage",
    "/v1/responses": "none",
    "/v1/routes": "route",
    "/v1/sources": "source",
    "/scim/v2/Groups": "scim_group",
    "/scim/v2/Schemas": "none",
    "/scim/v2/Users": "scim_user",
}
# A body or query that is right, where the route wants one: only then does the id decide.
BODIES: Final[dict[str, Any]] = {
    "expire_key": {"expires_at": None},
    "reveal": {"pseudonym": "[email:abcdefghij]"},
    "give_feedback": {"rating": 1},
    "change_route": {"enabled": True},
    "scim_put_user": {"userName": "x"},
    "scim_patch_user": {"Operations": [{"op": "replace", "value": {"active": True}}]},
    "scim_put_group": {"displayName": "x"},
    "scim_patch_group": {"Operations": [{"op": "replace", "value": {"displayName": "x"}}]},
}
QUERIES: Final = {"why": {"as": "public"}}


def kind_of(route: Route) -> str:
    return KINDS[beginning(route)]


def beginning(route: Route) -> str:
    """The path up to the id's kind."""
    return "/".join(route.path.split("/")[: 4 if route.path.startswith("/scim/") else 3])


WITH_ID: Final = [route for route in ROUTES if "{" in route.path]


def test_every_route_with_an_id_says_what_its_id_names() -> None:
    assert {beginning(route) for route in WITH_ID} <= set(KINDS), "name the new route's ids in KINDS"
    assert len({(route.method, route.path) for route in (*ROUTES, *HOT, *OPEN)}) == len(ROUTES) + len(HOT) + len(OPEN)


def asked(route: Route, key: str | None, path_id: str) -> dict[str, Any]:
    path = route.path.replace("{id}", path_id).replace("{response_id}", path_id)
    headers = {"authorization": f"Bearer {key}"} if key else {}
    body = BODIES.get(route.name, {}) if route.body is not None else None
    return {
        "method": route.method,
        "url": path,
        "json": body,
        "headers": headers,
        "params": {"other": path_id} if route.path.endswith("/diff") else QUERIES.get(route.name, {}),
    }


async def seen(http: aiohttp.ClientSession, request: dict[str, Any]) -> tuple[int, str]:
    async with http.request(**request) as reply:
        return reply.status, await reply.text()


@pytest.fixture
async def world(tmp_path: Path):  # type: ignore[no-untyped-def]
    """A server with two tenants, a key of each with every single scope, and real ids of the first tenant."""
    settings = settings_for(tmp_path / "data", server={"operator_tenant": "default"})
    async with running(settings) as (url, app, admin), aiohttp.ClientSession(url) as http:
        service, keys = KeyService(app.catalogue, app.catalogue), {}
        for tenant in ("default", "other"):
            for scope in (*SCOPES, ""):
                _, keys[tenant, scope] = await service.create(
                    system_principal(tenant), name="k", tenant=tenant, scopes=[scope] if scope else []
                )
        await app.authenticator.refresh()
        own = {"authorization": f"Bearer {admin}"}
        new = {
            "collection": "c",
            "documents": [{"external_id": "a", "text": "The depot closes at 18:40.", "allow": []}],
        }
        async with http.post("/v1/documents", json=new, headers=own) as reply:
            job = await reply.json()
        document = job["items"][0]["document_id"]
        keeper: Principal = system_principal("default")
        for _ in range(400):
            found = await app.catalogue.document_chunks(keeper, document)
            if found:
                break
            await asyncio.sleep(0.02)
        async with http.post("/v1/answers", json={"question": "When does the depot close?"}, headers=own) as reply:
            answer = (await reply.json())["id"]
        key = (await app.catalogue.keys(keeper))[0].id
        run = {"kind": "golden", "name": "set", "figures": {"ndcg_at_10": 1}}
        async with http.post("/v1/evaluations", json=run, headers=own) as reply:
            evaluation = (await reply.json())["id"]
        kept = {}
        for kind, body in (("user", {"userName": "ann"}), ("group", {"displayName": "hr"})):
            async with http.post(f"/scim/v2/{kind.title()}s", json=body, headers=own) as reply:
                kept[f"scim_{kind}"] = (await reply.json(content_type=None))["id"]
        ids = kept | {
            "evaluation": evaluation,
            "answer": answer,
            "document": document,
            "job": job["id"],
            "collection": "c",
            "passage": found[0].id,
            "key": key,
        }
        yield http, keys, ids


async def test_ids_of_another_tenant_are_refused_as_missing_ones_are_to_every_role(world) -> None:  # type: ignore[no-untyped-def]
    http, keys, ids = world
    compared = 0
    for route in WITH_ID:
        real = ids.get(kind_of(route), "x1")
        for (tenant, scope), key in keys.items():
            if tenant == "default" and scope in ("admin", route.scope):
                continue
            foreign, missing = [await seen(http, asked(route, key, path_id)) for path_id in (real, MISSING)]
            assert foreign == missing, (route.method, route.path, tenant, scope)
            assert foreign[0] in (400, 403, 404), (route.method, route.path, tenant, scope, foreign)
            compared += 1
        assert (await seen(http, asked(route, None, real)))[0] == 401, route.path
    assert compared > len(WITH_ID) * len(SCOPES)


async def test_one_may_do_with_ones_own_scope_only_what_needs_it(world) -> None:  # type: ignore[no-untyped-def]
    http, keys, ids = world
    for route in ROUTES:
        real = ids.get(kind_of(route), "x1") if "{" in route.path else ""
        for scope in (*SCOPES, ""):
            if not route.scope or scope in ("admin", route.scope):
                continue
            status, text = await seen(http, asked(route, keys["default", scope], real))
            told = msgspec.json.decode(text)
            code = (
                "scope_missing" if told.get("status") == "403" else told["error"]["code"]
            )  # SCIM has no code of its own
            assert (status, code) == (403, "scope_missing"), (route.path, scope)
    assert (
        await seen(
            http,
            {
                "method": "GET",
                "url": f"/v1/documents/{ids['document']}",
                "headers": {"authorization": f"Bearer {keys['default', 'admin']}"},
            },
        )
    )[0] == 200, "nothing of it was done"


async def test_an_administrator_reaches_what_is_of_the_tenant(world) -> None:  # type: ignore[no-untyped-def]
    """Without this, a matrix of refusals alone would pass on a server that refuses everything."""
    http, keys, ids = world
    read = [
        route for route in WITH_ID if route.method == "GET" and kind_of(route) in ids and "events" not in route.path
    ]
    assert len(read) >= 4
    for route in read:
        status, text = await seen(http, asked(route, keys["default", "admin"], ids[kind_of(route)]))
        assert status == 200, (route.path, text)
