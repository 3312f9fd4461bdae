"""Reads by virtue of a role: what an administrator sees that is neither theirs nor open to their own marks."""

from __future__ import annotations

from collections.abc import Iterable
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


def made_by_others(principal: Principal, makers: Iterable[Maker]) -> list[str]:
    """Who they are: subjects, and keys that speak for nobody."""
    names = {subject or key_id for subject, key_id in makers if not _own(principal, subject, key_id)}
    return sorted(names)


def _own(principal: Principal, subject: str, key_id: str) -> bool:
    if subject and subject == principal.subject:
        return True
    return bool(key_id) and key_id == principal.key_id
