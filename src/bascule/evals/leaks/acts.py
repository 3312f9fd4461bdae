"""What is done to documents and people between reads, as values: chosen at random, told, and done again in a fresh world."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random
from typing import Final, Literal

import msgspec

from bascule.evals.leaks.cast import GROUPS, MARKS, Cast
from bascule.evals.leaks.office import Office

MAX_PAPERS: Final = 16
MIN_PAPERS: Final = 3
Kind = Literal["reright", "regroup", "rewrite", "delete", "publish"]
_CHOICES: Final[tuple[Kind, ...]] = ("reright", "reright", "regroup", "rewrite", "delete", "publish")


class Act(msgspec.Struct, frozen=True, kw_only=True):
    """One change. `name`: of a document, or of a person for `regroup`. Names, marks and groups are short ones."""

    kind: Kind
    name: str
    tenant: str = ""
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()

    def __str__(self) -> str:
        """`reright acme-hr +group:all -user:kim`, `regroup ann hr`."""
        rights = [*(f"+{mark}" for mark in self.allow), *(f"-{mark}" for mark in self.deny)]
        return " ".join([self.kind, self.name, *rights, *self.groups])


def choose(random: Random, cast: Cast) -> Act:
    """The next act."""
    world = cast.world
    papers = [paper for paper in world.papers.values() if not paper.deleted]
    paper = random.choice(papers)
    person = random.choice(list(world.people.values()))
    kind = random.choice(_CHOICES)
    if kind == "publish" and len(papers) >= MAX_PAPERS:
        kind = "delete"
    if kind == "delete" and len(papers) <= MIN_PAPERS:
        kind = "publish"
    allow = tuple(sorted(random.sample(MARKS, random.randint(0, 3))))
    deny = tuple(random.sample(MARKS, random.randint(0, 1)))
    if kind == "regroup":
        return Act(kind=kind, name=person.name, groups=tuple(g for g in GROUPS if random.random() < 0.5))
    if kind == "publish":
        name = f"more-{len(world.papers)}"
        return Act(kind=kind, name=name, tenant=random.choice(cast.tenants), allow=allow, deny=deny)
    named = Act(kind=kind, name=cast.short(paper))
    return msgspec.structs.replace(named, allow=allow, deny=deny) if kind == "reright" else named


async def perform(act: Act, cast: Cast, office: Office) -> None:
    """Do it; nothing where what it is about is not there, as happens when acts before it were left out."""
    await _ACTS[act.kind](act, cast, office)


async def _reright(act: Act, cast: Cast, office: Office) -> None:
    if (paper := cast.find(act.name)) is not None:
        await office.reright(paper, cast.marks(act.allow), cast.marks(act.deny))


async def _regroup(act: Act, cast: Cast, office: Office) -> None:
    await office.regroup(cast.world.people[act.name], cast.groups(act.groups))


async def _rewrite(act: Act, cast: Cast, office: Office) -> None:
    if (paper := cast.find(act.name)) is not None:
        await office.rewrite(paper)


async def _delete(act: Act, cast: Cast, office: Office) -> None:
    if (paper := cast.find(act.name)) is not None:
        await office.delete(paper)


async def _publish(act: Act, cast: Cast, office: Office) -> None:
    await office.publish([cast.paper(act.name, act.tenant, act.allow, act.deny)])


_ACTS: Final[dict[Kind, Callable[[Act, Cast, Office], Awaitable[None]]]] = {
    "reright": _reright,
    "regroup": _regroup,
    "rewrite": _rewrite,
    "delete": _delete,
    "publish": _publish,
}
