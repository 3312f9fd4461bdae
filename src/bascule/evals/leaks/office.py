"""The acts of the tenants' administrators, each told to the oracle in the order that makes its judgement safe: what is granted
before it is sent, what is taken away after it was acknowledged."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from bascule.core.errors import Conflict, UpstreamInvalid
from bascule.evals.leaks.client import Client, Reply
from bascule.evals.leaks.probes import TOPIC
from bascule.evals.leaks.world import Paper, Person, World

WAIT_S: Final = 120.0


class Office:
    """`admins`: tenant -> the key of one of its administrators, with the scopes admin, ingest, ask and chat."""

    def __init__(self, client: Client, world: World, admins: Mapping[str, str], collection: str) -> None:
        self._client = client
        self._world = world
        self._admins = admins
        self.collection = collection
        self._spare: list[tuple[str, str]] = []  # (tenant, key id) of keys that were made

    async def hire(self, person: Person) -> None:
        """Give a person a key for the groups and roles of this moment; the one before is revoked."""
        old = person.key_id
        body = {
            "name": f"leak audit: {person.name}",
            "subject": person.subject,
            "groups": sorted(person.groups),
            "roles": sorted(person.roles),
            "scopes": list(person.scopes),
        }
        made = await self._do(person.tenant, "POST", "/v1/keys", body)
        person.key, person.key_id = made["key"], made["id"]
        self._spare.append((person.tenant, person.key_id))
        if old:
            await self._do(person.tenant, "DELETE", f"/v1/keys/{old}")

    async def regroup(self, person: Person, groups: Iterable[str]) -> None:
        """The person's key has these groups and no others when this returns; the directory forgets none. A group more can also take
        away: so what holds meanwhile is what was, or what will be, not both together."""
        wanted = set(groups)
        narrowed = replace(person, groups=wanted, between=[])
        person.between = [(person.groups, narrowed.directory), (wanted, narrowed.directory)]
        self._world.changed()
        await self.hire(narrowed)
        person.key, person.key_id = narrowed.key, narrowed.key_id
        person.groups, person.directory, person.between = wanted, narrowed.directory, []
        self._world.changed()

    async def publish(self, papers: Iterable[Paper]) -> None:
        """Take them in, all of one tenant, as they are now; indexed when this returns."""
        batch = list(papers)
        tenant = batch[0].tenant
        body = {"collection": self.collection, "documents": [_body(paper) for paper in batch]}
        self._world.changed()
        job = await self._do(tenant, "POST", "/v1/documents", body)
        await self._finished(tenant, job["id"])
        listed = await self.documents(tenant)
        for paper in batch:
            found = listed.get(paper.external_id)
            if found is None or found["state"] != "indexed":
                raise UpstreamInvalid(f"A document of the audit was not taken in: {found and found['reason']}")
            paper.id = found["id"]

    async def rewrite(self, paper: Paper) -> None:
        """Another text, title and name under the same external id. What it said before is gone when this returns."""
        old = self._world.renew(paper)
        await self.publish([paper])
        self._world.retire(old)
        self._world.changed()

    async def reright(self, paper: Paper, allow: Iterable[str], deny: Iterable[str]) -> None:
        paper.between = [(set(allow), set(deny))]
        self._world.changed()
        body = {"allow": sorted(allow), "deny": sorted(deny)}
        await self._do(paper.tenant, "PUT", f"/v1/documents/{paper.id}/rights", body)
        paper.allow, paper.deny, paper.between = set(allow), set(deny), []
        self._world.changed()

    async def delete(self, paper: Paper) -> None:
        await self._do(paper.tenant, "DELETE", f"/v1/documents/{paper.id}")
        paper.deleted = True
        self._world.changed()

    async def documents(self, tenant: str) -> dict[str, Any]:
        """external id -> document, of the audit's collection."""
        found: dict[str, Any] = {}
        after = ""
        while True:
            page = await self._do(
                tenant, "GET", f"/v1/documents?collection={self.collection}&limit=200{after and '&after=' + after}"
            )
            found.update((document["external_id"], document) for document in page["data"])
            if not page["next"]:
                return found
            after = page["next"]

    async def clean(self) -> None:
        """Delete the documents of the audit and revoke its keys, whatever has failed before."""
        for paper in self._world.papers.values():
            if paper.id and not paper.deleted:
                await self._send(paper.tenant, "DELETE", f"/v1/documents/{paper.id}")
                paper.deleted = True
        for tenant, key_id in self._spare:
            await self._send(tenant, "DELETE", f"/v1/keys/{key_id}")
        self._spare.clear()

    async def _finished(self, tenant: str, job_id: str) -> None:
        give_up_s = time.monotonic() + WAIT_S
        while (await self._do(tenant, "GET", f"/v1/jobs/{job_id}"))["state"] not in ("done", "failed"):
            if time.monotonic() > give_up_s:
                raise Conflict(f"A document of the audit was not taken in within {WAIT_S:.0f} s. Is ingestion paused?")
            await asyncio.sleep(0.02)

    async def _do(self, tenant: str, method: str, path: str, body: Any = None) -> Any:
        reply = await self._send(tenant, method, path, body)
        if reply.status >= 300:
            said = (reply.json() or {}).get("error", {}).get("message", "")
            raise UpstreamInvalid(f"{method} {path.partition('?')[0]} was answered {reply.status}. {said}")
        return reply.json()

    async def _send(self, tenant: str, method: str, path: str, body: Any = None) -> Reply:
        return await self._client.send(method, path, self._admins[tenant], body)


def _body(paper: Paper) -> dict[str, Any]:
    text = (
        f"# Paper {paper.text_canary}\n\n{TOPIC}, says {paper.text_canary}. The amount is {paper.text_canary} crowns.\n"
    )
    return {
        "external_id": paper.external_id,
        "name": f"{paper.title_canary}.md",
        "title": f"Paper {paper.title_canary}",
        "text": text,
        "allow": sorted(paper.allow),
        "deny": sorted(paper.deny),
        "metadata": {"shelf": paper.title_canary},
    }
