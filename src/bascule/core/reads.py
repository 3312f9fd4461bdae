"""Reads by virtue of a role: what an administrator sees that is neither theirs nor open to their own marks."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Protocol

from bascule.core.principals import Principal

Maker = tuple[str, str]  # subject and key id of whoever asked, ran or gave it


class Reads(Protocol):
    async def note_read(
        self,
        principal: Principal,
        act: str,
        target: str,
        *,
        document_ids: Iterable[str] = (),
        of: Iterable[Maker] = (),
    ) -> None:
        """One entry in the audit log, before anything is shown, where an administrator reads documents that only the role
        opens, or what others made. None for anybody else, nor for the operator's own work. Raises StorageError when it cannot
        be written: then nothing may be shown."""
        ...


class Gathered:
    """What one principal read by virtue of the role, for one entry."""

    def __init__(self, principal: Principal) -> None:
        self.principal = principal
        self.document_ids: set[str] = set()
        self.of: set[Maker] = set()


_gathering: ContextVar[Gathered | None] = ContextVar("bascule_gathered_reads", default=None)


@asynccontextmanager
async def one_entry(reads: Reads, principal: Principal, act: str, target: str) -> AsyncGenerator[None]:
    """All that this principal reads within is one entry, written at the end: what was read may be shown after it only."""
    gathered = Gathered(principal)
    before = _gathering.set(gathered)
    try:
        yield
    finally:
        _gathering.reset(before)
    await reads.note_read(principal, act, target, document_ids=gathered.document_ids, of=gathered.of)


def gathered_by(principal: Principal) -> Gathered | None:
    """Where a read of theirs is noted at this moment; None: in an entry of its own."""
    gathered = _gathering.get()
    return gathered if gathered is not None and gathered.principal == principal else None


def made_by_others(principal: Principal, makers: Iterable[Maker]) -> list[str]:
    """Who they are: subjects, and keys that speak for nobody."""
    names = {subject or key_id for subject, key_id in makers if not _own(principal, subject, key_id)}
    return sorted(names)


def _own(principal: Principal, subject: str, key_id: str) -> bool:
    if subject and subject == principal.subject:
        return True
    return bool(key_id) and key_id == principal.key_id
