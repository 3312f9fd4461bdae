"""The cache key: a hash of everything that can change an answer; and the tags by which entries are found again to be removed."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final

import msgspec

from bascule.core.chat import ChatRequest
from bascule.core.embedding import EmbeddingRequest
from bascule.core.principals import Principal
from bascule.gateway.routes import Route

# The digit is the version of what is kept: another version's entries are never looked up.
_CHAT: Final = "c2:"
_VECTOR: Final = "v2:"
_BATCH: Final = "e2:"
_COLON: Final = re.compile(rb"\\u003[aA]")  # an escaped colon

canonical = msgspec.json.Encoder(order="sorted").encode


def signature(route: Route) -> bytes:
    """A changed configuration must not find what another target answered."""
    return canonical([route.model, [[t.provider, t.model] for t in route.targets]])


def chat_key(signature: bytes, route: Route, principal: Principal, operation: bytes, request: ChatRequest) -> str:
    """ "" when the body has no one meaning, so that nobody may share its answer."""
    body = canonical(request.view)
    if names_twice(request.body, body):
        return ""
    digest = blake2b(_head(signature, route, principal, operation, request), digest_size=20)
    digest.update(body)
    return _CHAT + digest.hexdigest()


def similar_place(
    signature: bytes, route: Route, principal: Principal, operation: bytes, request: ChatRequest, rest: Sequence[object]
) -> bytes:
    """Of everything that must be identical for a question to be like another: all of the key but how the question is worded.
    `rest`: the body without the question, and what of the question must be the same."""
    digest = blake2b(_head(signature, route, principal, operation, request), digest_size=20)
    digest.update(canonical(rest))
    return digest.digest()


def _head(signature: bytes, route: Route, principal: Principal, operation: bytes, request: ChatRequest) -> bytes:
    head = b"\0".join((signature, canonical(_scope(route, principal)), operation, request.wire.encode(), b""))
    return head + canonical(request.betas) + b"\0" if request.betas else head


def vector_keys(signature: bytes, route: Route, principal: Principal, request: EmbeddingRequest) -> list[str]:
    scope = canonical([*_scope(route, principal), request.purpose, request.dimensions])
    prefix = blake2b(signature + b"\0embed\0" + scope + b"\0", digest_size=20)
    keys = []
    for text in request.texts:
        digest = prefix.copy()
        digest.update(text.encode("utf-8", "surrogatepass"))
        keys.append(_VECTOR + digest.hexdigest())
    return keys


def batch_key(keys: list[str]) -> str:
    return _BATCH + blake2b("".join(keys).encode(), digest_size=20).hexdigest()


def _scope(route: Route, principal: Principal) -> list[str]:
    if route.cache_scope == "key" or (route.cache_scope == "user" and not principal.subject):
        return [principal.tenant, "key", principal.key_id, principal.subject]
    if route.cache_scope == "user":
        return [principal.tenant, "user", principal.subject]
    return [principal.tenant]


def names_twice(body: bytes, canonical_body: bytes) -> bool:
    """Whether an object anywhere in the JSON text `body` gives a key twice: the last counts for us, perhaps the first for the
    vendor. `canonical_body` is the text parsed and written again without white space.

    Each key is followed by a colon, and writing a body again changes the number of colons in no other way than by dropping
    repeated keys and by unescaping: equal counts, which are cheap, mean there were none.
    """
    if body.count(b":") == canonical_body.count(b":") and (b"\\" not in body or not _COLON.search(body)):
        return False
    return _repeats(body)


class _Twice(Exception):
    pass


def _repeats(body: bytes) -> bool:
    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(found)
        if len(made) != len(found):
            raise _Twice
        return made

    try:
        json.loads(body, object_pairs_hook=pairs)
    except (_Twice, ValueError, RecursionError):  # what another parser cannot read has no one meaning either
        return True
    return False


# ---------------------------------------------------------------- tags


def tags(route: Route, principal: Principal) -> tuple[str, ...]:
    """One tag for tenant and model; one more where the route's scope is narrower, for whoever it is kept for."""
    found = model_tag(principal.tenant, route.model)
    if route.cache_scope == "tenant":
        return (found,)
    if route.cache_scope == "user" and principal.subject:
        return (found, user_tag(principal.tenant, principal.subject))
    return (found, key_tag(principal.tenant, principal.key_id))


@lru_cache(4096)  # entries share the string instead of each having its own
def model_tag(tenant: str, model: str) -> str:
    return f"m:{len(tenant)}:{tenant}:{model}"


def key_tag(tenant: str, key_id: str) -> str:
    return f"k:{len(tenant)}:{tenant}:{key_id}"


def user_tag(tenant: str, subject: str) -> str:
    return f"u:{len(tenant)}:{tenant}:{subject}"
