"""Nobody is shown a document they may not read: two tenants, four principals, a model that returns its whole prompt.

Every document carries a canary. After each act, every principal calls every reading route; everything that comes back, everything
logged and every metric is searched for canaries of documents that principal may not read at that moment.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from bascule.bootstrap import App
from bascule.core.connectors import SourceItem
from bascule.core.principals import Principal, system_principal
from bascule.core.rights import Rights, may_read
from bascule.testing.running import running, settings_for, until

GATEWAY = {
    "providers": {"echo": {"kind": "echo"}},
    "models": {"echo": {"targets": [{"provider": "echo", "model": "echo"}]}},
    "rag": {"embedding_model": None, "chat_model": "echo"},
}
PEOPLE = {  # name -> (tenant, subject, groups)
    "ann": ("acme", "ann", ("hr",)),
    "ben": ("acme", "ben", ("finance", "interns")),
    "kim": ("acme", "kim", ()),
    "zoe": ("rival", "zoe", ("hr",)),
}
PAPERS = {  # external id -> (tenant, rights)
    "public": ("acme", Rights.of(allow=["public"])),
    "hr": ("acme", Rights.of(allow=["group:hr"])),
    "staff": ("acme", Rights.of(allow=["public"], deny=["group:interns"])),
    "owned": ("acme", Rights.of(owner="kim")),
    "other": ("rival", Rights.of(allow=["public", "group:hr"])),
}
TOPIC = "The quarterly bonus for bridge keepers is paid in March"


class World:
    """The running service, the people's keys, and the oracle: what each document's rights are now (None: deleted)."""

    def __init__(self, url: str, app: App) -> None:
        self.url = url
        self.app = app
        self.keys: dict[str, str] = {}
        self.people: dict[str, Principal] = {}
        self.rights: dict[str, Rights | None] = {}
        self.canaries: dict[str, str] = {}
        self.ids: dict[str, str] = {}
        self.answers: list[str] = []
        self.chunks: list[str] = []

    async def build(self) -> None:
        operator = system_principal("acme")
        for name, (tenant, subject, groups) in PEOPLE.items():
            record, key = await self.app.keys.create(
                operator, name=name, tenant=tenant, subject=subject, groups=groups, roles=(), scopes=["chat", "ask"]
            )
            self.keys[name] = key
            self.people[name] = Principal(
                tenant=tenant, subject=subject, groups=frozenset(groups), scopes=record.scopes, key_id=record.id
            )
        await self.app.authenticator.refresh()
        for tenant in ("acme", "rival"):
            await self.ingest(tenant)

    async def ingest(self, tenant: str) -> None:
        assert self.app.ingest is not None
        items = []
        for name, (owner, rights) in PAPERS.items():
            if owner != tenant:
                continue
            self.canaries[name] = canary = f"zq{secrets.token_hex(8)}"
            self.rights[name] = rights
            text = f"# Paper {canary}\n\n{TOPIC}, says {canary}. The amount in paper {name} is {canary} crowns.\n"
            items.append(
                SourceItem(external_id=f"{name}-{canary}", name=f"{canary}.md", data=text.encode(), rights=rights)
            )
        who = system_principal(tenant)
        job, skipped = await self.app.ingest.take(who, "papers", items, None)
        assert not skipped

        async def ended() -> bool:
            return (await self.app.catalogue.job(who, job.id)).state in ("done", "failed")

        await until(ended, 60)
        for document in await self.app.catalogue.documents(who, "papers", 100, None):
            for name, canary in self.canaries.items():
                if document.external_id == f"{name}-{canary}":
                    assert document.state == "indexed", document.reason
                    self.ids[name] = document.id

    def forbidden(self, who: str) -> dict[str, str]:
        principal = self.people[who]
        return {
            canary: name
            for name, canary in self.canaries.items()
            if PAPERS[name][0] != principal.tenant
            or (rights := self.rights[name]) is None
            or not may_read(rights, principal)
        }


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running(settings_for(tmp_path / "data", **GATEWAY)) as (url, app, _):
        world = World(url, app)
        await world.build()
        yield world


async def everything(world: World, who: str, http: aiohttp.ClientSession) -> dict[str, bytes]:
    """Every reading route, as this person: route -> status, headers and body as one string of bytes."""
    found: dict[str, bytes] = {}

    async def call(label: str, method: str, path: str, body: object = None) -> bytes:
        headers = {"authorization": f"Bearer {world.keys[who]}"}
        async with http.request(method, world.url + path, json=body, headers=headers) as reply:
            payload = await reply.read()
            assert reply.status < 500, (label, reply.status, payload[:300])
            found[label] = str(reply.status).encode() + repr(dict(reply.headers)).encode() + payload
            return payload

    question = "When is the quarterly bonus for bridge keepers paid and what is the amount?"
    for collections in (None, ["papers"]):
        extra = {} if collections is None else {"collections": collections}
        await call(f"search {collections}", "POST", "/v1/search", {"query": question, "limit": 50, **extra})
        answer = await call(f"answer {collections}", "POST", "/v1/answers", {"question": question, **extra})
        if b'"id"' in answer:
            world.answers.append(json.loads(answer).get("id", "none"))
        await call(f"stream {collections}", "POST", "/v1/answers", {"question": question, "stream": True, **extra})
    chat = {"model": "rag/papers", "messages": [{"role": "user", "content": question}]}
    await call("rag chat", "POST", "/v1/chat/completions", chat)
    await call("rag chat stream", "POST", "/v1/chat/completions", {**chat, "stream": True})
    await call("chat", "POST", "/v1/chat/completions", {**chat, "model": "echo"})
    for path in ("/v1/documents", "/v1/collections", "/v1/jobs", "/v1/models", "/metrics", "/openapi.json", "/readyz"):
        await call(path, "GET", path)
    for name, document_id in world.ids.items():
        for path in ("", "/chunks"):
            await call(f"document {name}{path}", "GET", f"/v1/documents/{document_id}{path}")
    for answer_id in dict.fromkeys(world.answers):
        await call(f"explain {answer_id}", "GET", f"/v1/answers/{answer_id}/explain")
    for chunk in world.chunks:
        await call(f"passage {chunk}", "GET", f"/v1/passages/{chunk}")
    return found


async def audit(world: World, caplog: pytest.LogCaptureFixture) -> int:
    """Search every byte for canaries the reader may not see. How many responses were searched."""
    searched = 0
    async with aiohttp.ClientSession() as http:
        for who in PEOPLE:
            forbidden = world.forbidden(who)
            for label, payload in (await everything(world, who, http)).items():
                searched += 1
                for canary, name in forbidden.items():
                    assert canary.encode() not in payload, f"{who} saw a canary of {name!r} in {label}"
    logged = "\n".join(record.getMessage() for record in caplog.records)
    assert not [c for c in world.canaries.values() if c in logged], "a canary was logged"
    return searched


async def learn_chunks(world: World) -> None:
    world.chunks = sorted(
        await world.app.catalogue.live_chunk_ids("acme") | await world.app.catalogue.live_chunk_ids("rival")
    )


async def test_A4_no_canary_of_a_forbidden_document_reaches_anyone_through_grant_revoke_and_delete(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="bascule")
    await learn_chunks(world)
    assert len(world.chunks) >= len(PAPERS)
    searched = await audit(world, caplog)

    async with aiohttp.ClientSession() as http:  # the audit can see what it looks for: the readable ones do appear
        seen = b"".join((await everything(world, "ann", http)).values())
        assert world.canaries["public"].encode() in seen
        assert world.canaries["hr"].encode() in seen
        assert world.canaries["staff"].encode() in seen

    boss = system_principal("acme")
    for name, rights in (
        ("hr", Rights.of(allow=["group:finance"])),
        ("public", Rights.of(allow=["public"], deny=["user:ann"])),
    ):
        world.rights[name] = (await world.app.catalogue.set_rights(boss, world.ids[name], rights)).rights
        searched += await audit(world, caplog)
    assert world.app.ingest is not None
    for name in ("hr", "staff"):
        await world.app.ingest.delete(boss, world.ids[name])
        world.rights[name] = None
        searched += await audit(world, caplog)
    assert searched > 500


async def test_A3_missing_and_forbidden_documents_look_exactly_alike(world: World) -> None:
    missing = "0190aaaa-bbbb-7ccc-8ddd-eeeeeeeeeeee"
    await learn_chunks(world)
    async with aiohttp.ClientSession(headers={"authorization": f"Bearer {world.keys['zoe']}"}) as http:
        for route in ("/v1/documents/{}", "/v1/documents/{}/chunks"):
            bodies = set()
            for document_id in (world.ids["hr"], world.ids["owned"], missing):
                async with http.get(world.url + route.format(document_id)) as reply:
                    assert reply.status == 404
                    bodies.add(await reply.read())
            assert len(bodies) == 1
        readable = set()
        for chunk in [*world.chunks, "0" * 32]:
            async with http.get(f"{world.url}/v1/passages/{chunk}") as reply:
                readable.add((reply.status, b"" if reply.status == 200 else await reply.read()))
        assert len(readable) == 2  # one's own, and one single kind of refusal


async def test_A4_a_cached_model_call_is_never_served_to_someone_who_may_read_less(world: World) -> None:
    """Ben and Ann ask the same question at the same time; each gets the echo of the passages they may read themselves."""
    question = {"question": "What is the amount of the quarterly bonus for bridge keepers?"}
    async with aiohttp.ClientSession() as http:
        for _ in range(3):
            for who in ("ann", "ben", "kim", "zoe"):
                headers = {"authorization": f"Bearer {world.keys[who]}"}
                async with http.post(f"{world.url}/v1/answers", json=question, headers=headers) as reply:
                    payload = await reply.read()
                assert not [n for c, n in world.forbidden(who).items() if c.encode() in payload]


async def test_A4_a_trace_resolves_its_passages_under_the_readers_rights_of_today(world: World) -> None:
    headers = {"authorization": f"Bearer {world.keys['ann']}"}
    async with aiohttp.ClientSession(headers=headers) as http:
        async with http.post(
            f"{world.url}/v1/answers", json={"question": "When is the quarterly bonus paid?"}
        ) as reply:
            answer = json.loads(await reply.read())
        assert answer["status"] in ("answered", "partial")
        await world.app.catalogue.set_rights(system_principal("acme"), world.ids["hr"], Rights.of())
        async with http.get(f"{world.url}/v1/answers/{answer['id']}/explain") as reply:
            explained = await reply.read()
    assert world.canaries["public"].encode() in explained
    assert world.canaries["hr"].encode() not in explained
