"""Reading everything as everybody: quietly between acts, and at random while one goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from random import Random

from bascule.evals.leaks import judge
from bascule.evals.leaks.client import Client, Reply
from bascule.evals.leaks.judge import Finding
from bascule.evals.leaks.office import Office
from bascule.evals.leaks.probes import MISSING, QUESTION, Known, Probe, probes
from bascule.evals.leaks.scan import shape, strings
from bascule.evals.leaks.world import Person, World, canary

REMEMBERED = 6  # answers, calls, jobs and deleted documents that are asked for again by everybody
AT_ONCE = 8


class Sweep:
    """`replies`: how many were judged. `model`: of plain calls, "" for none; `answers`: whether answers are asked for."""

    def __init__(self, client: Client, world: World, office: Office, *, model: str = "", answers: bool = True) -> None:
        self._client = client
        self._world = world
        self._office = office
        self._model = model
        self._with_answers = answers
        self._places = asyncio.Semaphore(AT_ONCE)
        self._ids: dict[str, list[str]] = {"answers": [], "calls": [], "jobs": [], "chunks": []}
        self.replies = 0

    async def quiet(self) -> list[Finding]:
        """Everybody reads everything while nothing changes."""
        await self._learn()
        readers, wanted = self._world.readers, self._probes()
        found = await asyncio.gather(*(self._one(reader, probe, calm=True) for reader in readers for probe in wanted))
        alike = await asyncio.gather(*(self._alike(reader) for reader in readers))
        return [finding for part in (*found, *alike) for finding in part]

    async def busy(self, random: Random, reads: int) -> list[Finding]:
        """`reads` reads by random people, judged by what was foreign to them from beginning to end."""
        readers, choices = self._world.readers, self._probes()
        wanted = [(random.choice(readers), random.choice(choices)) for _ in range(reads)]
        found = await asyncio.gather(*(self._one(person, probe, calm=False) for person, probe in wanted))
        return [finding for part in found for finding in part]

    async def caches(self) -> list[Finding]:
        """The same words to a model by people of different tenants: what one tenant was answered is no hit for another."""
        if not self._model:
            return []
        body = {"model": self._model, "messages": [{"role": "user", "content": f"{QUESTION} {canary()}"}]}
        probe = Probe(label="the same call", method="POST", path="/v1/chat/completions", body=body)
        found, tenants = [], set[str]()
        for person in self._world.people.values():
            reply = await self._client.read(probe, person.key)
            self.replies += 1
            if tenants and person.tenant not in tenants and reply.headers.get("x-bascule-cache") == "HIT":
                found.append(Finding(kind="cache", who=person.name, where=probe.label, what="another tenant's answer"))
            tenants.add(person.tenant)
        return found

    async def shapes(self, person: Person) -> dict[str, object]:
        """Keys and lengths of what the person is shown: a document that is hidden must not change them."""
        found = {}
        for probe in self._probes():
            if not probe.changing:
                found[probe.label] = shape((await self._client.read(probe, person.key)).json())
                self.replies += 1
        return found

    def _probes(self) -> Sequence[Probe]:
        known = Known(
            documents={paper.external_id: paper.id for paper in self._world.known(REMEMBERED)},
            **{kind: tuple(ids) for kind, ids in self._ids.items()},
        )
        where = self._office.collection
        return list(probes(where, known, model=self._model, answers=self._with_answers))

    async def _one(self, person: Person, probe: Probe, *, calm: bool) -> list[Finding]:
        async with self._places:
            watch = self._world.watch(person)
            try:
                reply = await self._client.read(probe, person.key)
            finally:
                foreign = self._world.end(watch)
        self.replies += 1
        self._remember(probe, reply)
        found = list(judge.canaries(probe, reply, person, foreign, self._world))
        if calm:
            found += judge.quiet(probe, reply, person, self._world, self._office.collection)
        return found

    async def _alike(self, person: Person) -> list[Finding]:
        """A hidden document and one that never was."""
        hidden = [p.id for p in self._world.known(REMEMBERED) if not p.read_by(person)]
        found = []
        for rest in ("", "/chunks"):
            missing = await self._client.send("GET", f"/v1/documents/{MISSING}{rest}", person.key)
            for id_ in hidden:
                reply = await self._client.send("GET", f"/v1/documents/{id_}{rest}", person.key)
                self.replies += 1
                if judge.told_apart(reply, missing, id_):
                    what = f"hidden is answered {reply.status}, missing {missing.status}, or in other words"
                    found.append(Finding(kind="told apart", who=person.name, where=f"document{rest}", what=what))
        return found

    def _remember(self, probe: Probe, reply: Reply) -> None:
        if probe.path == "/v1/answers":
            self._add("answers", list(strings(reply.json(), "id"))[:1])
        elif probe.path.startswith("/v1/calls?"):
            self._add("calls", list(strings(reply.json(), "id"))[:1])
        elif probe.path.startswith("/v1/jobs?"):
            self._add("jobs", list(strings(reply.json(), "id"))[:1])

    def _add(self, kind: str, ids: Iterable[str]) -> None:
        known = self._ids[kind]
        known.extend(id_ for id_ in ids if id_ not in known)
        del known[:-REMEMBERED]

    async def _learn(self) -> None:
        """Passages' ids, from people who may read them: everybody will try them."""
        for paper in self._world.known(0):
            reader = next((p for p in self._world.people.values() if paper.read_by(p)), None)
            if reader is not None:
                reply = await self._client.send("GET", f"/v1/documents/{paper.id}/chunks", reader.key)
                ids = list(strings(reply.json(), "chunk_id"))
                self._ids["chunks"].extend(i for i in ids if i not in self._ids["chunks"])
        del self._ids["chunks"][: -4 * REMEMBERED]
