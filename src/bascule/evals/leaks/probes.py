"""Every way of reading, as requests. `COVERED` and `EXCUSED` together name every route; a test holds them to the server's table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

QUESTION: Final = "When is the bonus of the bridge keepers paid, and what is the amount?"
TOPIC: Final = "The bonus of the bridge keepers is paid in March"
MISSING: Final = "0190aaaa-bbbb-7ccc-8ddd-eeeeeeeeeeee"

COVERED: Final = frozenset(
    {
        "POST /v1/answers",
        "GET /v1/answers",
        "GET /v1/answers/{id}/explain",
        "POST /v1/answers/{id}/replay",
        "GET /v1/answers/{id}/diff",
        "POST /v1/search",
        "GET /v1/passages/{id}",
        "GET /v1/collections",
        "GET /v1/collections/{id}",
        "GET /v1/documents/{id}/rights",
        "GET /v1/rights",
        "GET /v1/directory/users",
        "GET /v1/directory/groups",
        "GET /v1/sources",
        "GET /v1/candidates",
        "GET /v1/documents",
        "GET /v1/evaluations",
        "GET /v1/keys",
        "GET /v1/documents/{id}",
        "GET /v1/documents/{id}/chunks",
        "GET /v1/jobs",
        "GET /v1/jobs/{id}",
        "GET /v1/quarantine",
        "GET /v1/pauses",
        "GET /v1/routes",
        "GET /v1/calls",
        "GET /v1/usage",
        "GET /v1/health",
        "GET /v1/calls/{id}",
        "GET /v1/models",
        "POST /v1/chat/completions",
        "POST /v1/messages",
        "POST /v1/responses",
        "GET /metrics",
        "GET /openapi.json",
        "GET /readyz",
        "GET /livez",
    }
)
EXCUSED: Final[Mapping[str, str]] = {
    "GET /v1/jobs/{id}/events": "does not end while a job runs; the same view as GET /v1/jobs/{id}",
    "GET /v1/evaluations/{id}": "what the reader sent itself, shown while every document it names may be read: tests/db",
    "GET /v1/routes/{id}": "the same view as GET /v1/routes, and knows no document",
    "GET /v1/responses/{response_id}": "always 404",
    "GET /scim/v2/ServiceProviderConfig": "the same for everybody",
    "GET /scim/v2/ResourceTypes": "the same for everybody",
    "GET /scim/v2/Schemas": "the same for everybody",
    "GET /scim/v2/Schemas/{id}": "the same for everybody",
    "GET /scim/v2/Users": "the directory, for the scope scim; knows no document: tests/e2e/test_scim.py",
    "GET /scim/v2/Users/{id}": "as GET /scim/v2/Users",
    "GET /scim/v2/Groups": "as GET /scim/v2/Users",
    "GET /scim/v2/Groups/{id}": "as GET /scim/v2/Users",
    "POST /v1/embeddings": "answers with numbers made from the caller's own text",
    "POST /v1/messages/count_tokens": "counts the caller's own text",
}


_ADMIN: Final = ("/v1/pauses", "/v1/routes", "/v1/rights", "/v1/directory/users", "/v1/directory/groups", "/v1/sources")


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """`label` says what is asked, for findings. `about`: the document whose own page this is, if any. `changing`: the reply is
    another one each time, by what the reader has asked before or by figures of the whole server."""

    label: str
    method: str
    path: str
    body: Any = None
    about: str = ""
    changing: bool = False


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """Ids that an attacker may have seen once, a guess or an old link, to be tried by everybody."""

    documents: Mapping[str, str] = {}  # external id -> document id
    chunks: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()
    jobs: tuple[str, ...] = ()


def probes(collection: str, known: Known, *, model: str = "", answers: bool = True) -> Iterator[Probe]:
    """`model` has plain calls made as well; `answers` False leaves out what would call a model."""
    yield from _searches(collection)
    if answers:
        yield from _answers(collection)
    if model:
        yield from _calls(model)
    for path in (
        "/v1/collections",
        f"/v1/collections/{collection}",
        "/v1/jobs?limit=200",
        "/v1/quarantine",
        "/v1/candidates",
        "/v1/evaluations",
        "/v1/models",
        "/openapi.json",
        "/livez",
        *_ADMIN,
    ):
        yield Probe(label=path, method="GET", path=path)
    for path in (
        "/v1/answers?limit=200",
        "/v1/calls?limit=200",
        "/v1/usage",
        "/v1/health",
        "/v1/keys",
        "/metrics",
        "/readyz",
    ):
        yield Probe(label=path, method="GET", path=path, changing=True)
    yield Probe(label="documents", method="GET", path=f"/v1/documents?collection={collection}&limit=200")
    yield Probe(label="all documents", method="GET", path="/v1/documents?limit=200")
    yield from _by_id(known)


def _searches(collection: str) -> Iterator[Probe]:
    for where in ({}, {"collections": [collection]}):
        body = {"query": QUESTION, "limit": 50, **where}
        yield Probe(label=f"search {'here' if where else 'everywhere'}", method="POST", path="/v1/search", body=body)


def _answers(collection: str) -> Iterator[Probe]:
    for where in ({}, {"collections": [collection]}):
        for stream in (False, True):
            body = {"question": QUESTION, "stream": stream, **where}
            yield Probe(label=f"answer {where} stream={stream}", method="POST", path="/v1/answers", body=body)
    turn = [{"role": "user", "content": QUESTION}]
    formats: tuple[tuple[str, dict[str, Any]], ...] = (
        ("/v1/chat/completions", {"messages": turn}),
        ("/v1/messages", {"messages": turn, "max_tokens": 500}),
        ("/v1/responses", {"input": QUESTION}),
    )
    for path, extra in formats:
        for stream in (False, True):
            body = {"model": f"rag/{collection}", "stream": stream, **extra}
            yield Probe(label=f"rag {path} stream={stream}", method="POST", path=path, body=body)


def _calls(model: str) -> Iterator[Probe]:
    """The question itself, to the model: a cache that keeps answers by their question would answer with somebody's passages."""
    turn = [{"role": "user", "content": QUESTION}]
    yield Probe(label="call", method="POST", path="/v1/chat/completions", body={"model": model, "messages": turn})


