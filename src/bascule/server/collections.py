"""Collections over HTTP: what may be read, how it is embedded, and embedding it anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from bascule.core.documents import Collection, preparation
from bascule.core.errors import NotFound
from bascule.core.generations import CollectionFacts, EmbeddedBy
from bascule.core.principals import SCOPE_ADMIN, SCOPE_ASK
from bascule.rag.retention import RetentionReport
from bascule.server.bodies import Body, Name
from bascule.server.documents import ingest_of
from bascule.server.route import Inquiry, Route
from bascule.server.views import JobView
from bascule.settings import RagSettings

if TYPE_CHECKING:
    from bascule.bootstrap import App


class BuildingView(msgspec.Struct, frozen=True, kw_only=True):
    """Vectors of another model that are being made beside those in use. `reason`: why it does not go on."""

    model: str
    fingerprint: str
    job_id: str
    embedded: int
    to_embed: int
    reason: str

    @classmethod
    def of(cls, facts: CollectionFacts, by: EmbeddedBy) -> BuildingView:
        return cls(
            model=by.model,
            fingerprint=by.fingerprint,
            job_id=facts.job_id,
            embedded=facts.embedded,
            to_embed=facts.to_embed,
            reason=facts.reason,
        )


class PreparedView(msgspec.Struct, frozen=True):
    """Documents by the rules they were prepared by; empty and 0 for those before that was kept."""

    redact: str
    chunk_tokens: int
    documents: int


class CollectionFactsView(msgspec.Struct, frozen=True, kw_only=True):
    """`unembedded`: chunks found by their words only. `pinned`: its model was named for it, and stays when the configured one
    changes. `redact` and `chunk_tokens` are as configured, `prepared` as stored; `stale` documents were prepared otherwise."""

    documents: int
    chunks: int
    unembedded: int
    model: str
    fingerprint: str
    dimension: int
    generation: int
    pinned: bool
    redact: str
    chunk_tokens: int
    retention_days: float | None
    stale: int
    prepared: list[PreparedView]
    building: BuildingView | None = None

    @classmethod
    def of(cls, facts: CollectionFacts, rag: RagSettings) -> CollectionFactsView:
        collection = facts.collection
        own = rag.collections.get(collection.name)
        redact = own.redact if own is not None and own.redact is not None else rag.redact
        now = preparation(redact, rag.chunk_tokens, rag.names_rule)
        return cls(
            documents=facts.documents,
            chunks=facts.chunks,
            unembedded=facts.unembedded,
            model=collection.model,
            fingerprint=collection.fingerprint,
            dimension=collection.dimension,
            generation=collection.generation,
            pinned=bool(collection.pin),
            redact=redact,
            chunk_tokens=rag.chunk_tokens,
            retention_days=own.retention_days if own is not None else None,
            stale=sum(number for how, number in facts.prepared.items() if how != now),
            prepared=[_prepared(how, number) for how, number in sorted(facts.prepared.items())],
            building=BuildingView.of(facts, facts.building) if facts.building is not None else None,
        )


def _prepared(how: str, number: int) -> PreparedView:
    redact, _, tokens = how.partition(":")
    return PreparedView(redact, int(tokens or 0), number)


class CollectionView(msgspec.Struct, frozen=True, kw_only=True):
    """`search`: hybrid, or lexical while the model that embedded it is not in reach. `facts` are for administrators only."""

    name: str
    search: str
    id: str
    facts: CollectionFactsView | None = None


class CollectionList(msgspec.Struct, frozen=True):
    data: list[CollectionView]
    object: str = "list"


class ReembedBody(Body, frozen=True, kw_only=True):
    """`model`: a name under [models] that this collection is embedded with from now on; without it the configured one."""

    model: Annotated[Name | None, msgspec.Meta(description="A name under [models].")] = None


async def views(app: App, found: list[CollectionFacts]) -> list[CollectionView]:
    return [await view_of(app, facts.collection, CollectionFactsView.of(facts, app.settings.rag)) for facts in found]


async def view_of(app: App, collection: Collection, facts: CollectionFactsView | None = None) -> CollectionView:
    fits = app.embedders is None or await app.embedders.of(collection) is not None
    search = "hybrid" if fits and collection.fingerprint else "lexical"
    return CollectionView(name=collection.name, search=search, id=collection.id, facts=facts)


async def collections(inquiry: Inquiry) -> CollectionList:
    """GET /v1/collections."""
    app = inquiry.app
    if inquiry.principal.is_admin:
        return CollectionList(await views(app, await app.catalogue.collection_facts(inquiry.principal)))
    found = await app.catalogue.collections(inquiry.principal)
    return CollectionList([await view_of(app, collection) for collection in found])


async def show_collection(inquiry: Inquiry) -> CollectionView:
    """GET /v1/collections/{id}."""
    (found,) = await views(inquiry.app, await inquiry.app.catalogue.collection_facts(inquiry.principal, inquiry.id))
    return found


class ReprocessBody(Body, frozen=True, kw_only=True):
    """`only_stale`: leave out documents that were prepared by today's rules."""

    only_stale: bool = False


