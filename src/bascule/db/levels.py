"""Inherited rights: sets of rights that depend on levels, and what a change of a level changes.

A set of rights that depends on levels is interned by what the document was given and by which levels cover it, so its number
stays when a level changes: only its entries are written anew, in the same transaction, and no document, chunk or index row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, Row

from bascule.core.rights import Given, Level, LevelKind, Rights, effective, parse_mark
from bascule.db.engine import insert_new
from bascule.db.level_tables import acl_levels, levels
from bascule.db.outbox import queue_change
from bascule.db.rights import acl_entry_rows, intern, parse_canonical
from bascule.db.tables import acl_entries, acls, collections, documents

_INHERITS: Final = "*"


def given_of(connection: Connection, acl_id: int) -> Given:
    row = connection.execute(sa.select(acls.c.canonical, acls.c.given).where(acls.c.id == acl_id)).one()
    return parse_given(row.canonical, row.given)


def parse_given(canonical: str, given: str | None) -> Given:
    """Of an `acls` row."""
    rights = parse_canonical(given if given is not None else canonical)
    inherits = given is not None and given.startswith(_INHERITS)
    return Given(allow=None if inherits else rights.allow, deny=rights.deny, owner=rights.owner)


def intern_given(
    connection: Connection, given: Given, *, tenant: str, collection_id: str, source: str, external_id: str
) -> int:
    """The acl_id of a document that was given this, at this place."""
    found = covering(connection, tenant, collection_id, source, external_id)
    rows = [row for row in found if given.allow is None or row.denies]
    if given.allow is not None and not rows:
        return intern(connection, tenant, Rights(allow=given.allow, deny=given.deny, owner=given.owner))
    for mark in given.deny | (given.allow or frozenset()) | ({f"user:{given.owner}"} if given.owner else frozenset()):
        parse_mark(mark)
    text = _text(given)
    key = "\n".join([text, *(f"@{row.id}" for row in sorted(rows, key=lambda row: int(row.id)))])
    digest = hashlib.sha256(f"given\n{key}".encode("utf-8", "surrogatepass")).hexdigest()
    find = sa.select(acls.c.id).where(acls.c.tenant == tenant, acls.c.digest == digest)
    known = connection.execute(find).scalar()
    if known is not None:
        return int(known)
    rights = effective(given, [level_of(row) for row in rows])
    new = {"tenant": tenant, "digest": digest, "canonical": rights.canonical(), "given": text}
    insert_new(connection, acls, [new])
    acl_id = int(connection.execute(find).scalar_one())
    insert_new(connection, acl_entries, acl_entry_rows(acl_id, tenant, rights))
    insert_new(connection, acl_levels, [{"level_id": row.id, "acl_id": acl_id} for row in rows])
    return acl_id


def _text(given: Given) -> str:
    text = Rights(allow=given.allow or frozenset(), deny=given.deny, owner=given.owner).canonical()
    return f"{_INHERITS}\n{text}" if given.allow is None else text


def covering(
    connection: Connection, tenant: str, collection_id: str, source: str, external_id: str
) -> Sequence[Row[Any]]:
    """Levels a document is under. Locked against change: a set of rights made from them must not miss one."""
    steps = [at + 1 for at, letter in enumerate(external_id) if letter == "/"]
    above = sa.or_(
        sa.and_(levels.c.kind == "collection", levels.c.target == collection_id),
        sa.and_(levels.c.kind == "source", levels.c.target == source),
        sa.and_(
            levels.c.kind == "folder",
            levels.c.target.in_([f"{collection_id}/{external_id[:end]}" for end in steps]),
        ),
    )
    query = sa.select(levels).where(levels.c.tenant == tenant, above).order_by(levels.c.id)
    return connection.execute(query.with_for_update(read=True)).all()


def level_of(row: Row[Any], collection: str = "") -> Level:
    """`collection`: the name that stands for the id in `target`."""
    rights = parse_canonical(row.rights)
    _, _, path = row.target.partition("/")
    name = {"collection": collection or row.target, "source": row.target, "folder": path}[row.kind]
    return Level(
        kind=row.kind,
        name=name,
        allow=rights.allow,
        deny=rights.deny,
        collection=collection if row.kind == "folder" else "",
    )


def ensure_collection_level(connection: Connection, tenant: str, collection_id: str, rights: Rights) -> None:
    """Documents that inherit depend on it, so it is there before the first of them."""
    plain = Rights(allow=rights.allow, deny=rights.deny)
    new = {"tenant": tenant, "kind": "collection", "target": collection_id, "rights": plain.canonical()}
    insert_new(connection, levels, [new | {"denies": bool(plain.deny)}])


def set_level(connection: Connection, tenant: str, kind: LevelKind, target: str, rights: Rights) -> int:
    """Give a level its rights; how many documents had to change their number, as they did not depend on it yet."""
    for mark in rights.allow | rights.deny:
        parse_mark(mark)
    blank = {"tenant": tenant, "kind": kind, "target": target, "rights": Rights().canonical(), "denies": False}
    insert_new(connection, levels, [blank])
    at = sa.and_(levels.c.tenant == tenant, levels.c.kind == kind, levels.c.target == target)
    row = connection.execute(sa.select(levels).where(at).with_for_update()).one()
    denies = row.denies or bool(rights.deny)
    connection.execute(sa.update(levels).where(at).values(rights=rights.canonical(), denies=denies))
    _write_anew(connection, tenant, row.id)
    return _take_in(connection, tenant, kind, target, row.id, denies)


def _write_anew(connection: Connection, tenant: str, level_id: int) -> None:
    """The rights in force of every set that depends on the level."""
    dependent = sa.select(acls).join(acl_levels, acl_levels.c.acl_id == acls.c.id)
    for acl in connection.execute(dependent.where(acl_levels.c.level_id == level_id)).all():
        rows = connection.execute(
            sa.select(levels)
            .join(acl_levels, acl_levels.c.level_id == levels.c.id)
            .where(acl_levels.c.acl_id == acl.id)
        )
        rights = effective(parse_given(acl.canonical, acl.given), [level_of(row) for row in rows])
        if rights.canonical() == acl.canonical:
            continue
        connection.execute(sa.update(acls).where(acls.c.id == acl.id).values(canonical=rights.canonical()))
        connection.execute(sa.delete(acl_entries).where(acl_entries.c.acl_id == acl.id))
        insert_new(connection, acl_entries, acl_entry_rows(acl.id, tenant, rights))


def _take_in(connection: Connection, tenant: str, kind: LevelKind, target: str, level_id: int, denies: bool) -> int:
    """Documents under the level that do not depend on it and should: those that inherit, and once it denies, all."""
    inheriting = sa.select(acls.c.id).where(acls.c.tenant == tenant, acls.c.given.startswith(_INHERITS))
    dependent = sa.select(acl_levels.c.acl_id).where(acl_levels.c.level_id == level_id)
    live = sa.and_(documents.c.tenant == tenant, documents.c.deleted_at.is_(None), _under(kind, target))
    outside = sa.or_(
        documents.c.acl_id.not_in(dependent),
        sa.and_(documents.c.pending_acl_id.is_not(None), documents.c.pending_acl_id.not_in(dependent)),
    )
    wanted = [live, outside]
    if not denies:
        wanted.append(sa.or_(documents.c.acl_id.in_(inheriting), documents.c.pending_acl_id.in_(inheriting)))
    ids = connection.execute(sa.select(documents.c.id).where(*wanted).order_by(documents.c.id)).scalars().all()
    return sum(place_again(connection, document_id) for document_id in ids)


def _under(kind: LevelKind, target: str) -> ColumnElement[bool]:
    if kind == "source":
        return documents.c.source == target
    collection_id, _, path = target.partition("/")
    inside = documents.c.collection_id == collection_id
    return sa.and_(inside, documents.c.external_id.startswith(path, autoescape=True)) if path else inside


def place_again(connection: Connection, document_id: str) -> bool:
    """Intern a document's rights anew where it is now. Whether that changed its number, which the index then follows."""
    row = connection.execute(
        sa.select(documents).where(documents.c.id == document_id, documents.c.deleted_at.is_(None)).with_for_update()
    ).one_or_none()
    if row is None:
        return False
    values = {
        name: intern_given(
            connection,
            given_of(connection, row._mapping[name]),
            tenant=row.tenant,
            collection_id=row.collection_id,
            source=row.source,
            external_id=row.external_id,
        )
        for name in ("acl_id", "pending_acl_id")
        if row._mapping[name] is not None
    }
    changed = {name: acl_id for name, acl_id in values.items() if acl_id != row._mapping[name]}
    if changed:
        connection.execute(sa.update(documents).where(documents.c.id == document_id).values(changed))
    if "acl_id" in changed and row.version:
        queue_change(connection, "move", row.tenant, document_id, row.collection_id, changed["acl_id"])
    return "acl_id" in changed


def level_names(connection: Connection, rows: Iterable[Row[Any]]) -> list[Level]:
    """With the names of collections in the place of their ids."""
    found = list(rows)
    ids = {row.target.partition("/")[0] for row in found if row.kind != "source"}
    named = connection.execute(sa.select(collections.c.id, collections.c.name).where(collections.c.id.in_(ids)))
    names = {row.id: row.name for row in named}
    return [level_of(row, names.get(row.target.partition("/")[0], "")) for row in found]
