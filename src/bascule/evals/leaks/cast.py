"""The people and documents of one run, and their names: short ones in findings, with the run's tag where the server sees them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from bascule.evals.leaks.world import Paper, Person, World

GROUPS: Final = ("hr", "finance", "interns", "all")
MARKS: Final = (*(f"group:{group}" for group in GROUPS), "user:kim", "user:ann")
SHELF: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "all": (("group:all",), ()),
    "hr": (("group:hr",), ()),
    "staff": (("group:all",), ("group:interns",)),
    "kims": (("user:kim",), ()),
    "nobodys": ((), ()),
}
_STAFF: Final = (("ann", "hr all"), ("ben", "finance interns all"), ("kim", "all"), ("eve", ""))


class Cast:
    """`admins`: tenant -> the key of one of its administrators. `tag`: what makes the names of this run its own."""

    def __init__(self, admins: Mapping[str, str], tag: str) -> None:
        self.tag = tag
        self.tenants = tuple(admins)
        self.world = World(self._people(), self._administrators(admins))

    def shelf(self, tenant: str) -> list[Paper]:
        """The documents that a tenant begins with."""
        return [self.paper(f"{tenant}-{name}", tenant, *rights) for name, rights in SHELF.items()]

    def paper(self, name: str, tenant: str, allow: tuple[str, ...], deny: tuple[str, ...] = ()) -> Paper:
        """A new document with a short name."""
        return self.world.paper(f"audit-{self.tag}-{name}", tenant, self.marks(allow), self.marks(deny))

    def find(self, name: str) -> Paper | None:
        """The document of this short name, while it lives."""
        paper = self.world.papers.get(f"audit-{self.tag}-{name}")
        return None if paper is None or paper.deleted else paper

    def short(self, paper: Paper) -> str:
        return paper.external_id.removeprefix(f"audit-{self.tag}-")

    def groups(self, names: tuple[str, ...]) -> set[str]:
        return {f"audit-{self.tag}-{name}" for name in names}

    def marks(self, marks: tuple[str, ...]) -> set[str]:
        return {mark.replace(":", f":audit-{self.tag}-", 1) for mark in marks}

    def _people(self) -> list[Person]:
        """The second tenant's people have the same subjects and groups as the first's: names are no rights elsewhere."""
        return [
            Person(
                name=f"{name}{'' if at == 0 else ' of ' + tenant}",
                tenant=tenant,
                subject=f"audit-{self.tag}-{name}",
                groups=self.groups(tuple(groups.split())),
                scopes=("chat", "ask", "ingest") if name == "ben" else ("chat", "ask"),
            )
            for at, tenant in enumerate(self.tenants)
            for name, groups in _STAFF
        ]

    def _administrators(self, admins: Mapping[str, str]) -> list[Person]:
        return [
            Person(name=f"administrator of {tenant}", tenant=tenant, subject="", key=key, admin=True)
            for tenant, key in admins.items()
        ]
