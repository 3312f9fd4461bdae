"""Who may read what, decided in SQL by the rule of `core.rights.may_read`: deny beats allow, and an owner needs no allow.

The idea of deciding in SQL, with deny before allow, is datasette's (`utils/actions_sql.py`). Sets of rights are interned per
tenant: a document carries one `acl_id`, and its marks are rows of `acl_entries`.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, Row, Select, Table

from bascule.core.errors import NotFound, ScopeMissing
from bascule.core.principals import SCOPE_INGEST, Principal
from bascule.core.rights import Rights, may_read, parse_mark
from bascule.db.engine import insert_new
from bascule.db.tables import acl_entries, acls, documents


@lru_cache(maxsize=4096)
def parse_canonical(text: str) -> Rights:
    """The inverse of `Rights.canonical`; no mark or owner holds a line break (see `intern`)."""
    lines = text.split("\n")
    return Rights(
        allow=frozenset(line[1:] for line in lines if line.startswith("+")),
        deny=frozenset(line[1:] for line in lines if line.startswith("-")),
        owner=next((line[1:] for line in lines if line.startswith("=")), ""),
    )


def intern(connection: Connection, tenant: str, rights: Rights) -> int:
    """The acl_id of these rights, made on first use. Raises InvalidRequest for a malformed mark or owner."""
    for mark in rights.allow | rights.deny:
        parse_mark(mark)
    if rights.owner:
        parse_mark(f"user:{rights.owner}")
    canonical = rights.canonical()
    digest = hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()
    find = sa.select(acls.c.id).where(acls.c.tenant == tenant, acls.c.digest == digest)
    found = connection.execute(find).scalar()
    if found is None:
        insert_new(connection, acls, [{"tenant": tenant, "digest": digest, "canonical": canonical}])
        found = connection.execute(find).scalar_one()
        insert_new(connection, acl_entries, acl_entry_rows(int(found), tenant, rights))
    return int(found)


def acl_entry_rows(acl_id: int, tenant: str, rights: Rights) -> list[dict[str, Any]]:
    marks = [("allow", mark) for mark in sorted(rights.allow)] + [("deny", mark) for mark in sorted(rights.deny)]
    if rights.owner:
        marks.append(("owner", rights.owner))
    return [{"acl_id": acl_id, "tenant": tenant, "effect": effect, "mark": mark} for effect, mark in marks]


def rights_of(connection: Connection, acl_id: int) -> Rights:
    return parse_canonical(connection.execute(sa.select(acls.c.canonical).where(acls.c.id == acl_id)).scalar_one())


def made_by(principal: Principal, table: Table) -> ColumnElement[bool]:
    """Rows with `tenant`, `subject` and `key_id` that are the principal's own; of an administrator, all of the tenant's."""
    tenant = table.c.tenant == principal.tenant
    if principal.is_admin:
        return tenant
    if principal.subject:
        return sa.and_(tenant, table.c.subject == principal.subject)
    mine = sa.and_(table.c.key_id == principal.key_id, table.c.key_id != "")
    return sa.and_(tenant, table.c.subject == "", mine)


def _opens(principal: Principal) -> ColumnElement[bool]:
    """An entry that lets this principal in."""
    allows = sa.and_(acl_entries.c.effect == "allow", acl_entries.c.mark.in_(sorted(principal.marks())))
    if not principal.subject:
        return allows
    return sa.or_(allows, sa.and_(acl_entries.c.effect == "owner", acl_entries.c.mark == principal.subject))


def _closes(principal: Principal) -> ColumnElement[bool]:
    return sa.and_(acl_entries.c.effect == "deny", acl_entries.c.mark.in_(sorted(principal.shutting_marks())))


def readable_acls(principal: Principal) -> Select[int]:
    """Every acl_id of the tenant that this principal may read."""
    if principal.is_admin:
        return sa.select(acls.c.id).where(acls.c.tenant == principal.tenant)
    own = acl_entries.c.tenant == principal.tenant
    denied = sa.select(acl_entries.c.acl_id).where(own, _closes(principal))
    return sa.select(acl_entries.c.acl_id).where(own, _opens(principal), acl_entries.c.acl_id.not_in(denied)).distinct()


def visible(principal: Principal, tenant: ColumnElement[str] = documents.c.tenant) -> ColumnElement[bool]:
    """Of `documents`: live, of the tenant, and readable. Correlated, so that its cost follows the rows looked at.

    `tenant`: the column to compare; a query that starts from chunks names theirs, or SQLite starts from all documents instead.
    """
    live = sa.and_(tenant == principal.tenant, documents.c.deleted_at.is_(None))
    if principal.is_admin:
        return live
    entry = acl_entries.c.acl_id == documents.c.acl_id
    return sa.and_(
        live,
        sa.exists().where(entry, _opens(principal)).correlate(documents),
        ~sa.exists().where(entry, _closes(principal)).correlate(documents),
    )


def may_change(principal: Principal, rights: Rights, key_id: str) -> bool:
    """Admins; the owner while it may read; and a key that speaks for no person, of what it brought itself."""
    if principal.is_admin:
        return True
    if principal.subject:
        return rights.owner == principal.subject and may_read(rights, principal)
    return bool(principal.key_id) and principal.key_id == key_id


def lock_document(connection: Connection, *where: ColumnElement[bool]) -> tuple[Row[Any], Rights] | None:
    """The live document's row and rights, locked until the transaction ends.

    Two statements: Postgres, having waited for a lock, would join the row as it is now with rights as they were.
    """
    query = sa.select(documents).where(documents.c.deleted_at.is_(None), *where).with_for_update()
    row = connection.execute(query).one_or_none()
    return None if row is None else (row, rights_of(connection, row.acl_id))


def to_change(connection: Connection, principal: Principal, document_id: str) -> tuple[Row[Any], Rights]:
    """`lock_document` for a change by this principal.

    Raises NotFound when it is missing or not this principal's to change, ScopeMissing when only the scope is lacking.
    """
    found = lock_document(connection, documents.c.id == document_id, documents.c.tenant == principal.tenant)
    if found is None or not may_change(principal, found[1], found[0].key_id):
        raise NotFound("There is no such document.")
    need_scope(principal, SCOPE_INGEST)
    return found


def need_scope(principal: Principal, scope: str) -> None:
    """Raises ScopeMissing."""
    if not principal.can(scope):
        raise ScopeMissing(f"This key lacks the scope {scope!r}.")
