"""The sources of the operator's file over HTTP: how each stands, and a run on request. None can be made or changed here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from bascule.core.errors import NotFound
from bascule.core.principals import SCOPE_ADMIN
from bascule.core.sources import SourceOutcome, SourceRun
from bascule.server.bodies import Body
from bascule.server.route import NOT_FOUND, Inquiry, Route

if TYPE_CHECKING:
    from bascule.bootstrap import App
    from bascule.core.principals import Principal


class SourceView(msgspec.Struct, frozen=True, kw_only=True):
    """`state`: never run, running, done, or failed where the source or our own side did not answer. A run that was broken off stays
    `running` until the next. `next_at`: by its schedule. `last`: what its last whole run did."""

    name: str
    kind: str
    collection: str
    state: str
    every_s: float | None
    started_at: str | None = None
    finished_at: str | None = None
    next_at: str | None = None
    last: SourceOutcome | None = None


class SourceList(msgspec.Struct, frozen=True):
    data: list[SourceView]
    object: str = "list"


class SyncBody(Body, frozen=True, kw_only=True):
    """`confirm_deletions`: delete what has gone from the source, however much it is."""

    confirm_deletions: bool = False


async def source_views(app: App, principal: Principal) -> list[SourceView]:
    runs = await app.catalogue.source_runs(principal)
    own = {name: given for name, given in app.settings.sources.items() if given.tenant == principal.tenant}
    made = []
    for name, given in own.items():
        run = runs.get(name)
        made.append(
            SourceView(
                name=name,
                kind=given.kind,
                collection=given.collection,
                state=_state(run),
                every_s=given.every_s,
                started_at=run.started_at if run else None,
                finished_at=run.finished_at if run else None,
                next_at=_later(run.finished_at, given.every_s) if run else None,
                last=run.outcome if run else None,
            )
        )
    return made


def _state(run: SourceRun | None) -> str:
    if run is None:
        return "never run"
    if run.finished_at is None:
        return "running"
    return "failed" if run.outcome.stopped or run.outcome.error else "done"


def _later(finished_at: str | None, every_s: float | None) -> str | None:
    from datetime import datetime, timedelta

    if finished_at is None or every_s is None:
        return None
    return (datetime.fromisoformat(finished_at) + timedelta(seconds=every_s)).isoformat(timespec="seconds")


async def list_sources(inquiry: Inquiry) -> SourceList:
    """GET /v1/sources."""
    return SourceList(await source_views(inquiry.app, inquiry.principal))


async def sync_source(inquiry: Inquiry) -> SourceView:
    """POST /v1/sources/{id}/sync. Goes on after this answer."""
    app, body = inquiry.app, inquiry.body
    given = app.settings.sources.get(inquiry.id)
    if app.sources is None or given is None or given.tenant != inquiry.principal.tenant:
        raise NotFound(NOT_FOUND)
    await app.catalogue.audit(inquiry.principal, "source.sync", inquiry.id, msgspec.to_builtins(body))
    await app.sources.begin(inquiry.id, confirm_deletions=body.confirm_deletions)
    return next(view for view in await source_views(app, inquiry.principal) if view.name == inquiry.id)


SOURCE_ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="GET",
        path="/v1/sources",
        handler=list_sources,
        scope=SCOPE_ADMIN,
        tag="Sources",
        summary="The sources of the configuration, and what became of their last runs",
        returns=SourceList,
    ),
    Route(
        method="POST",
        path="/v1/sources/{id}/sync",
        handler=sync_source,
        scope=SCOPE_ADMIN,
        tag="Sources",
        summary="Read a source now",
        body=SyncBody,
        returns=SourceView,
        status=202,
    ),
)
