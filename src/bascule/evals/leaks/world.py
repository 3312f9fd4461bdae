"""Who may read what: the oracle of the leak audit, written anew so that it shares no mistake with what it judges.

A canary is a word that nobody could guess. Every version of a document carries two of its own: one in its text, one in its
title and name. Whoever is shown a canary has been shown the document.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(kw_only=True)
class Person:
    """`groups` are those of the key that the person sends, `directory` all that the directory knows: those too shut out.
    `between`: pairs of both that may count as well while a change runs. `admin`: reads all of the tenant's documents, and none
    that was deleted."""

    name: str
    tenant: str
    subject: str
    groups: set[str] = field(default_factory=set)
    directory: set[str] = field(default_factory=set)
    between: list[tuple[set[str], set[str]]] = field(default_factory=list)
    roles: set[str] = field(default_factory=set)
    scopes: tuple[str, ...] = ("chat", "ask")
    key: str = ""
    key_id: str = ""
    admin: bool = False

    def __post_init__(self) -> None:
        self.directory = self.directory | self.groups

    def marks(self) -> list[tuple[set[str], set[str]]]:
        """What lets this person in, and what shuts the person out: once for each state that may hold."""
        own = {"public", f"user:{self.subject}", *(f"role:{role}" for role in self.roles)}

        def named(groups: set[str]) -> set[str]:
            return own | {f"group:{group}" for group in groups}

        states = [(self.groups, self.directory), *self.between]
        return [(named(used), named(used | known)) for used, known in states]


@dataclass(kw_only=True)
class Paper:
    """One document as it is now. `between`: rights that may hold as well while a change of them runs."""

    external_id: str
    tenant: str
    allow: set[str] = field(default_factory=set)
    deny: set[str] = field(default_factory=set)
    id: str = ""
    text_canary: str = ""
    title_canary: str = ""
    deleted: bool = False
    between: list[tuple[set[str], set[str]]] = field(default_factory=list)

    def read_by(self, person: Person) -> bool:
        if self.deleted or person.tenant != self.tenant:
            return False
        return person.admin or any(
            not deny & shutting and bool(allow & opening)
            for allow, deny in [(self.allow, self.deny), *self.between]
            for opening, shutting in person.marks()
        )


@dataclass
class Watch:
    """One read under way: whatever was readable for an instant of it may be in its reply."""

    person: Person
    foreign: dict[str, str]


class World:
    """People, papers and every canary there ever was. `readers`: the people, and administrators, whose rights stay."""

    def __init__(self, people: Iterable[Person], administrators: Iterable[Person] = ()) -> None:
        self.people = {person.name: person for person in people}
        self.readers = [*self.people.values(), *administrators]
        self.papers: dict[str, Paper] = {}
        self._canaries: dict[str, tuple[Paper, str]] = {}  # canary -> its paper and what it is
        self._retired: set[str] = set()  # of versions that were replaced
        self._watches: list[Watch] = []
        self._known: dict[str, dict[str, str]] = {}  # reader -> what is foreign to them, until something changes

    def paper(self, external_id: str, tenant: str, allow: Iterable[str], deny: Iterable[str] = ()) -> Paper:
        made = Paper(external_id=external_id, tenant=tenant, allow=set(allow), deny=set(deny))
        self.papers[external_id] = made
        self.renew(made)
        return made

    def renew(self, paper: Paper) -> tuple[str, str]:
        """New canaries for the paper's next version; what it had."""
        old = (paper.text_canary, paper.title_canary)
        paper.text_canary, paper.title_canary = canary(), canary()
        self._canaries[paper.text_canary] = (paper, "text")
        self._canaries[paper.title_canary] = (paper, "title")
        self._known.clear()
        return old

    def retire(self, canaries: Iterable[str]) -> None:
        self._retired.update(c for c in canaries if c)

    def visible(self, person: Person) -> list[Paper]:
        return [paper for paper in self.papers.values() if paper.read_by(person)]

    def known(self, deleted: int) -> list[Paper]:
        """Documents that have an id: those that live, and the last so many that were deleted."""
        there = [paper for paper in self.papers.values() if paper.id]
        gone = [paper for paper in there if paper.deleted]
        return [paper for paper in there if not paper.deleted] + gone[max(0, len(gone) - deleted) :]

    def foreign(self, person: Person) -> dict[str, str]:
        """Every canary the person may not be shown now, and what it stands for."""
        found = {}
        for word, (paper, where) in self._canaries.items():
            if word in self._retired:
                found[word] = f"the {where} of an earlier version of {paper.external_id}"
            elif not paper.read_by(person):
                state = "deleted" if paper.deleted else f"of {paper.tenant}"
                found[word] = f"the {where} of {paper.external_id} ({state})"
        return found

    def an_earlier_name(self, word: str, person: Person) -> bool:
        """The name that a document which the person may read had before."""
        paper, where = self._canaries[word]
        return word in self._retired and where == "title" and paper.read_by(person)

    def watch(self, person: Person) -> Watch:
        """Begin a read: see `Watch`. End it with `end`."""
        watch = Watch(person, self._foreign_now(person))
        self._watches.append(watch)
        return watch

    def end(self, watch: Watch) -> dict[str, str]:
        """What was foreign to the reader from the read's begin to now, without a break."""
        self._watches.remove(watch)
        return watch.foreign

    def changed(self) -> None:
        """To be called after every change of this world."""
        self._known.clear()
        for watch in self._watches:
            now = self._foreign_now(watch.person)
            watch.foreign = {word: what for word, what in watch.foreign.items() if word in now}

    def _foreign_now(self, person: Person) -> dict[str, str]:
        if person.name not in self._known:
            self._known[person.name] = self.foreign(person)
        return self._known[person.name]

    def canaries(self) -> dict[str, str]:
        """All of them: for logs, metrics and whatever belongs to nobody."""
        return {word: f"the {where} of {paper.external_id}" for word, (paper, where) in self._canaries.items()}


def canary() -> str:
    """A word of 18 letters and digits, in one case, that tokenizers and cleaners leave whole."""
    return "zq" + secrets.token_hex(8)
