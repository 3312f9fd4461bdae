"""A whole run: people and documents of the audit's own, random acts with reads beside them, everything read after each, and then
all of it removed."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping
from random import Random

import msgspec

from bascule.evals.leaks.client import Client
from bascule.evals.leaks.judge import Finding
from bascule.evals.leaks.office import Office
from bascule.evals.leaks.scan import leaks
from bascule.evals.leaks.sweep import Sweep
from bascule.evals.leaks.world import Paper, Person, World

MAX_PAPERS = 16


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """`acts`: changes made one after another. `reads`: reads beside each. `model`: for plain calls, "" for none.
    `answers`: whether answers are asked for, which calls the configured model. `seed`: the same acts again."""

    acts: int = 12
    reads: int = 40
    model: str = ""
    answers: bool = True
    collection: str = "leak-audit"
    seed: int = 0


class Report(msgspec.Struct, frozen=True, kw_only=True):
    url: str
    tenants: int
    people: int
    papers: int
    acts: int
    replies: int
    took_s: float
    findings: tuple[Finding, ...]

    @property
    def clean(self) -> bool:
        return not self.findings


async def audit(
    url: str, admins: Mapping[str, str], plan: Plan, tell: Callable[[str, float], object], logs: Callable[[], bytes]
) -> Report:
    """`admins`: tenant -> key of an administrator; two tenants where there are two. `tell(what, done 0..1)`.
    `logs`: everything the server has logged so far, b"" where it cannot be read.

    Raises BasculeError when the audit itself cannot be done; what it made is removed even then.
    """
    async with Client(url) as client:
        run = Run(client, admins, plan)
        started_s = time.monotonic()
        try:
            findings = await run.go(tell)
            findings += run.in_logs(logs())
        finally:
            await run.office.clean()
        return Report(
            url=url,
            tenants=len(admins),
            people=len(run.world.people),
            papers=len(run.world.papers),
            acts=plan.acts,
            replies=run.sweep.replies,
            took_s=round(time.monotonic() - started_s, 1),
            findings=tuple(dict.fromkeys(findings)),
        )


class Run:
    """One audit under way: its world, its office, its readers."""

    def __init__(self, client: Client, admins: Mapping[str, str], plan: Plan) -> None:
        self._plan = plan
        self._random = Random(plan.seed)
        self._tag = secrets.token_hex(3)
        self._tenants = list(admins)
        self.world = World(self._people())
        self.office = Office(client, self.world, admins, plan.collection)
        self.sweep = Sweep(client, self.world, self.office, model=plan.model, answers=plan.answers)

    async def go(self, tell: Callable[[str, float], object]) -> list[Finding]:
        tell("making people and documents", 0.0)
        await self.begin()
        found = await self.sweep.quiet() + await self.sweep.caches()
        found += await self.unnoticed()
        for done in range(self._plan.acts):
            what, act = self.act()
            tell(what, done / self._plan.acts)
            reads = asyncio.create_task(self.sweep.busy(self._random, self._plan.reads))
            try:
                await act
            finally:
                beside = await reads
            beside += await self.sweep.quiet()
            found += [msgspec.structs.replace(finding, after=what) for finding in beside]
        tell("removing what was made", 1.0)
        return found

    async def begin(self) -> None:
        for person in self.world.people.values():
            await self.office.hire(person)
        for tenant in self._tenants:
            papers = [self.world.paper(*self._named(name, tenant), *rights) for name, rights in self._shelf().items()]
            await self.office.publish(papers)

    async def unnoticed(self) -> list[Finding]:
        """A document that is hidden from somebody leaves the lists this person is shown as they are."""
        person = next(iter(self.world.people.values()))
        before = await self.sweep.shapes(person)
        await self.office.publish([self.world.paper(*self._named("unnoticed", person.tenant), {self._group("nobody")})])
        after = await self.sweep.shapes(person)
        return [
            Finding(
                kind="count", who=person.name, where=where, what="changed by a document that is hidden", after="publish"
            )
            for where in before
            if before[where] != after[where]
        ]

    def in_logs(self, logged: bytes) -> list[Finding]:
        shown = leaks(logged, self.world.canaries()).values()
        return [Finding(kind="log", who="whoever reads the log", where="log", what=what) for what in shown]

    def act(self) -> tuple[str, asyncio.Future[None]]:
        """The next act, already chosen but not begun: what it is, and the act itself."""
        papers = [paper for paper in self.world.papers.values() if not paper.deleted]
        paper = self._random.choice(papers)
        person = self._random.choice(list(self.world.people.values()))
        choices = ["reright", "reright", "regroup", "rewrite", "delete", "publish"]
        kind = self._random.choice(choices)
        if kind == "publish" or len(papers) <= 3:
            kind = "publish" if len(self.world.papers) < MAX_PAPERS else "reright"
        if kind == "delete" and len(papers) <= 3:
            kind = "rewrite"
        return f"{kind} {paper.external_id if kind != 'regroup' else person.name}", self._begin(kind, paper, person)

    def _begin(self, kind: str, paper: Paper, person: Person) -> asyncio.Future[None]:
        if kind == "reright":
            return asyncio.ensure_future(self.office.reright(paper, *self._rights()))
        if kind == "regroup":
            wanted = {g for g in ("hr", "finance", "interns", "all") if self._random.random() < 0.5}
            return asyncio.ensure_future(self.office.regroup(person, {f"audit-{self._tag}-{g}" for g in wanted}))
        if kind == "rewrite":
            return asyncio.ensure_future(self.office.rewrite(paper))
        if kind == "delete":
            return asyncio.ensure_future(self.office.delete(paper))
        name = self._named(f"more-{len(self.world.papers)}", self._random.choice(self._tenants))
        return asyncio.ensure_future(self.office.publish([self.world.paper(*name, *self._rights())]))

    def _rights(self) -> tuple[set[str], set[str]]:
        marks = [self._group(g) for g in ("hr", "finance", "interns", "all")] + [self._user("kim"), self._user("ann")]
        allow = set(self._random.sample(marks, self._random.randint(0, 3)))
        return allow, set(self._random.sample(marks, self._random.randint(0, 1)))

    def _people(self) -> list[Person]:
        """The second tenant's people have the same subjects and groups as the first's: names are no rights elsewhere."""
        found = []
        for at, tenant in enumerate(self._tenants):
            for name, groups in (("ann", "hr all"), ("ben", "finance interns all"), ("kim", "all"), ("eve", "")):
                found.append(
                    Person(
                        name=f"{name}{'' if at == 0 else ' of ' + tenant}",
                        tenant=tenant,
                        subject=f"audit-{self._tag}-{name}",
                        groups={f"audit-{self._tag}-{group}" for group in groups.split()},
                        scopes=("chat", "ask", "ingest") if name == "ben" else ("chat", "ask"),
                    )
                )
        return found

    def _shelf(self) -> dict[str, tuple[set[str], set[str]]]:
        return {
            "all": ({self._group("all")}, set()),
            "hr": ({self._group("hr")}, set()),
            "staff": ({self._group("all")}, {self._group("interns")}),
            "kims": ({self._user("kim")}, set()),
            "nobodys": (set(), set()),
        }

    def _named(self, name: str, tenant: str) -> tuple[str, str]:
        return f"audit-{self._tag}-{tenant}-{name}", tenant

    def _group(self, name: str) -> str:
        return f"group:audit-{self._tag}-{name}"

    def _user(self, name: str) -> str:
        return f"user:audit-{self._tag}-{name}"
