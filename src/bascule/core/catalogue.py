"""The catalogue's ports: the SQL truth about documents, rights, keys, traces and usage.

Every read takes the Principal who asks (law 2). Missing and forbidden are the same NotFound. `db` implements them all in one
class on SQLite or Postgres; each engine asks for the narrowest port it needs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from typing import Any, Final, Literal, Protocol

import msgspec

from bascule.core.calls import CallRecord
from bascule.core.connectors import KnownItem
from bascule.core.documents import Collection, Document, IndexedChunk, Job, NewDocument, VisibleChunk
from bascule.core.evaluations import EvalRuns
from bascule.core.feedback import FeedbackStore
from bascule.core.filters import EVERYTHING, Filter
from bascule.core.generations import Generations
from bascule.core.jobs import ANY_JOB, JobControl, JobFilter, OpenJob
from bascule.core.keys import KeyRecord, Standing
from bascule.core.principals import Principal
from bascule.core.reads import Reads
from bascule.core.rights import Rights
from bascule.core.routes import StoredRoutes
from bascule.core.traces import AnswerLog, Trace


class Passages(Reads, Protocol):
    """What a question needs: whom it may see, the text of what it may see, and the note of what only a role opens."""

    async def readable_collections(self, principal: Principal, names: Sequence[str] | None) -> list[Collection]:
        """The named collections (all, for None) of the principal's tenant. Raises NotFound for a name that does not exist
        or in which the principal may read no document: the two look the same."""
        ...

    async def readable_acl_ids(self, principal: Principal) -> frozenset[int]: ...

    async def check(
        self, principal: Principal, chunk_ids: Sequence[str], collection_ids: frozenset[str], where: Filter = EVERYTHING
    ) -> dict[str, VisibleChunk]:
        """In one transaction: of these chunks, those that are live, current, in these collections, of documents that match
        `where`, and that this principal may read now. Everything else is silently absent."""
        ...

    async def matching_documents(
        self, principal: Principal, collection_ids: frozenset[str], where: Filter, most: int
    ) -> frozenset[str] | None:
        """Of the documents that this principal may read in these collections, those that match; None when they are more
        than `most`."""
        ...

    async def neighbours(self, principal: Principal, chunk_id: str, before: int, after: int) -> list[VisibleChunk]:
        """The chunks around it in its document, in reading order, itself left out. Raises NotFound."""
        ...

    async def passage(self, principal: Principal, chunk_id: str) -> VisibleChunk:
        """Raises NotFound."""
        ...


class Traces(Protocol):
    async def save_trace(self, trace: Trace) -> bool:
        """Write only while every document it names lives; False (and nothing written) when one has gone meanwhile."""
        ...

    async def trace(self, principal: Principal, trace_id: str) -> Trace:
        """The asker's own, or any of the tenant for an admin. Raises NotFound."""
        ...

    async def traces(self, principal: Principal, limit: int) -> list[Trace]: ...


class Documents(Protocol):
    """Taking documents in, changing and deleting them."""

    async def ensure_collection(
        self, principal: Principal, name: str, *, fingerprint: str, dimension: int, rights: Rights, model: str = ""
    ) -> Collection:
        """Create on first use, as given; return it otherwise."""
        ...

    async def collections(self, principal: Principal) -> list[Collection]:
        """Those in which the principal may read at least one document, or that it owns or administers."""
        ...

    async def accept(self, principal: Principal, collection: Collection, items: Sequence[NewDocument]) -> Job:
        """Acknowledge: document rows, rights and one job with an item each, in one transaction. A document whose content
        hash has not changed gets an `unchanged` item (rights and metadata are still updated). Same external_id, same document."""
        ...

    async def documents(
        self, principal: Principal, collection: str | None, limit: int, after: str | None
    ) -> list[Document]:
        """Readable documents by id, ascending, `after` exclusive."""
        ...

    async def document(self, principal: Principal, document_id: str) -> Document: ...

    async def document_chunks(self, principal: Principal, document_id: str) -> list[VisibleChunk]: ...

    async def delete_document(self, principal: Principal, document_id: str) -> None:
        """Tombstone, scrub every derived text, and queue the index purge, in one transaction (law 4). Needs owner or admin."""
        ...

    async def set_rights(self, principal: Principal, document_id: str, rights: Rights) -> Document:
        """Effective at commit; the index follows through the outbox. Needs owner or admin. The owner stays unless an admin
        names another."""
        ...

    async def change_rights(
        self, principal: Principal, document_id: str, change: Callable[[Rights], Rights]
    ) -> Document:
        """`set_rights` to `change(rights as they are)`, read and written in one transaction, so that of two changes at
        once neither is lost. `change` may be called more than once."""
        ...

    async def jobs(self, principal: Principal, limit: int, wanted: JobFilter = ANY_JOB) -> list[Job]:
        """The principal's own jobs; all of the tenant's for an admin. Item names only of documents it may read."""
        ...

    async def job(self, principal: Principal, job_id: str) -> Job: ...


