"""Every route of the API, in one table."""

from __future__ import annotations

from typing import Final

import msgspec

from bascule.bootstrap.reload import Reloaded
from bascule.core.documents import Answer
from bascule.core.principals import SCOPE_ADMIN, SCOPE_ASK, SCOPE_AUDIT, SCOPE_CHAT, SCOPE_INGEST
from bascule.server import answers, cache, calls, documents, keys, responses
from bascule.server.bodies import (
    AnswerBody,
    DocumentsBody,
    DocumentsQuery,
    ExpireBody,
    KeyBody,
    PassageQuery,
    RevealBody,
    RightsBody,
    RotateBody,
    SearchBody,
)
from bascule.server.cache import Purged, PurgeQuery
from bascule.server.calls import CallList, CallsQuery, CallView
from bascule.server.collections import COLLECTION_ROUTES
from bascule.server.directory import DIRECTORY_ROUTES
from bascule.server.evaluations import EVALUATION_ROUTES
from bascule.server.explaining import ANSWER_ROUTES
from bascule.server.feedback import FEEDBACK_ROUTES
from bascule.server.health import HEALTH_ROUTES
from bascule.server.jobs import JOB_ROUTES
from bascule.server.rights import RIGHTS_ROUTES
from bascule.server.route import Route
from bascule.server.routes import ROUTE_ROUTES
from bascule.server.scim import SCIM_ROUTES
from bascule.server.sources import SOURCE_ROUTES
from bascule.server.views import (
    ChunkList,
    DocumentList,
    DocumentView,
    HitList,
    JobView,
    KeyList,
    KeyView,
    PassageView,
    Revealed,
)

ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="POST",
        path="/v1/answers",
        handler=answers.answer,
        scope=SCOPE_ASK,
        tag="Questions",
        watched=True,
        summary="Answer a question from documents, with citations",
        body=AnswerBody,
        returns=Answer,
    ),
    *ANSWER_ROUTES,
    Route(
        method="POST",
        path="/v1/search",
        handler=answers.search,
        scope=SCOPE_ASK,
        tag="Questions",
        watched=True,
        summary="Find passages",
        body=SearchBody,
        returns=HitList,
    ),
    Route(
        method="GET",
        path="/v1/passages/{id}",
        handler=answers.passage,
        scope=SCOPE_ASK,
        tag="Questions",
        summary="Read one passage, with its neighbours",
        query=PassageQuery,
        returns=PassageView,
    ),
    *EVALUATION_ROUTES,
    *FEEDBACK_ROUTES,
    *COLLECTION_ROUTES,
    Route(
        method="POST",
        path="/v1/documents",
        handler=documents.add_documents,
        scope=SCOPE_INGEST,
        tag="Documents",
        summary="Take documents in",
        body=DocumentsBody,
        returns=JobView,
        status=202,
        upload=True,
    ),
    Route(
        method="GET",
        path="/v1/documents",
        handler=documents.list_documents,
        scope=SCOPE_ASK,
        tag="Documents",
        summary="Documents you may read",
        query=DocumentsQuery,
        returns=DocumentList,
    ),
    Route(
        method="GET",
        path="/v1/documents/{id}",
        handler=documents.show_document,
        scope=SCOPE_ASK,
        tag="Documents",
        summary="One document",
        returns=DocumentView,
    ),
    Route(
        method="DELETE",
        path="/v1/documents/{id}",
        handler=documents.delete_document,
        scope=SCOPE_INGEST,
        tag="Documents",
        summary="Delete a document: gone when this answers",
        status=204,
    ),
    Route(
        method="GET",
        path="/v1/documents/{id}/chunks",
        handler=documents.document_chunks,
        scope=SCOPE_ASK,
        tag="Documents",
        summary="The passages of a document",
        returns=ChunkList,
    ),
    Route(
        method="POST",
        path="/v1/documents/{id}/reveal",
        handler=documents.reveal,
        scope=SCOPE_AUDIT,
        tag="Documents",
        summary="The value behind a pseudonym in a document; audited",
        body=RevealBody,
        returns=Revealed,
    ),
    Route(
        method="PUT",
        path="/v1/documents/{id}/rights",
        handler=documents.set_rights,
        scope=SCOPE_INGEST,
        tag="Documents",
        summary="Change who may read a document",
        body=RightsBody,
        returns=DocumentView,
    ),
    *RIGHTS_ROUTES,
    *DIRECTORY_ROUTES,
    *SCIM_ROUTES,
    *JOB_ROUTES,
    *ROUTE_ROUTES,
    *SOURCE_ROUTES,
    *HEALTH_ROUTES,
    Route(
        method="GET",
        path="/v1/calls",
        handler=calls.list_calls,
        scope=SCOPE_CHAT,
        tag="Operation",
        summary="Your model calls, newest first; all of the tenant's for an administrator",
        query=CallsQuery,
        returns=CallList,
    ),
    Route(
        method="GET",
        path="/v1/calls/{id}",
        handler=calls.show_call,
        scope=SCOPE_CHAT,
        tag="Operation",
        summary="One model call; with its kept text for the scope audit",
        returns=CallView,
    ),
    Route(
        method="DELETE",
        path="/v1/cache",
        handler=cache.purge_cache,
        scope=SCOPE_ADMIN,
        tag="Operation",
        summary="Remove kept answers of your tenant",
        query=PurgeQuery,
        returns=Purged,
    ),
    Route(
        method="POST",
        path="/v1/keys",
        handler=keys.create_key,
        scope=SCOPE_ADMIN,
        tag="Keys",
        summary="Make an API key; it is shown this once",
        body=KeyBody,
        returns=KeyView,
        status=201,
    ),
    Route(
        method="GET",
        path="/v1/keys",
        handler=keys.list_keys,
        scope=SCOPE_ADMIN,
        tag="Keys",
        summary="API keys, without the keys",
        returns=KeyList,
    ),
    Route(
        method="POST",
        path="/v1/keys/{id}/rotate",
        handler=keys.rotate_key,
        scope="",
        tag="Keys",
        summary="Replace an API key by a new one; a key may do so for itself",
        body=RotateBody,
        returns=KeyView,
        status=201,
    ),
    Route(
        method="POST",
        path="/v1/keys/{id}/expire",
        handler=keys.expire_key,
        scope=SCOPE_ADMIN,
        tag="Keys",
        summary="Set when an API key ends, or disable it",
        body=ExpireBody,
        returns=KeyView,
    ),
    Route(
        method="POST",
        path="/v1/reload",
        handler=keys.reload,
        scope=SCOPE_ADMIN,
        tag="Operation",
        summary="Read the configuration again without dropping a call",
        returns=Reloaded,
    ),
    Route(
        method="DELETE",
        path="/v1/keys/{id}",
        handler=keys.revoke_key,
        scope=SCOPE_ADMIN,
        tag="Keys",
        summary="Revoke an API key, at once",
        returns=KeyView,
    ),
    Route(
        method="GET",
        path="/v1/responses/{response_id}",
        handler=responses.retrieve_response,
        scope=SCOPE_CHAT,
        tag="Models",
        summary="Always 404: responses are not kept",
    ),
    Route(
        method="DELETE",
        path="/v1/responses/{response_id}",
        handler=responses.delete_response,
        scope=SCOPE_CHAT,
        tag="Models",
        summary="Always 404: responses are not kept",
    ),
)


