"""Removing kept answers: of one tenant, by the tags its entries carry."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from bascule.core.errors import InvalidRequest
from bascule.gateway.cache_key import key_tag, model_tag, user_tag
from bascule.server.bodies import Body
from bascule.server.route import Inquiry


class PurgeQuery(Body, frozen=True, kw_only=True):
    """What to remove. `id` is the model's name, the key's id, the person's subject or the document's id.

    key, user  what models hold whose `cache_scope` is that narrow; elsewhere answers belong to the whole tenant
    """

    scope: Literal["tenant", "model", "key", "user", "document"]
    id: Annotated[str, msgspec.Meta(max_length=200)] = ""


class Purged(msgspec.Struct, frozen=True):
    """How many kept answers and vectors were removed."""

    removed: int


async def purge_cache(inquiry: Inquiry) -> Purged:
    """DELETE /v1/cache. Only entries of the caller's own tenant; an answer under way when this is called is not kept either."""
    asked: PurgeQuery = inquiry.query
    if (asked.scope == "tenant") == bool(asked.id):
        wanted = "No id is needed for the whole tenant." if asked.id else f"Say which {asked.scope} by its id."
        raise InvalidRequest(wanted, param="id")
    removed = 0
    for tag in await _tags(inquiry, asked):
        removed += await inquiry.app.state.purge(tag)
    return Purged(removed)


async def _tags(inquiry: Inquiry, asked: PurgeQuery) -> list[str]:
    tenant = inquiry.principal.tenant
    if asked.scope == "document":
        # Its id alone is the tag, so it must be the caller's own. Raises NotFound.
        return [(await inquiry.app.catalogue.document(inquiry.principal, asked.id)).id]
    if asked.scope == "key":
        return [key_tag(tenant, asked.id)]
    if asked.scope == "user":
        return [user_tag(tenant, asked.id)]
    models = [asked.id] if asked.scope == "model" else inquiry.app.gateway.models()
    return [model_tag(tenant, model) for model in models]