class SourceItems(Protocol):
    """What a sync compares a source with."""

    async def source_items(self, principal: Principal, collection: str, source: str) -> dict[str, KnownItem]:
        """Live documents that this source brought into this collection and the principal may read, by external id; none for a
        collection that does not exist. Raises ScopeMissing."""
        ...


class WorkItem(msgspec.Struct, frozen=True, kw_only=True):
    """One document's turn in a job: what the worker needs to process it."""

    id: str
    job_id: str
    document_id: str
    tenant: str
    collection: Collection
    name: str
    media_type: str
    title: str
    blob: str
    content_hash: str
    attempts: int


class IndexChange(msgspec.Struct, frozen=True, kw_only=True):
    """One outbox row, applied in order of `seq`.

    index   the document's current chunks must be in the store, and no others
    move    its chunks carry `acl_id` now
    purge   none of its chunks may remain; then its blobs are removed
    trim    nothing of a generation of vectors that has been given up may remain

    chunks  how many the document has now: how much is read when the change is applied
    """

    seq: int
    kind: Literal["index", "move", "purge", "trim"]
    tenant: str
    document_id: str
    collection_id: str
    acl_id: int
    chunks: int = 0


class StoredPoint(msgspec.Struct, frozen=True, kw_only=True):
    """A current chunk of a document as the index needs it, in one generation of its collection's vectors: `chunk_id` and
    `collection_id` name that generation (see `core.ids.generation_id`)."""

    chunk_id: str
    collection_id: str
    acl_id: int
    indexed_text: str
    vector: bytes | None


class DocumentCommit(msgspec.Struct, frozen=True, kw_only=True):
    """A whole new version of one document: what `Work.commit_document` takes."""

    item: WorkItem
    title: str
    media_type: str
    chunks: Sequence[IndexedChunk]
    fingerprint: str
    report: Mapping[str, Any]
    prepared: str = ""
    signature: bytes = b""


class Work(Protocol):
    """What the job handlers need. Only background work holds this port, always under a system principal."""

    async def claim(
        self, principal: Principal, job_id: str, limit: int, most_bytes: int | None = None
    ) -> list[WorkItem]:
        """Up to `limit` queued items of the job, or as many as have `most_bytes` together and at least one, now `running`;
        attempts counted."""
        ...

    async def known_vectors(self, principal: Principal, document_id: str, fingerprint: str) -> dict[str, bytes]:
        """chunk_id -> vector of the document's current version: an edit re-embeds only what changed."""
        ...

    async def commit_document(
        self,
        principal: Principal,
        item: WorkItem,
        title: str,
        media_type: str,
        chunks: Sequence[IndexedChunk],
        fingerprint: str,
        report: Mapping[str, Any],
        prepared: str = "",
        signature: bytes = b"",
    ) -> bool:
        """New version, its chunks, its outbox row and the item's end, in one transaction. False when the document was
        deleted or superseded meanwhile: the write of one racing with its delete loses. False and queued again when the
        collection is searched by another generation of vectors than when the item was claimed."""
        ...

    async def commit_documents(self, principal: Principal, commits: Sequence[DocumentCommit]) -> None:
        """As `commit_document` for each, all in one transaction: all of them or none."""
        ...

    async def fail_item(
        self, principal: Principal, item: WorkItem, reason: str, code: str, *, retry: bool, report: Mapping[str, Any]
    ) -> None:
        """Queued again, or given up. What is given up without a retry by a job that prepares documents again leaves search:
        its text was made by rules that hold no more."""
        ...

    async def finish_job(self, principal: Principal, job_id: str) -> Job:
        """Set the job's end state when no item is queued or running. The job comes without its items."""
        ...

    async def unfinished_jobs(self) -> list[OpenJob]:
        """Every job neither ended nor held back, oldest first: what the sweep chooses from."""
        ...

    async def reset_running(self, job_id: str = "") -> int:
        """Running items go back to queued; how many. Only for the one process that is about to become the worker, since what
        was running had a worker that is dead, or that has given up this job. Such a stop is no fault of the document, so its
        attempt is not counted."""
        ...

    async def index_changes(self, limit: int) -> list[IndexChange]: ...

    async def points(self, tenant: str, document_id: str) -> list[StoredPoint]:
        """Current chunks of a live document, in the generation that is searched and, as far as they have a vector of it, in
        the one being built; empty for a deleted one."""
        ...

    async def points_of_all(self, wanted: Sequence[tuple[str, str]]) -> dict[tuple[str, str], list[StoredPoint]]:
        """`points` of each (tenant, document id), all of one moment."""
        ...

    async def settle_changes(self, seqs: Sequence[int]) -> None: ...

    async def live_chunk_ids(self, tenant: str) -> set[str]: ...

    async def live_point_ids(self, tenant: str) -> set[str]:
        """What the index must hold: the live chunks in the generations that are searched."""
        ...

    async def live_documents(self) -> list[tuple[str, str]]:
        """(tenant, document_id) of every indexed, live document: what a lost index is rebuilt from."""
        ...

    async def blobs_of(self, tenant: str, document_id: str) -> list[str]:
        """Names of the blobs a document (deleted or not) has been accepted with: what a purge removes."""
        ...

    async def deletion_mark(self) -> int:
        """Where the ledger of deletions ends now."""
        ...

    async def deletions_since(self, mark: int) -> tuple[int, list[str]]:
        """The new mark, and the ids of documents deleted after `mark` by any process."""
        ...

    async def live_blobs(self) -> set[str]:
        """Names of blobs that a live document or a queued item still needs."""
        ...


