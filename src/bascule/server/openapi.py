"""The OpenAPI 3.1 description, made from the route table: what is served and what is described cannot part."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from typing import Any, Final

import msgspec

from bascule.core.documents import Answer, Citation
from bascule.rag.events import DeltaData, SourcesData
from bascule.server.failures import ErrorBody
from bascule.server.model_calls import EmbeddingsBody, ModelList
from bascule.server.route import Route
from bascule.server.table import HOT, OPEN, ROUTES, PlainRoute
from bascule.server.views import Health

_REF: Final = "#/components/schemas/{name}"
_STREAMED: Final = "/v1/answers"
_OBJECT: Final = {"type": "object"}
_ERRORS: Final = {
    "400": "The request is malformed; `param` names the field",
    "401": "No credential, or one that is not valid",
    "403": "The key lacks the scope",
    "404": "There is no such thing, or you may not see it",
    "413": "Larger than allowed",
    "429": "A limit; `Retry-After` says when to come back",
    "503": "The catalogue or the index does not answer",
}
_UPSTREAM: Final = {"502": "The model's provider failed", "504": "The deadline ran out"}
_EVENTS: Final[dict[str, Any]] = {
    "sources": SourcesData,
    "delta": DeltaData,
    "citation": Citation,
    "done": Answer,
    "error": ErrorBody,
}
_CHAT_BODY: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["model", "messages"],
    "properties": {
        "model": {"type": "string"},
        "messages": {"type": "array", "items": _OBJECT, "minItems": 1},
        "stream": {"type": "boolean"},
    },
    "additionalProperties": True,
    "description": "OpenAI's request. Fields not named here reach the provider untouched.",
}

_MESSAGE_BODY: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["model", "messages"],
    "properties": {
        "model": {"type": "string"},
        "messages": {"type": "array", "items": _OBJECT, "minItems": 1},
        "system": {"anyOf": [{"type": "string"}, {"type": "array", "items": _OBJECT}]},
        "stream": {"type": "boolean"},
    },
    "additionalProperties": True,
    "description": "Anthropic's request. Fields not named here reach a provider of this format untouched.",
}

_RESPONSE_BODY: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["model", "input"],
    "properties": {
        "model": {"type": "string"},
        "input": {"anyOf": [{"type": "string"}, {"type": "array", "items": _OBJECT, "minItems": 1}]},
        "stream": {"type": "boolean"},
    },
    "additionalProperties": True,
    "description": "OpenAI's request. Nothing that needs a response kept: `previous_response_id`, `conversation`, `background`.",
}


@cache
def document() -> bytes:
    """The description as JSON."""
    types = _types()
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    known = dict(zip(map(str, types), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for plain in (*HOT, *OPEN):
        paths.setdefault(plain.path, {})[plain.method.lower()] = _plain(plain, known)
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, known, components)
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "Bascule",
                "version": version("bascule"),
                "summary": "A gateway for model calls, and answers from documents to those who may read them.",
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "paths": paths,
            "components": {
                "schemas": components,
                "securitySchemes": {
                    "bearer": {"type": "http", "scheme": "bearer"},
                    "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
                },
            },
        }
    )


def _types() -> list[Any]:
    found: list[Any] = [EmbeddingsBody, ModelList, Health, *_EVENTS.values()]
    for route in ROUTES:
        for kind in (route.body, route.query, route.returns):
            if kind is not None and not isinstance(kind, str) and kind not in found:
                found.append(kind)
    return found


def _operation(route: Route, known: Mapping[str, Any], components: Mapping[str, Any]) -> dict[str, Any]:
    made = _head(route.name, route.summary, route.tag, route.scope)
    if route.handler.__doc__:
        made["description"] = route.handler.__doc__
    parameters = [_path_parameter(name) for name in re.findall(r"{(\w+)}", route.path)]
    parameters += _query_parameters(route, components)
    if parameters:
        made["parameters"] = parameters
    if route.body is not None:
        made["requestBody"] = {"required": True, "content": _request_content(route, known)}
    if route.path == _STREAMED:
        made["x-events"] = {name: known[str(kind)] for name, kind in _EVENTS.items()}
    made["responses"] = _responses(str(route.status), _content(route, known), known)
    return made


def _plain(route: PlainRoute, known: Mapping[str, Any]) -> dict[str, Any]:
    name = "_".join(part for part in re.split(r"\W+", route.path) if part and part != "v1")
    made = _head(name, route.summary, route.tag, route.scope)
    body, content = _PLAIN.get(route.path, (None, {}))
    if body is not None:
        made["requestBody"] = {"required": True, "content": {"application/json": {"schema": _resolve(body, known)}}}
    resolved = {kind: {"schema": _resolve(schema, known)} for kind, schema in content.items()}
    made["responses"] = _responses("200", resolved, known, upstream=route.path != "/v1/models" and bool(body))
    return made


_PLAIN: Final[dict[str, tuple[Any, dict[str, Any]]]] = {
    "/v1/chat/completions": (_CHAT_BODY, {"application/json": _OBJECT, "text/event-stream": {"type": "string"}}),
    "/v1/embeddings": (EmbeddingsBody, {"application/json": _OBJECT}),
    "/v1/models": (None, {"application/json": ModelList}),
    "/v1/messages": (_MESSAGE_BODY, {"application/json": _OBJECT, "text/event-stream": {"type": "string"}}),
    "/v1/messages/count_tokens": (_MESSAGE_BODY, {"application/json": _OBJECT}),
    "/v1/responses": (_RESPONSE_BODY, {"application/json": _OBJECT, "text/event-stream": {"type": "string"}}),
    "/livez": (None, {"application/json": Health}),
    "/readyz": (None, {"application/json": Health}),
    "/metrics": (None, {"text/plain": {"type": "string"}}),
    "/openapi.json": (None, {"application/json": _OBJECT}),
}


def _head(name: str, summary: str, tag: str, scope: str | None) -> dict[str, Any]:
    made: dict[str, Any] = {"operationId": name, "summary": summary, "tags": [tag]}
    made["security"] = [] if scope is None else [{"bearer": []}, {"apiKey": []}]
    if scope is not None:
        made["x-scope"] = scope
    return made


def _resolve(schema: Any, known: Mapping[str, Any]) -> Any:
    return schema if isinstance(schema, dict) else known[str(schema)]


def _path_parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _query_parameters(route: Route, components: Mapping[str, Any]) -> list[dict[str, Any]]:
    if route.query is None:
        return []
    schema = components[route.query.__name__]
    needed = set(schema.get("required", ()))
    return [
        {"name": name, "in": "query", "required": name in needed, "schema": given}
        for name, given in schema["properties"].items()
    ]


def _request_content(route: Route, known: Mapping[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": {"schema": known[str(route.body)]}}
    if route.upload:
        words = {"type": "array", "items": {"type": "string"}}
        files = {"type": "array", "items": {"type": "string", "contentMediaType": "application/octet-stream"}}
        fields = {"collection": {"type": "string"}, "allow": words, "deny": words, "file": files}
        form = {"type": "object", "required": ["collection", "file"], "properties": fields}
        content["multipart/form-data"] = {"schema": form}
    return content


def _content(route: Route, known: Mapping[str, Any]) -> dict[str, Any]:
    if route.returns is None:
        return {}
    if isinstance(route.returns, str):
        return {route.returns: {"schema": {"type": "string"}}}
    content: dict[str, Any] = {"application/json": {"schema": known[str(route.returns)]}}
    if route.path == _STREAMED:
        words = "Server-sent events, each with JSON data: see `x-events`"
        content["text/event-stream"] = {"schema": {"type": "string", "description": words}}
    return content


def _responses(
    status: str, content: Mapping[str, Any], known: Mapping[str, Any], *, upstream: bool = False
) -> dict[str, Any]:
    good: dict[str, Any] = {"description": "Done"}
    if content:
        good["content"] = content
    error = {"application/json": {"schema": known[str(ErrorBody)]}}
    errors = _ERRORS | (_UPSTREAM if upstream else {})
    return {status: good} | {code: {"description": words, "content": error} for code, words in errors.items()}