def _by_id(known: Known) -> Iterator[Probe]:
    for name, document_id in known.documents.items():
        for rest in ("", "/chunks"):
            path = f"/v1/documents/{document_id}{rest}"
            yield Probe(label=f"document {name}{rest}", method="GET", path=path, about=name)
        yield Probe(label=f"rights {name}", method="GET", path=f"/v1/documents/{document_id}/rights?as=public")
    yield from _each("passage", "/v1/passages/{}", known.chunks)
    yield from _each("passage with its neighbours", "/v1/passages/{}?around=3", known.chunks[-4:])
    yield from _each("explain", "/v1/answers/{}/explain", known.answers)
    if known.answers and known.documents:  # asked why a document is not in an answer, by its name and by its id
        for expected in (next(iter(known.documents)), *list(known.documents.values())[-1:]):
            yield from _each("expect", f"/v1/answers/{{}}/explain?expect={expected}", known.answers[-1:])
        yield from _each("diff", f"/v1/answers/{{}}/diff?other={known.answers[0]}", known.answers[-1:])
    for answer in known.answers[-1:]:
        yield Probe(label=f"replay {answer}", method="POST", path=f"/v1/answers/{answer}/replay")
    yield from _each("call", "/v1/calls/{}", known.calls)
    yield from _each("job", "/v1/jobs/{}", known.jobs)


def _each(label: str, path: str, ids: Iterable[str]) -> Iterator[Probe]:
    for one in ids:
        yield Probe(label=f"{label} {one}", method="GET", path=path.format(one))
