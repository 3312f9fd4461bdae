"""Acknowledging documents: their rows, rights and one job, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from bascule.core.documents import Collection, Job, NewDocument
from bascule.core.errors import InvalidRequest, NotFound
from bascule.core.ids import new_id
from bascule.core.jobs import priority_of
from bascule.core.principals import Principal
from bascule.core.rights import Given, Rights
from bascule.db.jobviews import job_row
from bascule.db.levels import ensure_collection_level, intern_given, place_again
from bascule.db.outbox import queue_change
from bascule.db.rights import lock_document, may_change, parse_canonical
from bascule.db.tables import acls, collections, documents, items, jobs, stored_text
from bascule.db.values import now_text, to_json

AT_ONCE = 500  # documents that one statement asks for or writes
MAX_NAME_CHARS = 1000  # an external id is indexed, and Postgres indexes no more than 2,704 bytes


def accept(
    connection: Connection, principal: Principal, collection: Collection, new_documents: Sequence[NewDocument]
) -> Job:
    """Raises NotFound for a collection of another tenant or a document that is not this principal's to change."""
    target = connection.execute(
        sa.select(collections, acls.c.canonical)
        .join(acls, acls.c.id == collections.c.acl_id)
        .where(collections.c.id == collection.id, collections.c.tenant == principal.tenant)
        .with_for_update(of=collections)  # one acceptance into a collection at a time
    ).one_or_none()
    if target is None:
        raise NotFound("There is no such collection.")
    job_id = new_id()
    source = new_documents[0].source if new_documents else ""
    connection.execute(
        sa.insert(jobs).values(
            id=job_id,
            tenant=principal.tenant,
            collection_id=collection.id,
            kind="ingest",
            state="queued",
            source=source,
            priority=priority_of(source),
            subject=principal.subject,
            key_id=principal.key_id,
            created_at=now_text(),
        )
    )
    ensure_collection_level(connection, principal.tenant, collection.id, parse_canonical(target.canonical))
    acceptance = _Acceptance(connection, principal, target, job_id)
    for at in range(0, len(new_documents), AT_ONCE):
        acceptance.take_all(new_documents[at : at + AT_ONCE], at)
    if not acceptance.queued:
        ended = {"state": "done", "finished_at": now_text()}
        connection.execute(sa.update(jobs).where(jobs.c.id == job_id).values(ended))
    return job_row(connection, principal, job_id)


_LIVE_NAMES = sa.select(documents.c.external_id).where(
    documents.c.collection_id == sa.bindparam("collection_id"),
    documents.c.external_id.in_(sa.bindparam("names", expanding=True)),
    documents.c.deleted_at.is_(None),
)
_NEW_DOCUMENTS = sa.insert(documents)
_NEW_ITEMS = sa.insert(items)


