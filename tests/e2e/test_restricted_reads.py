"""A6: what only the role opens to an administrator stands in the audit log first, on every route; nobody else's reads do."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec
import pytest
import sqlalchemy as sa

from bascule.bootstrap import App, catalogue_urls
from bascule.core.principals import system_principal
from bascule.db.engine import Database
from bascule.server.table import HOT, ROUTES
from bascule.testing.running import running, settings_for, until

CANARY: Final = "Zimtschnecke"
QUESTION: Final = f"When does the {CANARY} depot close?"
OPERATOR: Final = system_principal("default")
# Every route that shows an administrator somebody else's text. One that is new and does so fails the test below.
SHOWS: Final = {
    "GET /v1/answers",
    "GET /v1/answers/{id}/explain",
    "GET /v1/calls/{id}",
    "GET /v1/candidates",
    "GET /v1/documents/{id}/chunks",
    "GET /v1/evaluations/{id}",
    "GET /v1/passages/{id}",
    "POST /v1/answers",
    "POST /v1/answers/{id}/replay",
    "POST /v1/chat/completions",
    "POST /v1/messages",
    "POST /v1/responses",
    "POST /v1/search",
}
CHAT: Final = {"model": "rag/c", "messages": [{"role": "user", "content": "When does the depot close?"}]}
POSTS: Final[dict[str, Any]] = {
    "/v1/answers": {"question": "When does the depot close?"},
    "/v1/answers/{id}/replay": None,
    "/v1/search": {"query": "When does the depot close?"},
    "/v1/chat/completions": CHAT,
    "/v1/messages": CHAT | {"max_tokens": 100},
    "/v1/responses": {"model": "rag/c", "input": "When does the depot close?"},
    "/v1/embeddings": {"model": "m", "input": "depot"},
    "/v1/messages/count_tokens": CHAT,
}


def auth(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


class World(msgspec.Struct):
    http: aiohttp.ClientSession
    app: App
    admin: str
    ann: str
    ids: dict[str, str]

    async def call(self, method: str, path: str, key: str, body: Any = None) -> tuple[int, str]:
        params = {"other": self.ids["answer"]} if path.endswith("/diff") else None
        path = path.replace("{id}", self.ids.get(path.split("/")[2], "x1"))
        async with self.http.request(method, path, json=body, headers=auth(key), params=params) as reply:
            return reply.status, await reply.text()

    async def made(self, method: str, path: str, body: Any) -> dict[str, Any]:
        status, text = await self.call(method, path, self.ann, body)
        assert status < 300, (path, status, text)
        found: dict[str, Any] = msgspec.json.decode(text)
        return found

    async def acts(self) -> list[tuple[str, str, Any]]:
        rows = await self.app.catalogue.audit_rows(OPERATOR, 10_000)
        return [(row.act, row.target, row.facts) for row in reversed(rows)]


def reading() -> list[tuple[str, str, Any]]:
    """Every route that answers with something, from the server's own tables."""
    plain = [(r.method, r.path) for r in ROUTES if r.method == "GET" and not r.path.endswith("/events")]
    asked = [(r.method, r.path) for r in (*ROUTES, *HOT) if r.method == "POST" and r.path in POSTS]
    return [(method, path, POSTS.get(path) if method == "POST" else None) for method, path in plain + asked]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Ann's document, answer, feedback, model call with its text, and evaluation: all of it closed to the administrator's marks."""
    settings = settings_for(
        tmp_path / "data",
        providers={"echo": {"kind": "echo"}},
        models={"m": {"targets": [{"provider": "echo", "model": "echo"}], "keep_text": True}},
    )
    async with running(settings) as (url, app, admin), aiohttp.ClientSession(url) as http:
        _, ann = await app.keys.create(OPERATOR, name="ann", subject="ann", scopes=["chat", "ask", "ingest"])
        await app.authenticator.refresh()
        world = World(http, app, admin, ann, {})
        own = {"external_id": "a", "text": f"The {CANARY} depot closes at 18:40 on weekdays.", "allow": []}
        job = await world.made("POST", "/v1/documents", {"collection": "c", "documents": [own]})
        document = job["items"][0]["document_id"]

        async def indexed() -> bool:
            return bool(await app.catalogue.document_chunks(OPERATOR, document))

        await until(indexed, 20)
        answer = await world.made("POST", "/v1/answers", {"question": QUESTION, "model": "extractive"})
        world.ids["answers"] = world.ids["answer"] = answer["id"]
        await world.made("PUT", "/v1/answers/{id}/feedback", {"rating": 1, "correction": f"{CANARY}: 18:45"})
        said = {"model": "m", "messages": [{"role": "user", "content": f"Say {CANARY}"}]}
        await world.made("POST", "/v1/chat/completions", said)
        case = {"key": "k", "question": QUESTION, "document_ids": []}
        run = {"kind": "golden", "name": "set", "figures": {}, "cases": [case]}
        evaluation = await world.made("POST", "/v1/evaluations", run)
        await until(lambda: not app.calls.waiting, 5)
        calls = await app.catalogue.calls(OPERATOR, 50)
        passage = (await app.catalogue.document_chunks(OPERATOR, document))[0].id
        world.ids |= {
            "documents": document,
            "passages": passage,
            "evaluations": evaluation["id"],
            "calls": next(call.id for call in calls if call.model == "m"),
            "collections": "c",
            "jobs": job["id"],
        }
        yield world


async def test_A6_whatever_only_the_role_opens_is_in_the_audit_log_before_it_is_shown(world: World) -> None:
    shown = set()
    for method, path, body in reading():
        before = len(await world.acts())
        status, text = await world.call(method, path, world.admin, body)
        new = (await world.acts())[before:]
        if CANARY in text:
            shown.add(f"{method} {path}")
            assert status == 200 and new, f"{method} {path} showed what is ann's and left no entry"
            assert all("ann" in str(facts) or world.ids["documents"] in str(facts) for _, _, facts in new[:1])
    assert shown == SHOWS
    for path, acts in (("/v1/calls", ["calls.read"]), ("/v1/answers/{id}/diff", ["answer.read"] * 2)):
        before = len(await world.acts())
        status, text = await world.call("GET", path, world.admin)
        assert status == 200 and [act for act, _, _ in (await world.acts())[before:]] == acts
    before = len(await world.acts())
    status, text = await world.call("GET", "/v1/answers/{id}/explain?expect=a", world.admin)
    (entry,) = (await world.acts())[before:]
    assert status == 200 and entry[:2] == ("answer.read", world.ids["answer"])
    assert entry[2] == {"of": ["ann"], "people": 1, "documents": [world.ids["documents"]], "count": 1}
    await the_console_notes_as_the_api_does(world)
    assert await world.app.catalogue.audit_break() is None


async def test_A6_nothing_is_shown_when_the_entry_cannot_be_written(world: World) -> None:
    database = Database(catalogue_urls(world.app.settings)[0])
    full = "CREATE TRIGGER full BEFORE INSERT ON audit_log BEGIN SELECT RAISE(ABORT, 'disk full'); END"
    await database.write(lambda c: c.execute(sa.text(full)))
    await database.close()
    status, text = await world.call("GET", "/v1/answers/{id}/explain?expect=a", world.admin)
    assert status == 503 and CANARY not in text
    refused = set()
    for method, path, body in reading():
        status, text = await world.call(method, path, world.admin, body)
        assert CANARY not in text, f"{method} {path} showed what could not be noted"
        if status == 503:
            refused.add(f"{method} {path}")
    assert refused >= SHOWS
    assert (await world.call("POST", "/v1/search", world.ann, POSTS["/v1/search"]))[0] == 200, "her own reads go on"


async def test_A6_an_entry_for_each_request_and_none_for_what_is_ones_own_or_open(world: World) -> None:
    before = len(await world.acts())
    for method, path, body in reading():
        await world.call(method, path, world.ann, body)
    assert len(await world.acts()) == before, "an ordinary reader's reads leave none"
    public = [{"external_id": f"p{n}", "text": f"Ferry {n} sails at noon.", "allow": ["public"]} for n in range(3)]
    await world.made("POST", "/v1/documents", {"collection": "d", "documents": public})
    ferry = {"query": "When does the ferry sail?", "collections": ["d"], "limit": 3}

    async def found() -> bool:
        return (await world.call("POST", "/v1/search", world.ann, ferry))[1].count("sails at noon") == 3

    await until(found, 20)
    before = len(await world.acts())
    status, text = await world.call("POST", "/v1/search", world.admin, ferry)
    assert status == 200 and text.count("sails at noon") == 3 and len(await world.acts()) == before, "open to all"
    status, _ = await world.call("POST", "/v1/search", world.admin, {"query": "depot ferry", "limit": 10})
    (entry,) = (await world.acts())[before:]
    assert entry == ("search.read", "", {"documents": [world.ids["documents"]], "count": 1})


async def the_console_notes_as_the_api_does(world: World) -> None:
    origin = {"origin": str(world.http._base_url).rstrip("/")}
    async with aiohttp.ClientSession(world.http._base_url, cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser:
        async with browser.post("/console/login", data={"key": world.admin}, headers=origin) as reply:
            token = re.search(r'name="csrf" value="([^"]+)"', await reply.text())
            assert token is not None
        before = len(await world.acts())
        async with browser.get(f"/console/passage/{world.ids['passages']}") as reply:
            assert CANARY in await reply.text()
        async with browser.post(
            "/console/answer", data={"question": "When does the depot close?", "csrf": token[1]}, headers=origin
        ) as reply:
            assert CANARY in await reply.text()
        assert [act for act, _, _ in (await world.acts())[before:]] == ["document.read", "answer.ask"]
