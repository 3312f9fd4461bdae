"""Documents over HTTP: take in, list, read, delete, and change who may read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bascule.core.errors import NotFound
from bascule.server.bodies import DocumentsQuery, RevealBody, RightsBody
from bascule.server.route import Inquiry
from bascule.server.uploads import Upload, from_form, from_json, read_form
from bascule.server.views import ChunkList, ChunkView, DocumentList, DocumentView, JobView, Revealed

if TYPE_CHECKING:
    from bascule.bootstrap import App
    from bascule.core.documents import Document
    from bascule.core.principals import Principal
    from bascule.rag.ingest import Ingest


def ingest_of(app: App) -> Ingest:
    """Raises NotFound when this server is a gateway only."""
    if app.ingest is None:
        raise NotFound("This server is a gateway only: [rag] enabled is false.")
    return app.ingest


async def settled(app: App) -> None:
    """The index knows of changed rights."""
    if app.ingest is not None:
        await app.ingest.settle()


async def add_documents(inquiry: Inquiry) -> JobView:
    """POST /v1/documents."""
    ingest_of(inquiry.app)
    if inquiry.body is not None:
        return await _take(inquiry, from_json(inquiry.body, inquiry.principal.subject, inquiry.app.fetch_document))
    form = await read_form(inquiry.exchange, inquiry.app.settings.server.max_upload_bytes)
    try:
        return await _take(inquiry, from_form(form, inquiry.principal.subject))
    finally:
        await form.close()


async def _take(inquiry: Inquiry, upload: Upload) -> JobView:
    job, skipped = await ingest_of(inquiry.app).take(inquiry.principal, upload.collection, upload.items, upload.rights)
    return JobView.of(job, skipped)


async def list_documents(inquiry: Inquiry) -> DocumentList:
    """GET /v1/documents."""
    wanted: DocumentsQuery = inquiry.query
    found = await inquiry.app.catalogue.documents(inquiry.principal, wanted.collection, wanted.limit + 1, wanted.after)
    page = found[: wanted.limit]
    more = page[-1].id if len(found) > wanted.limit else None
    return DocumentList(await seen(inquiry.app, inquiry.principal, page), more)


async def seen(app: App, principal: Principal, documents: Sequence[Document]) -> list[DocumentView]:
    """With what is like each of them."""
    alikes = await app.catalogue.alikes(principal, [document.id for document in documents])
    return [DocumentView.of(document, principal, alikes.get(document.id, ())) for document in documents]


async def show_document(inquiry: Inquiry) -> DocumentView:
    """GET /v1/documents/{id}."""
    found = await inquiry.app.catalogue.document(inquiry.principal, inquiry.id)
    return (await seen(inquiry.app, inquiry.principal, [found]))[0]


async def delete_document(inquiry: Inquiry) -> None:
    """DELETE /v1/documents/{id}."""
    await ingest_of(inquiry.app).delete(inquiry.principal, inquiry.id)


async def reveal(inquiry: Inquiry) -> Revealed:
    """POST /v1/documents/{id}/reveal. Only for who may read the document, and written in the audit log first."""
    body: RevealBody = inquiry.body
    return Revealed(await ingest_of(inquiry.app).reveal(inquiry.principal, inquiry.id, body.pseudonym))


async def document_chunks(inquiry: Inquiry) -> ChunkList:
    """GET /v1/documents/{id}/chunks."""
    found = await inquiry.app.catalogue.document_chunks(inquiry.principal, inquiry.id)
    return ChunkList([ChunkView.of(chunk) for chunk in found])


async def set_rights(inquiry: Inquiry) -> DocumentView:
    """PUT /v1/documents/{id}/rights."""
    body: RightsBody = inquiry.body
    changed = await inquiry.app.rights.replace(inquiry.principal, inquiry.id, body.allow, body.deny)
    await settled(inquiry.app)
    return DocumentView.of(changed, inquiry.principal)