class _Acceptance:
    """One transaction's work. Rows of new documents wait, so that one statement writes many."""

    def __init__(self, connection: Connection, principal: Principal, collection: Row[Any], job_id: str) -> None:
        self._connection = connection
        self._principal = principal
        self._collection = collection
        self._job_id = job_id
        self._documents: list[dict[str, Any]] = []
        self._items: list[dict[str, Any]] = []
        self._interned: dict[tuple[Given, str, str], int] = {}
        self.queued = 0

    def take_all(self, batch: Sequence[NewDocument], first: int) -> None:
        """`first`: the ordinal of the first of them."""
        names = [stored_text(new.external_id) for new in batch]
        asked = {"collection_id": self._collection.id, "names": names}
        known = set(self._connection.execute(_LIVE_NAMES, asked).scalars())
        for ordinal, (name, new) in enumerate(zip(names, batch, strict=True), first):
            if not 0 < len(new.external_id) <= MAX_NAME_CHARS:
                raise InvalidRequest(f"An external_id has 1 to {MAX_NAME_CHARS} characters.", param="external_id")
            if name in known:
                self._write()
                self._take_again(new, ordinal)
            else:
                self._take_new(new, ordinal)
                known.add(name)  # should it come again
        self._write()

    def _write(self) -> None:
        for statement, rows in ((_NEW_DOCUMENTS, self._documents), (_NEW_ITEMS, self._items)):
            if rows:
                self._connection.execute(statement, rows)
                rows.clear()

    def _take_new(self, new: NewDocument, ordinal: int) -> None:
        item_id = new_id()
        self._add_item(item_id, self._create(new, item_id), new, ordinal, "queued")

    def _take_again(self, new: NewDocument, ordinal: int) -> None:
        found = self._current(new.external_id)
        if found is None:
            return self._take_new(new, ordinal)
        item_id = new_id()
        row, rights = found
        unchanged = row.content_hash == new.content_hash and row.state != "failed"
        values = self._described(row, new) | self._rights_change(row, rights, new)
        if not unchanged:
            _supersede(self._connection, row.id, "A newer version was accepted.")
            values |= self._content(new, item_id)
        self._update(row, values)
        if values.get("source", row.source) != row.source:
            place_again(self._connection, row.id)
        self._add_item(item_id, row.id, new, ordinal, "unchanged" if unchanged else "queued")

    def _current(self, external_id: str) -> tuple[Row[Any], Rights] | None:
        found = lock_document(
            self._connection,
            documents.c.collection_id == self._collection.id,
            documents.c.external_id == external_id,
        )
        if found is not None and not may_change(self._principal, found[1], found[0].key_id):
            raise NotFound("There is no such document.")
        return found

    def _create(self, new: NewDocument, item_id: str) -> str:
        document_id = new_id()
        given = self._given(new.rights, "")
        at = now_text()
        self._documents.append(
            {
                "id": document_id,
                "tenant": self._principal.tenant,
                "collection_id": self._collection.id,
                "external_id": new.external_id,
                "name": new.name,
                "title": new.title,
                "metadata": to_json(new.metadata),
                "version": 0,
                "chunk_count": 0,
                "served_hash": "",
                "served_blob": "",
                "acl_id": self._intern(given, new.source, new.external_id),
                "report": "{}",
                "key_id": self._principal.key_id,
                "created_at": at,
                **(self._content(new, item_id) | {"updated_at": at}),
            }
        )
        return document_id

    def _given(self, rights: Rights | None, owner_now: str) -> Given:
        """Who brings a document owns it; only an admin may name another owner, or none by giving rights without one."""
        keeps = owner_now or self._principal.subject
        if rights is None:
            return Given(allow=None, owner=keeps)
        owner = rights.owner if self._principal.is_admin else keeps
        return Given(allow=rights.allow, deny=rights.deny, owner=owner)

    def _intern(self, given: Given, source: str, external_id: str) -> int:
        """Once for all of a folder: the collection is locked, and no level changes meanwhile."""
        place = (given, source, external_id.rpartition("/")[0])
        if place not in self._interned:
            self._interned[place] = intern_given(
                self._connection,
                given,
                tenant=self._principal.tenant,
                collection_id=self._collection.id,
                source=source,
                external_id=external_id,
            )
        return self._interned[place]

    def _content(self, new: NewDocument, item_id: str) -> dict[str, Any]:
        return {
            "source": new.source,
            "state": "queued",
            "content_hash": new.content_hash,
            "blob": new.blob,
            "media_type": new.media_type,
            "size_bytes": new.size_bytes,
            "item_id": item_id,
            "reason": "",
            "changed_at": now_text(),
        }

    def _described(self, row: Row[Any], new: NewDocument) -> dict[str, Any]:
        found = {"name": new.name, "title": new.title or row.title, "metadata": to_json(new.metadata)}
        return {key: value for key, value in found.items() if row._mapping[key] != value}

    def _rights_change(self, row: Row[Any], now: Rights, new: NewDocument) -> dict[str, Any]:
        """Rights given with content that is not in search yet must not open the old content to more people: until the
        new version commits, the old one is read only by those whom both sets let in."""
        if new.rights is None:
            return {}
        given = self._given(new.rights, now.owner)
        acl_id = self._intern(given, new.source, new.external_id)
        if not row.version or row.served_hash == new.content_hash:
            return {"acl_id": acl_id, "pending_acl_id": None}
        if row.pending_acl_id is not None and row.pending_acl_id == acl_id:
            return {}
        both = Given(
            allow=now.allow & new.rights.allow,
            deny=now.deny | given.deny,
            owner=now.owner if now.owner == given.owner else "",
        )
        interim = self._intern(both, new.source, new.external_id)
        return {"acl_id": interim, "pending_acl_id": acl_id if acl_id != interim else None}

    def _update(self, row: Row[Any], values: dict[str, Any]) -> None:
        changed = {key: value for key, value in values.items() if row._mapping[key] != value}
        if not changed:
            return
        changed["updated_at"] = now_text()
        self._connection.execute(sa.update(documents).where(documents.c.id == row.id).values(changed))
        if "acl_id" in changed and row.version:
            queue_change(self._connection, "move", row.tenant, row.id, row.collection_id, changed["acl_id"])

    def _add_item(self, item_id: str, document_id: str, new: NewDocument, ordinal: int, state: str) -> None:
        self.queued += state == "queued"
        self._items.append(
            {
                "id": item_id,
                "job_id": self._job_id,
                "tenant": self._principal.tenant,
                "document_id": document_id,
                "ordinal": ordinal,
                "name": new.name,
                "media_type": new.media_type,
                "title": new.title,
                "blob": new.blob,
                "content_hash": new.content_hash,
                "state": state,
                "reason": "",
                "code": "",
                "attempts": 0,
            }
        )


def _supersede(connection: Connection, document_id: str, reason: str) -> None:
    """Items of this document that have not ended will never commit."""
    connection.execute(
        sa.update(items)
        .where(items.c.document_id == document_id, items.c.state.in_(("queued", "running")))
        .values(state="superseded", reason=reason)
    )


__all__ = ["accept"]