class PlainRoute(msgspec.Struct, frozen=True):
    """A route that `app` answers itself. `scope`: None needs no credential, "" any valid one."""

    method: str
    path: str
    scope: str | None
    tag: str
    summary: str


HOT: Final[tuple[PlainRoute, ...]] = (
    PlainRoute("POST", "/v1/chat/completions", "chat", "Models", "Chat, as OpenAI has it; `rag/NAME` asks documents"),
    PlainRoute("POST", "/v1/embeddings", "chat", "Models", "Embeddings, as OpenAI has them"),
    PlainRoute("GET", "/v1/models", "", "Models", "The models you may name"),
    PlainRoute("POST", "/v1/responses", "chat", "Models", "Responses, as OpenAI has them; none is kept"),
    PlainRoute("POST", "/v1/messages", "chat", "Models", "Messages, as Anthropic has them"),
    PlainRoute("POST", "/v1/messages/count_tokens", "chat", "Models", "Count a message's tokens, as Anthropic has it"),
)

OPEN: Final[tuple[PlainRoute, ...]] = (
    PlainRoute("GET", "/livez", None, "Operation", "The process is alive"),
    PlainRoute("GET", "/readyz", None, "Operation", "The catalogue answers and the server is not draining"),
    PlainRoute("GET", "/metrics", "metrics", "Operation", "Figures for Prometheus"),
    PlainRoute("GET", "/openapi.json", None, "Operation", "This description"),
)
