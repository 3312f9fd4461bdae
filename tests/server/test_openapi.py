"""The description and what is served are the same thing."""

from __future__ import annotations

import json
import re

import aiohttp

from bascule.rag.events import schemas
from bascule.server.openapi import document
from bascule.server.table import HOT, OPEN, ROUTES
from bascule.testing.server import FakeApp, serving


def described() -> dict:
    return json.loads(document())


def operations() -> list[tuple[str, str, dict]]:
    return [(m.upper(), path, op) for path, methods in described()["paths"].items() for m, op in methods.items()]


def test_every_route_is_described_and_nothing_else():
    served = {(route.method, route.path) for route in (*ROUTES, *HOT, *OPEN)}
    assert {(method, path) for method, path, _ in operations()} == served
    assert len(served) == len(ROUTES) + len(HOT) + len(OPEN)


def test_every_reference_leads_to_a_schema():
    text = document().decode()
    wanted = set(re.findall(r'"\$ref":"#/components/schemas/([^"]+)"', text))
    assert wanted and wanted <= set(described()["components"]["schemas"])


def test_operations_are_whole():
    ids = [op["operationId"] for _, _, op in operations()]
    assert len(ids) == len(set(ids))
    bare = {
        "/v1/reload",
        "/v1/answers/{id}/replay",
        *(f"/v1/jobs/{{id}}/{act}" for act in ("cancel", "pause", "resume", "retry")),
    }
    for method, path, op in operations():
        named = {p["name"] for p in op.get("parameters", []) if p["in"] == "path"}
        assert named == set(re.findall(r"{(\w+)}", path)), path
        assert op["summary"] and op["tags"] and op["responses"], path
        assert ("requestBody" in op) == (method in ("POST", "PUT", "PATCH") and path not in bare), path
        assert ("x-scope" in op) == bool(op["security"]), path
        for code, response in op["responses"].items():
            assert re.fullmatch(r"[2345]\d\d", code) and response["description"], path


def test_own_bodies_refuse_unknown_fields_in_the_description_too():
    schemas = described()["components"]["schemas"]
    for route in ROUTES:
        if route.body is not None and not route.path.startswith(
            "/scim/"
        ):  # which asks to read over what one does not know
            assert schemas[route.body.__name__]["additionalProperties"] is False


def test_the_events_of_a_streamed_answer_have_schemas():
    events = described()["paths"]["/v1/answers"]["post"]["x-events"]
    assert list(events) == ["sources", "delta", "citation", "done", "error"]
    assert set(events) == set(schemas())
    components = described()["components"]["schemas"]
    for name, ref in events.items():
        described_fields = components[ref["$ref"].rpartition("/")[2]]["properties"]
        own = schemas()[name]
        assert set(described_fields) == set(own["$defs"][own["$ref"].rpartition("/")[2]]["properties"]), name


async def test_it_is_served_to_everybody():
    async with serving(FakeApp()) as (url, _), aiohttp.ClientSession() as http:
        async with http.get(url + "/openapi.json") as reply:
            served = await reply.json(content_type="application/json")
    assert served["openapi"].startswith("3.1")
    assert served == described()