class Keys(Protocol):
    async def add_key(self, principal: Principal, key: KeyRecord) -> None: ...

    async def keys(self, principal: Principal) -> list[KeyRecord]: ...

    async def revoke_key(self, principal: Principal, key_id: str) -> KeyRecord: ...

    async def expire_key(self, principal: Principal, key_id: str, expires_at: str | None) -> KeyRecord:
        """Set when a key ends (UTC, None: never). Raises NotFound for one that is not the principal's to see or is revoked."""
        ...

    async def active_keys(self) -> list[KeyRecord]:
        """Every key not revoked: what the authenticator holds in memory and refreshes."""
        ...

    async def change_mark(self) -> str:
        """Changes whenever keys or memberships do: cheap enough to ask every half second."""
        ...

    async def add_membership(self, principal: Principal, subject: str, groups: Sequence[str]) -> None: ...

    async def remove_membership(self, principal: Principal, subject: str, groups: Sequence[str]) -> None: ...

    async def memberships(self, tenant: str, subject: str) -> frozenset[str]: ...

    async def all_memberships(self) -> dict[tuple[str, str], frozenset[str]]:
        """(tenant, subject) -> groups, through other groups too; without users that are switched off."""
        ...

    async def inactive_subjects(self) -> frozenset[tuple[str, str]]:
        """(tenant, subject) of users that are switched off."""
        ...

    async def standing(self, tenant: str, subjects: Set[str]) -> Standing: ...


class AuditLog(Protocol):
    async def audit(self, principal: Principal, act: str, target: str, facts: Mapping[str, Any]) -> None:
        """Append; raises StorageError when it cannot be written, and the act must then be refused."""
        ...


class CallFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which calls; "" and None mean any. `before`: the id of a call, only those that came before it."""

    model: str = ""
    outcome: str = ""
    key_id: str = ""
    before: str = ""


ANY_CALL: Final = CallFilter()


class CallLog(Protocol):
    async def add_calls(self, records: Sequence[CallRecord]) -> None:
        """Texts are kept only while all of their documents live."""
        ...

    async def calls(self, principal: Principal, limit: int, wanted: CallFilter = ANY_CALL) -> list[CallRecord]:
        """Newest first, without texts: the principal's own, or all of the tenant's for an admin."""
        ...

    async def call(self, principal: Principal, call_id: str) -> CallRecord:
        """One of those that `calls` shows. Its text comes along for the scope audit, while every document in it lives.
        Raises NotFound."""
        ...


class Catalogue(
    Passages,
    Traces,
    AnswerLog,
    EvalRuns,
    FeedbackStore,
    Documents,
    SourceItems,
    JobControl,
    Work,
    Generations,
    Keys,
    StoredRoutes,
    AuditLog,
    Protocol,
):
    """All of it: what `db` implements and `bootstrap` hands out in parts."""


JobHandler = Callable[[str, str], Awaitable[None]]  # (tenant, job_id)


class Jobs(Protocol):
    """The durable runner. A job's truth is its catalogue row; this only makes sure that somebody works on it."""

    def register(self, kind: str, handler: JobHandler) -> None:
        """Before `launch`. A handler must be safe to run again at any point."""
        ...

    async def launch(self) -> None:
        """Become the folder's worker if nobody is, resume what was interrupted, and sweep. Otherwise stand by."""
        ...

    async def submit(self, kind: str, tenant: str, job_id: str) -> None: ...

    def gives_way(self, job_id: str) -> bool:
        """Whether another job waits for a turn: the handler then ends with what it has claimed, and goes on at its next."""
        ...

    async def close(self) -> None: ...
