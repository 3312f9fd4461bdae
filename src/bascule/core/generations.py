"""A collection's vectors by generation: the one that is searched, and one beside it while all of it is embedded anew.

A generation is a whole set of vectors of one model. The new one is built beside the one in use and takes its place in one
transaction; what it replaced stays in the index for a moment, for the questions that are being answered from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from bascule.core.documents import Collection, Job
from bascule.core.principals import Principal

REEMBED = "reembed"  # the kind of such a job
REPROCESS = "reprocess"  # of one that prepares all documents of a collection again


class EmbeddedBy(msgspec.Struct, frozen=True, kw_only=True):
    """A model by its name under [models] and what its vectors are. `pinned`: named for this collection, and so kept when the
    configured one changes."""

    model: str
    fingerprint: str
    dimension: int
    pinned: bool = False


class Unembedded(msgspec.Struct, frozen=True):
    """A chunk that lacks a vector of the generation being built."""

    chunk_id: str
    document_id: str
    indexed_text: str


class ReembedStep(msgspec.Struct, frozen=True, kw_only=True):
    """What is next in building a generation. `chunks` are in the order of their documents; none are left after the last."""

    wanted: EmbeddedBy
    chunks: tuple[Unembedded, ...]


class CollectionFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A collection as its operator sees it.

    unembedded  chunks without a vector of the generation that is searched
    prepared    documents by how they were prepared (see `core.documents.preparation`), "" for those before that was kept
    building    what it is being embedded with anew, by the job `job_id`; `embedded` of `to_embed` documents are done
    """

    collection: Collection
    documents: int
    chunks: int
    unembedded: int
    prepared: Mapping[str, int] = {}
    building: EmbeddedBy | None = None
    job_id: str = ""
    embedded: int = 0
    to_embed: int = 0
    reason: str = ""


class Generations(Protocol):
    """Building a generation of vectors, switching to it, and clearing away what it replaced."""

    async def start_reembed(self, principal: Principal, name: str, wanted: EmbeddedBy) -> Job:
        """Begin a generation beside the one in use; the job that builds it. The same job for the same model asked again.

        Raises ScopeMissing without admin, NotFound, Conflict when nothing would change or another model is under way.
        """
        ...

    async def collection_facts(self, principal: Principal, name: str | None = None) -> list[CollectionFacts]:
        """All of the tenant's, or the one named. Raises ScopeMissing without admin, NotFound."""
        ...

    async def reprocess(self, principal: Principal, name: str, *, unless: str | None = None) -> Job:
        """One job for all documents of a collection that are not in a queue already, nor `unless` prepared so.

        Raises ScopeMissing without admin, NotFound, Conflict when there is nothing to do.
        """
        ...

    async def misfits(self, fingerprint: str) -> list[Collection]:
        """Of every tenant: collections that go by the configured model and are embedded with another, where nothing is
        under way and nobody gave up embedding them with this one."""
        ...

    async def reembed_step(self, principal: Principal, job_id: str, after: str, limit: int) -> ReembedStep | None:
        """The next chunks of documents from `after` on; None when the job is not to be worked on (any more)."""
        ...

    async def put_vectors(
        self, principal: Principal, job_id: str, chunks: Sequence[Unembedded], made: Mapping[str, bytes]
    ) -> None:
        """Keep them, for those chunks that are still there, and owe the index the documents that are whole with them. A
        chunk that is not in `made` cannot be embedded: it is found by words."""
        ...

    async def switch(self, principal: Principal, job_id: str) -> bool:
        """Search the new generation from now on, if no chunk lacks its vector and the index owes none of them."""
        ...

    async def reembed_failed(self, principal: Principal, job_id: str, reason: str, *, give_up: bool) -> None: ...

    async def clear_retired(self, older_than_s: float, limit: int) -> int:
        """Drop vectors of generations that are no longer searched, of `limit` documents; how many documents that was."""
        ...
