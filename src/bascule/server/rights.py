"""Inherited rights over HTTP: rules on collections, sources and folders, and which rule decided about a document."""

from __future__ import annotations

from typing import Final

import msgspec

from bascule.core.principals import SCOPE_ADMIN, SCOPE_AUDIT, SCOPE_INGEST
from bascule.core.rights import Level
from bascule.server.bodies import LevelBody, WhyQuery
from bascule.server.documents import settled
from bascule.server.route import Inquiry, Route
from bascule.server.views import DocumentView


class LevelView(msgspec.Struct, frozen=True, kw_only=True):
    kind: str
    name: str
    collection: str
    allow: list[str]
    deny: list[str]

    @classmethod
    def of(cls, level: Level) -> LevelView:
        return cls(
            kind=level.kind,
            name=level.name,
            collection=level.collection,
            allow=sorted(level.allow),
            deny=sorted(level.deny),
        )


class LevelList(msgspec.Struct, frozen=True):
    data: list[LevelView]
    object: str = "list"


class ReasonView(msgspec.Struct, frozen=True, kw_only=True):
    """`effect`: admin, owner, allow, deny, or none where nothing lets them in. `level` and `name`: whose rule it was."""

    allowed: bool
    effect: str
    level: str
    name: str
    mark: str


async def list_levels(inquiry: Inquiry) -> LevelList:
    """GET /v1/rights."""
    return LevelList([LevelView.of(level) for level in await inquiry.app.rights.levels(inquiry.principal)])


async def set_level(inquiry: Inquiry) -> LevelView:
    """PUT /v1/rights."""
    body: LevelBody = inquiry.body
    level = await inquiry.app.rights.set_level(
        inquiry.principal, body.kind, body.name, body.allow, body.deny, body.collection
    )
    await settled(inquiry.app)
    return LevelView.of(level)


async def why(inquiry: Inquiry) -> ReasonView:
    """GET /v1/documents/{id}/rights."""
    wanted: WhyQuery = inquiry.query
    found = await inquiry.app.rights.why(inquiry.principal, inquiry.id, wanted.who)
    return ReasonView(allowed=found.allowed, effect=found.effect, level=found.level, name=found.name, mark=found.mark)


async def inherit(inquiry: Inquiry) -> DocumentView:
    """DELETE /v1/documents/{id}/rights."""
    changed = await inquiry.app.rights.inherit(inquiry.principal, inquiry.id)
    await settled(inquiry.app)
    return DocumentView.of(changed, inquiry.principal)


RIGHTS_ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="GET",
        path="/v1/rights",
        handler=list_levels,
        scope=SCOPE_ADMIN,
        tag="Documents",
        summary="Rights of collections, sources and folders",
        returns=LevelList,
    ),
    Route(
        method="PUT",
        path="/v1/rights",
        handler=set_level,
        scope=SCOPE_ADMIN,
        tag="Documents",
        summary="Change the rights of a collection, a source or a folder; in force when this answers",
        body=LevelBody,
        returns=LevelView,
    ),
    Route(
        method="GET",
        path="/v1/documents/{id}/rights",
        handler=why,
        scope=SCOPE_AUDIT,
        tag="Documents",
        summary="Whether somebody may read a document, and which rule decides; audited",
        query=WhyQuery,
        returns=ReasonView,
    ),
    Route(
        method="DELETE",
        path="/v1/documents/{id}/rights",
        handler=inherit,
        scope=SCOPE_INGEST,
        tag="Documents",
        summary="Drop a document's own lists, so that it inherits again",
        returns=DocumentView,
    ),
)
