"""The audit log: append-only (triggers refuse the rest), each row's hash covering the row before it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection, Row

from bascule.core.principals import SCOPE_ADMIN, Principal
from bascule.db.rights import need_scope
from bascule.db.store import Store
from bascule.db.tables import audit_log
from bascule.db.values import from_json, now_text, to_json

_LOCK: Final = 0x61756474  # "audt": one writer of the chain at a time on Postgres
_HASHED: Final = ("tenant", "at", "subject", "key_id", "act", "target", "facts")


class AuditRow(msgspec.Struct, frozen=True, kw_only=True):
    seq: int
    tenant: str
    at: str
    subject: str
    key_id: str
    act: str
    target: str
    facts: Mapping[str, Any]


class AuditChain(msgspec.Struct, frozen=True):
    """`broken_at`: the seq of the first row that does not follow from the one before. `head`: the last row's hash; noted
    elsewhere, it shows later that no row up to it was cut off or written anew. `holds_expected`: whether an earlier head is
    still in the chain; None when none was named."""

    rows: int
    head: str
    broken_at: int | None
    holds_expected: bool | None = None

    @property
    def whole(self) -> bool:
        return self.broken_at is None and self.holds_expected is not False


class SqlAudit(Store):
    async def audit(self, principal: Principal, act: str, target: str, facts: Mapping[str, Any]) -> None:
        await self._write(lambda c: write_audit(c, principal, act, target, facts))

    async def audit_rows(self, principal: Principal, limit: int) -> list[AuditRow]:
        """The tenant's newest rows first. Raises ScopeMissing without admin."""
        need_scope(principal, SCOPE_ADMIN)
        query = sa.select(audit_log).where(audit_log.c.tenant == principal.tenant)
        query = query.order_by(audit_log.c.seq.desc()).limit(limit)
        return await self._read(lambda c: [_shown(row) for row in c.execute(query)])

    async def audit_chain(self, expected: str = "") -> AuditChain:
        """All tenants' rows: for whoever keeps the data folder. `expected`: a head noted earlier."""
        return await self._read(lambda c: _chain(c, expected))

    async def audit_export(self, after: int, limit: int) -> list[dict[str, Any]]:
        """Rows of all tenants in their order, with the hashes that chain them; those after this seq."""
        return await self._read(lambda c: _exported(c, after, limit))

    async def audit_break(self) -> int | None:
        """The seq of the first row whose hash does not follow from the chain; None when all is whole."""
        return await self._read(_first_break)


def _chain(connection: Connection, expected: str) -> AuditChain:
    query = sa.select(audit_log.c.hash).order_by(audit_log.c.seq)
    hashes = list(connection.execute(query).scalars())
    return AuditChain(
        rows=len(hashes),
        head=hashes[-1] if hashes else "",
        broken_at=_first_break(connection),
        holds_expected=expected in hashes if expected else None,
    )


def _exported(connection: Connection, after: int, limit: int) -> list[dict[str, Any]]:
    query = sa.select(audit_log).where(audit_log.c.seq > after).order_by(audit_log.c.seq).limit(limit)
    return [dict(row._mapping) | {"facts": from_json(row.facts)} for row in connection.execute(query)]


def write_audit(connection: Connection, principal: Principal, act: str, target: str, facts: Mapping[str, Any]) -> None:
    """One row, within the caller's transaction: the act and its record are kept together or not at all."""
    row = {
        "tenant": principal.tenant,
        "at": now_text(),
        "subject": principal.subject or ("system" if principal.system else ""),
        "key_id": principal.key_id,
        "act": act,
        "target": target,
        "facts": to_json(facts),
    }
    _append(connection, row)


def _append(connection: Connection, row: dict[str, str]) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
    last = sa.select(audit_log.c.hash).order_by(audit_log.c.seq.desc()).limit(1)
    prev = connection.execute(last).scalar() or ""
    connection.execute(sa.insert(audit_log).values(**row, prev=prev, hash=_hash(prev, row)))


def _hash(prev: str, row: Mapping[str, Any]) -> str:
    return hashlib.sha256(to_json([prev, *(row[name] for name in _HASHED)]).encode()).hexdigest()


def _first_break(connection: Connection) -> int | None:
    prev = ""
    for row in connection.execute(sa.select(audit_log).order_by(audit_log.c.seq)):
        if row.prev != prev or row.hash != _hash(prev, dict(row._mapping)):
            return int(row.seq)
        prev = row.hash
    return None


def _shown(row: Row[Any]) -> AuditRow:
    fields = {name: row._mapping[name] for name in AuditRow.__struct_fields__}
    return AuditRow(**(fields | {"facts": from_json(row.facts)}))
