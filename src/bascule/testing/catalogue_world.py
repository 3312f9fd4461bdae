"""A small world in a catalogue, for contract tests: people, documents brought through the whole acceptance and commit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bascule.core.catalogue import Catalogue, WorkItem
from bascule.core.documents import ChunkDraft, Collection, Document, IndexedChunk, Job, NewDocument
from bascule.core.filter_grammar import read_filter
from bascule.core.ids import chunk_id, content_hash, new_id
from bascule.core.principals import SCOPE_ADMIN, SCOPE_ASK, SCOPE_INGEST, Principal, system_principal
from bascule.core.rights import Rights
from bascule.core.traces import Stage, Trace

PUBLIC = Rights.of(["public"])
VECTOR = b"\x00\x00\x80?" * 2


def person(subject: str, *groups: str, tenant: str = "acme", ingest: bool = True) -> Principal:
    scopes = frozenset({SCOPE_ASK, SCOPE_INGEST} if ingest else {SCOPE_ASK})
    return Principal(tenant=tenant, subject=subject, groups=frozenset(groups), scopes=scopes, key_id=f"key-{subject}")


def service(key_id: str, tenant: str = "acme") -> Principal:
    """A key that speaks for no person."""
    return Principal(tenant=tenant, scopes=frozenset({SCOPE_ASK, SCOPE_INGEST}), key_id=key_id)


def admin(tenant: str = "acme") -> Principal:
    return Principal(tenant=tenant, subject="root", scopes=frozenset({SCOPE_ADMIN}), key_id="key-root")


def new_document(external_id: str, text: str, rights: Rights | None = None, **more: Any) -> NewDocument:
    return NewDocument(
        external_id=external_id,
        name=more.pop("name", f"{external_id}.txt"),
        content_hash=content_hash(text.encode("utf-8", "surrogatepass")),
        size_bytes=len(text),
        blob=more.pop("blob", f"blob-{new_id()}"),
        rights=rights,
        **more,
    )


def chunks_of(item: WorkItem, texts: Iterable[str]) -> list[IndexedChunk]:
    made: list[IndexedChunk] = []
    for text in texts:
        digest = content_hash(text.encode("utf-8", "surrogatepass"))
        draft = ChunkDraft(
            text=text, heading_path=("Top",), start=0, end=len(text), page=1, tokens=3, content_hash=digest
        )
        key = chunk_id(item.tenant, item.document_id, digest, 0)
        made.append(IndexedChunk(id=key, draft=draft, vector=VECTOR))
    return made


class World:
    def __init__(self, catalogue: Catalogue, tenant: str = "acme") -> None:
        self.catalogue = catalogue
        self.tenant = tenant
        self.system = system_principal(tenant)

    async def collection(self, name: str = "handbook", rights: Rights = PUBLIC) -> Collection:
        return await self.catalogue.ensure_collection(
            self.system, name, fingerprint="model-1", dimension=2, rights=rights
        )

    async def accept(self, principal: Principal, *documents: NewDocument, collection: str = "handbook") -> Job:
        return await self.catalogue.accept(principal, await self.collection(collection), documents)

    async def claim(self, job: Job, limit: int = 100) -> list[WorkItem]:
        return await self.catalogue.claim(self.system, job.id, limit)

    async def commit(self, item: WorkItem, *texts: str, title: str = "") -> bool:
        return await self.catalogue.commit_document(
            self.system, item, title or item.name, "text/plain", chunks_of(item, texts), "model-1", {"removed": 1}
        )

    async def add(
        self,
        external_id: str,
        *texts: str,
        by: Principal | None = None,
        rights: Rights | None = None,
        collection: str = "handbook",
        metadata: Mapping[str, Any] | None = None,
    ) -> Document:
        """A document accepted, worked on and committed."""
        new = new_document(external_id, "".join(texts), rights, metadata=metadata or {})
        job = await self.accept(by or self.system, new, collection=collection)
        for item in await self.claim(job):
            assert await self.commit(item, *texts)
        await self.catalogue.finish_job(self.system, job.id)
        return await self.catalogue.document(self.system, job.items[0].document_id)

    async def chunk_ids(self, document: Document) -> list[str]:
        return [chunk.id for chunk in await self.catalogue.document_chunks(self.system, document.id)]

    async def sees(self, principal: Principal, document: Document, where: Mapping[str, Any] | None = None) -> bool:
        """Whether a question of this principal may be answered from the document."""
        ids = await self.chunk_ids(document)
        found = await self.catalogue.check(
            principal, ids, frozenset({document.collection_id}), read_filter(where or {})
        )
        assert set(found) in (set(), set(ids))
        return bool(found)

    async def drain(self) -> list[tuple[str, str]]:
        """Settle the outbox: (kind, document id) in order."""
        changes = await self.catalogue.index_changes(1000)
        await self.catalogue.settle_changes([change.seq for change in changes])
        return [(change.kind, change.document_id) for change in changes]


def trace_of(principal: Principal, document_ids: Iterable[str], answer: str = "Because.") -> Trace:
    return Trace(
        id=new_id(),
        tenant=principal.tenant,
        subject=principal.subject,
        key_id=principal.key_id,
        created_at="2026-01-01T00:00:00.000Z",
        question="Why?",
        answer=answer,
        status="answered",
        reason=None,
        model="extractive",
        collections=("handbook",),
        stages=(Stage(name="retrieve", took_s=0.1, facts={"ids": ["a"]}),),
        chunk_ids=("c1",),
        document_ids=tuple(document_ids),
        diagnosis="",
    )
