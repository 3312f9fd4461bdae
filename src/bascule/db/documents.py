"""Collections and documents as their readers see them, and changes of rights."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from bascule.core.documents import Collection, Document, Job, NewDocument, VisibleChunk
from bascule.core.errors import InvalidRequest, NotFound
from bascule.core.generations import EmbeddedBy
from bascule.core.ids import new_id
from bascule.core.jobs import ANY_JOB, JobFilter
from bascule.core.principals import SCOPE_INGEST, Principal
from bascule.core.rights import Given, Rights
from bascule.db.accept import accept
from bascule.db.deletion import delete_document
from bascule.db.engine import insert_new
from bascule.db.jobviews import job, jobs
from bascule.db.ledger import DeletionLedger
from bascule.db.levels import given_of, intern_given
from bascule.db.outbox import queue_change
from bascule.db.passages import readable_collections
from bascule.db.reads import SqlReads
from bascule.db.rights import intern, need_scope, to_change, visible
from bascule.db.tables import chunks, collections, documents
from bascule.db.values import (
    CHUNK_ROWS,
    COLLECTION_ROWS,
    DOCUMENT_ROWS,
    chunk_of,
    collection_of,
    document_of,
    now_text,
)

COLLECTION_NAME: Final = re.compile(r"\w[\w.-]{0,63}")


class SqlDocuments(SqlReads):
    ledger: DeletionLedger | None = None  # where deletions are told as well, before they are done for their caller

    async def ensure_collection(
        self, principal: Principal, name: str, *, fingerprint: str, dimension: int, rights: Rights, model: str = ""
    ) -> Collection:
        need_scope(principal, SCOPE_INGEST)
        if not COLLECTION_NAME.fullmatch(name):
            raise InvalidRequest(
                "A collection's name has 1 to 64 letters, digits, dots, dashes and underscores.", param="collection"
            )
        by = EmbeddedBy(model=model, fingerprint=fingerprint, dimension=dimension)
        return await self._write(lambda c: _ensure_collection(c, principal, name, by, rights))

    async def collections(self, principal: Principal) -> list[Collection]:
        return await self._read_for(principal, lambda c: readable_collections(c, principal, None))

    async def accept(self, principal: Principal, collection: Collection, items: Sequence[NewDocument]) -> Job:
        need_scope(principal, SCOPE_INGEST)
        return await self._write(lambda c: accept(c, principal, collection, items))

    async def documents(
        self, principal: Principal, collection: str | None, limit: int, after: str | None
    ) -> list[Document]:
        return await self._read_for(principal, lambda c: _documents(c, principal, collection, limit, after))

    async def document(self, principal: Principal, document_id: str) -> Document:
        return await self._read_for(principal, lambda c: document_of(_visible_row(c, principal, document_id)))

    async def document_chunks(self, principal: Principal, document_id: str) -> list[VisibleChunk]:
        found = await self._read_for(principal, lambda c: _document_chunks(c, principal, document_id))
        await self.note_read(principal, "document.read", document_id, document_ids=[document_id])
        return found

    async def delete_document(self, principal: Principal, document_id: str) -> None:
        done = await self._write(lambda c: delete_document(c, principal, document_id))
        if self.ledger is not None:
            await asyncio.to_thread(self.ledger.append, [done])

    async def set_rights(self, principal: Principal, document_id: str, rights: Rights) -> Document:
        return await self._write(lambda c: _change_rights(c, principal, document_id, lambda _now: rights, whole=True))

    async def change_rights(
        self, principal: Principal, document_id: str, change: Callable[[Rights], Rights]
    ) -> Document:
        return await self._write(lambda c: _change_rights(c, principal, document_id, change))

    async def jobs(self, principal: Principal, limit: int, wanted: JobFilter = ANY_JOB) -> list[Job]:
        return await self._read(lambda c: jobs(c, principal, limit, wanted))

    async def job(self, principal: Principal, job_id: str) -> Job:
        return await self._read(lambda c: job(c, principal, job_id))


def _ensure_collection(
    connection: Connection, principal: Principal, name: str, by: EmbeddedBy, rights: Rights
) -> Collection:
    query = COLLECTION_ROWS.where(collections.c.tenant == principal.tenant, collections.c.name == name)
    row = connection.execute(query).one_or_none()
    if row is None:
        new = {
            "id": new_id(),
            "tenant": principal.tenant,
            "name": name,
            "fingerprint": by.fingerprint,
            "dimension": by.dimension,
            "model": by.model,
            "acl_id": intern(connection, principal.tenant, rights),
            "created_at": now_text(),
        }
        insert_new(connection, collections, [new])
        row = connection.execute(query).one()
    return collection_of(row)


def _documents(
    connection: Connection, principal: Principal, collection: str | None, limit: int, after: str | None
) -> list[Document]:
    query = DOCUMENT_ROWS.where(visible(principal)).order_by(documents.c.id).limit(limit)
    if collection is not None:
        (found,) = readable_collections(connection, principal, [collection])
        query = query.where(documents.c.collection_id == found.id)
    if after is not None:
        query = query.where(documents.c.id > after)
    return [document_of(row) for row in connection.execute(query)]


def _visible_row(connection: Connection, principal: Principal, document_id: str) -> Row[Any]:
    row = connection.execute(DOCUMENT_ROWS.where(documents.c.id == document_id, visible(principal))).one_or_none()
    if row is None:
        raise NotFound("There is no such document.")
    return row


def _document_chunks(connection: Connection, principal: Principal, document_id: str) -> list[VisibleChunk]:
    _visible_row(connection, principal, document_id)
    query = CHUNK_ROWS.where(chunks.c.document_id == document_id).order_by(chunks.c.ordinal)
    return [chunk_of(row) for row in connection.execute(query)]


def _change_rights(
    connection: Connection,
    principal: Principal,
    document_id: str,
    change: Callable[[Rights], Rights],
    *,
    whole: bool = False,
) -> Document:
    """`change` sees the document's own deny list, not what the levels above it deny. A document that inherits goes on to do
    so unless its allow list is changed, or all its rights are given anew (`whole`)."""
    row, now = to_change(connection, principal, document_id)
    own = given_of(connection, row.acl_id)
    wanted = change(Rights(allow=now.allow, deny=own.deny, owner=now.owner))
    owner = wanted.owner if principal.is_admin and wanted.owner else now.owner
    inherits = own.allow is None and not whole and wanted.allow == now.allow
    return _give(
        connection, row, Given(allow=None if inherits else wanted.allow, deny=wanted.deny, owner=owner), document_id
    )


def inherit_rights(connection: Connection, principal: Principal, document_id: str) -> Document:
    """Drop what the document itself allows and denies. Raises as `to_change`."""
    row, now = to_change(connection, principal, document_id)
    return _give(connection, row, Given(allow=None, owner=now.owner), document_id)


def _give(connection: Connection, row: Row[Any], given: Given, document_id: str) -> Document:
    acl_id = intern_given(
        connection,
        given,
        tenant=row.tenant,
        collection_id=row.collection_id,
        source=row.source,
        external_id=row.external_id,
    )
    values = {"acl_id": acl_id, "pending_acl_id": None, "updated_at": now_text()}
    connection.execute(sa.update(documents).where(documents.c.id == document_id).values(values))
    if acl_id != row.acl_id and row.version:
        queue_change(connection, "move", row.tenant, document_id, row.collection_id, acl_id)
    return document_of(connection.execute(DOCUMENT_ROWS.where(documents.c.id == document_id)).one())
