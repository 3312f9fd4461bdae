"""Reads by virtue of a role, in the audit log before they are shown: implements `core.reads.Reads`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from bascule.core.principals import SCOPE_ADMIN, Principal
from bascule.core.reads import Maker, gathered_by, made_by_others
from bascule.db.audit import write_audit
from bascule.db.rights import visible
from bascule.db.store import Store
from bascule.db.tables import documents

NAMED: Final = 100  # ids in one entry; the count is whole
_BATCH: Final = 500


class SqlReads(Store):
    async def note_read(
        self,
        principal: Principal,
        act: str,
        target: str,
        *,
        document_ids: Iterable[str] = (),
        of: Iterable[Maker] = (),
    ) -> None:
        if principal.system or not principal.is_admin:
            return
        gathered = gathered_by(principal)
        if gathered is not None:
            gathered.document_ids.update(document_ids)
            gathered.of.update(of)
            return
        others = made_by_others(principal, of)
        wanted = sorted(set(document_ids))
        closed = await self._read(lambda c: _by_role(c, principal, wanted)) if wanted else []
        if not others and not closed:
            return
        facts = _facts(others, closed)
        await self._write(lambda c: write_audit(c, principal, act, target, facts))


def _facts(others: Sequence[str], closed: Sequence[str]) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    if others:
        facts |= {"of": others[:NAMED], "people": len(others)}
    if closed:
        facts |= {"documents": closed[:NAMED], "count": len(closed)}
    return facts


def _by_role(connection: Connection, principal: Principal, document_ids: Sequence[str]) -> list[str]:
    """Of these, the documents that would be closed without the role, and that the key did not bring itself."""
    plain = msgspec.structs.replace(principal, scopes=principal.scopes - {SCOPE_ADMIN})
    closed = sa.and_(visible(principal), ~visible(plain))
    if not principal.subject:
        closed = sa.and_(closed, documents.c.key_id != principal.key_id)
    found: list[str] = []
    for at in range(0, len(document_ids), _BATCH):
        query = sa.select(documents.c.id).where(documents.c.id.in_(document_ids[at : at + _BATCH]), closed)
        found += connection.execute(query).scalars()
    return sorted(found)
