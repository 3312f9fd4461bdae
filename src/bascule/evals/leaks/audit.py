"""A whole run: people and documents of the audit's own, random acts with reads beside them, everything read after each, and then
all of it removed."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random

import msgspec

from bascule.core.errors import BasculeError
from bascule.evals.leaks.acts import Act, choose, perform
from bascule.evals.leaks.cast import Cast
from bascule.evals.leaks.client import Client
from bascule.evals.leaks.judge import Finding
from bascule.evals.leaks.office import Office
from bascule.evals.leaks.scan import leaks
from bascule.evals.leaks.shrink import shortest
from bascule.evals.leaks.sweep import Sweep

Tell = Callable[[str, float], object]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """`acts`: changes made one after another; `replies`: and on, until so many were judged. `reads`: reads beside each act.
    `model`: for plain calls, "" for none. `answers`: whether answers are asked for, which calls the configured model. `seed`: the
    same acts again. `tries`: runs that are made to shorten a list of acts that fails.
    """

    acts: int = 12
    reads: int = 40
    replies: int = 0
    model: str = ""
    answers: bool = True
    collection: str = "leak-audit"
    seed: int = 0
    tries: int = 12


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """`shortest`: of the acts, those that bring a finding by themselves, none where it needs no act."""

    url: str
    tenants: int
    people: int
    papers: int
    acts: int
    replies: int
    took_s: float
    findings: tuple[Finding, ...]
    shortest: tuple[str, ...] = ()
    tries: int = 0

    @property
    def clean(self) -> bool:
        return not self.findings


async def audit(url: str, admins: Mapping[str, str], plan: Plan, tell: Tell, logs: Callable[[], bytes]) -> Report:
    """`admins`: tenant -> key of an administrator; two tenants where there are two. `tell(what, done 0..1)`.
    `logs`: everything the server has logged so far, b"" where it cannot be read.

    Raises BasculeError when the audit itself cannot be done; what it made is removed even then.
    """
    started_s = time.monotonic()
    async with Client(url) as client:
        run = Run(client, admins, plan)
        try:
            findings = await run.go(tell)
            findings += run.in_logs(logs())
        finally:
            await run.office.clean()
        left, tries = await _shortened(client, admins, plan, run.failing, tell)
    return Report(
        url=url,
        tenants=len(admins),
        people=len(run.world.people),
        papers=len(run.world.papers),
        acts=len(run.done),
        replies=run.sweep.replies,
        took_s=round(time.monotonic() - started_s, 1),
        findings=tuple(dict.fromkeys(findings)),
        shortest=tuple(map(str, left)),
        tries=tries,
    )


async def _shortened(
    client: Client, admins: Mapping[str, str], plan: Plan, failing: tuple[Finding, tuple[Act, ...]] | None, tell: Tell
) -> tuple[tuple[Act, ...], int]:
    if failing is None:
        return (), 0
    kind, acts = failing[0].kind, failing[1]

    async def fails(fewer: tuple[Act, ...]) -> bool:
        tell(f"again with {len(fewer)} of {len(acts)} acts", 1.0)
        run = Run(client, admins, plan, fewer)
        try:
            return kind in {finding.kind for finding in await run.go(lambda *_: None)}
        except BasculeError:  # fewer acts may be impossible ones: of them nothing is known
            return False
        finally:
            await run.office.clean()

    return await shortest(acts, fails, plan.tries)


class Run:
    """One audit under way: its world, its office, its readers. `script`: acts to be done instead of chosen ones.

    done     the acts so far
    failing  the first finding that came after an act, with the acts up to it
    """

    def __init__(
        self, client: Client, admins: Mapping[str, str], plan: Plan, script: Sequence[Act] | None = None
    ) -> None:
        self._plan = plan
        self._script = script
        self._random = Random(plan.seed)
        self.cast = Cast(admins, secrets.token_hex(3))
        self.world = self.cast.world
        self.office = Office(client, self.world, admins, plan.collection)
        self.sweep = Sweep(client, self.world, self.office, model=plan.model, answers=plan.answers)
        self.done: list[Act] = []
        self.failing: tuple[Finding, tuple[Act, ...]] | None = None

    async def go(self, tell: Tell) -> list[Finding]:
        tell("making people and documents", 0.0)
        await self.begin()
        found = await self.sweep.quiet() + await self.sweep.caches()
        found += await self.unnoticed()
        for act in self._acts():
            tell(str(act), min(1.0, len(self.done) / max(1, self._plan.acts)))
            self.done.append(act)
            after = await self._one(act)
            if after and self.failing is None:
                self.failing = after[0], tuple(self.done)
            found += after
        tell("removing what was made", 1.0)
        return found

    async def _one(self, act: Act) -> list[Finding]:
        reads = asyncio.create_task(self.sweep.busy(self._random, self._plan.reads))
        try:
            await perform(act, self.cast, self.office)
        finally:
            beside = await reads
        beside += await self.sweep.quiet()
        return [msgspec.structs.replace(finding, after=str(act)) for finding in beside]

    def _acts(self) -> Iterator[Act]:
        if self._script is not None:
            yield from self._script
            return
        chance = Random(self._plan.seed)  # of its own: how many reads there are changes no act
        while len(self.done) < self._plan.acts or self.sweep.replies < self._plan.replies:
            yield choose(chance, self.cast)

    async def begin(self) -> None:
        for person in self.world.people.values():
            await self.office.hire(person)
        for tenant in self.cast.tenants:
            await self.office.publish(self.cast.shelf(tenant))

    async def unnoticed(self) -> list[Finding]:
        """Documents that are hidden from somebody leave what this person is shown as it is: as many things, of the same length."""
        person = next(iter(self.world.people.values()))
        before = await self.sweep.shapes(person)
        hidden = [self.cast.paper(f"unnoticed-{n}", person.tenant, ("group:nobody",)) for n in range(2)]
        await self.office.publish(hidden)
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