async def reprocess_collection(inquiry: Inquiry) -> JobView:
    """POST /v1/collections/{id}/reprocess."""
    body: ReprocessBody = inquiry.body
    ingest = ingest_of(inquiry.app)
    return JobView.of(await ingest.reprocess(inquiry.principal, inquiry.id, only_stale=body.only_stale))


class ForgetBody(Body, frozen=True, kw_only=True):
    """`confirm_deletions`: delete what is too old, however many."""

    confirm_deletions: bool = False


class RetentionList(msgspec.Struct, frozen=True):
    """What was deleted, or held back and why; empty when nothing is too old or the collection has no retention_days."""

    data: list[RetentionReport]
    object: str = "list"


async def forget_collection(inquiry: Inquiry) -> RetentionList:
    """POST /v1/collections/{id}/forget."""
    app, body = inquiry.app, inquiry.body
    (facts,) = await app.catalogue.collection_facts(inquiry.principal, inquiry.id)
    if app.retention is None:
        raise NotFound("This server is a gateway only: [rag] enabled is false.")
    name = facts.collection.name
    return RetentionList(await app.retention.run_one(inquiry.principal, name, confirm_deletions=body.confirm_deletions))


async def reembed_collection(inquiry: Inquiry) -> JobView:
    """POST /v1/collections/{id}/reembed."""
    if inquiry.app.reembed is None:
        raise NotFound("This server is a gateway only: [rag] enabled is false.")
    body: ReembedBody = inquiry.body
    return JobView.of(await inquiry.app.reembed.start(inquiry.principal, inquiry.id, body.model))


COLLECTION_ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="GET",
        path="/v1/collections",
        handler=collections,
        scope=SCOPE_ASK,
        tag="Collections",
        summary="Collections with something to read; an administrator sees what is in each and how it is embedded",
        returns=CollectionList,
    ),
    Route(
        method="GET",
        path="/v1/collections/{id}",
        handler=show_collection,
        scope=SCOPE_ADMIN,
        tag="Collections",
        summary="One collection, by its name or id",
        returns=CollectionView,
    ),
    Route(
        method="POST",
        path="/v1/collections/{id}/reembed",
        handler=reembed_collection,
        scope=SCOPE_ADMIN,
        tag="Collections",
        summary="Embed a collection anew beside its old vectors, then switch",
        body=ReembedBody,
        returns=JobView,
        status=202,
    ),
    Route(
        method="POST",
        path="/v1/collections/{id}/forget",
        handler=forget_collection,
        scope=SCOPE_ADMIN,
        tag="Collections",
        summary="Delete what a collection keeps no longer, now",
        body=ForgetBody,
        returns=RetentionList,
    ),
    Route(
        method="POST",
        path="/v1/collections/{id}/reprocess",
        handler=reprocess_collection,
        scope=SCOPE_ADMIN,
        tag="Collections",
        summary="Prepare a collection's documents again by today's rules",
        body=ReprocessBody,
        returns=JobView,
        status=202,
    ),
)
