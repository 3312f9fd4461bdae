"""Jobs over HTTP: see them, follow one, hold back, give up, try again; the same routes as data."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Annotated, Final

import msgspec

from bascule.core.documents import Job
from bascule.core.errors import NotFound
from bascule.core.jobs import JobFilter, JobPause, PauseKind, Quarantined
from bascule.core.principals import SCOPE_ADMIN, SCOPE_INGEST
from bascule.server.bodies import Body
from bascule.server.exchange import Events, event
from bascule.server.route import NOT_FOUND, Inquiry, Route
from bascule.server.views import JobList, JobView

POLL_S: Final = 0.5
BEAT_S: Final = 15.0  # proxies drop a connection on which nothing moves
LONGEST_S: Final = 900.0  # a job may be paused for good; a client that still cares connects again

Line = Annotated[str, msgspec.Meta(max_length=200, pattern=r"^[^\x00-\x1f]*$")]
Limit = Annotated[int, msgspec.Meta(ge=1, le=200)]
State = Annotated[str, msgspec.Meta(pattern=r"^(queued|running|paused|done|failed|cancelled)?$")]


class JobsQuery(Body, frozen=True, kw_only=True):
    """`source`: where the documents come from: `upload`, `folder`, or `source:NAME`. `after`: the last id of the page before."""

    limit: Limit = 50
    state: State = ""
    source: Line = ""
    collection: Line = ""
    after: Line = ""


class QuarantineQuery(Body, frozen=True, kw_only=True):
    """`after`: the last document's id of the page before."""

    limit: Limit = 50
    source: Line = ""
    collection: Line = ""
    after: Line = ""


class RetryBody(Body, frozen=True, kw_only=True):
    """Which of the documents given up; all of your jobs' without either."""

    source: Line = ""
    collection: Line = ""


class PauseBody(Body, frozen=True, kw_only=True):
    """`name`: a collection's, or a source as jobs show it, e.g. `source:wiki`."""

    kind: PauseKind
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]*$")]


class QuarantineList(msgspec.Struct, frozen=True):
    data: list[Quarantined]
    next: str | None
    object: str = "list"


class PauseList(msgspec.Struct, frozen=True):
    data: list[JobPause]
    object: str = "list"


class Retried(msgspec.Struct, frozen=True):
    """How many documents are tried again."""

    documents: int


async def list_jobs(inquiry: Inquiry) -> JobList:
    """GET /v1/jobs."""
    asked: JobsQuery = inquiry.query
    wanted = JobFilter(state=asked.state, source=asked.source, collection=asked.collection, after=asked.after)
    found = await inquiry.app.catalogue.jobs(inquiry.principal, asked.limit + 1, wanted)
    page = found[: asked.limit]
    return JobList([JobView.of(job) for job in page], page[-1].id if len(found) > asked.limit else None)


async def show_job(inquiry: Inquiry) -> JobView:
    """GET /v1/jobs/{id}."""
    return JobView.of(await inquiry.app.catalogue.job(inquiry.principal, inquiry.id))


async def follow_job(inquiry: Inquiry) -> Events:
    """GET /v1/jobs/{id}/events."""
    return Events(_changes(inquiry, await _progress(inquiry)))


async def _progress(inquiry: Inquiry) -> Job:
    found = await inquiry.app.catalogue.job_progress(inquiry.principal, 1, inquiry.id)
    if not found:
        raise NotFound(NOT_FOUND)
    return found[0]


async def _changes(inquiry: Inquiry, job: Job) -> AsyncIterator[bytes]:
    """`progress` at once and whenever a count or the state changes, `end` once the job has ended."""
    told = b""
    ends_s = time.monotonic() + LONGEST_S
    beat_s = time.monotonic() + BEAT_S
    while True:
        data = msgspec.json.encode(JobView.of(job))
        if job.finished_at is not None:
            yield event(data, "end")
            return
        if data != told:
            told = data
            yield event(data, "progress")
        elif time.monotonic() > beat_s:
            beat_s = time.monotonic() + BEAT_S
            yield b": still here\n\n"
        if inquiry.stopping() or time.monotonic() > ends_s:
            return
        await asyncio.sleep(POLL_S)
        job = await _progress(inquiry)


async def cancel_job(inquiry: Inquiry) -> JobView:
    """POST /v1/jobs/{id}/cancel."""
    return JobView.of(await inquiry.app.catalogue.cancel_job(inquiry.principal, inquiry.id))


async def pause_job(inquiry: Inquiry) -> JobView:
    """POST /v1/jobs/{id}/pause."""
    return JobView.of(await inquiry.app.catalogue.pause_job(inquiry.principal, inquiry.id))


async def resume_job(inquiry: Inquiry) -> JobView:
    """POST /v1/jobs/{id}/resume."""
    return await _going_again(inquiry, await inquiry.app.catalogue.resume_job(inquiry.principal, inquiry.id))


async def retry_job(inquiry: Inquiry) -> JobView:
    """POST /v1/jobs/{id}/retry."""
    return await _going_again(inquiry, await inquiry.app.catalogue.retry_job(inquiry.principal, inquiry.id))


async def _going_again(inquiry: Inquiry, job: Job) -> JobView:
    await inquiry.app.jobs.submit(job.kind, job.tenant, job.id)
    return JobView.of(job)


async def list_quarantine(inquiry: Inquiry) -> QuarantineList:
    """GET /v1/quarantine."""
    asked: QuarantineQuery = inquiry.query
    wanted = JobFilter(source=asked.source, collection=asked.collection, after=asked.after)
    found = await inquiry.app.catalogue.quarantine(inquiry.principal, asked.limit + 1, wanted)
    page = found[: asked.limit]
    return QuarantineList(page, page[-1].document_id if len(found) > asked.limit else None)


async def retry_quarantine(inquiry: Inquiry) -> Retried:
    """POST /v1/quarantine/retry."""
    body: RetryBody = inquiry.body
    wanted = JobFilter(source=body.source, collection=body.collection)
    return Retried(await inquiry.app.catalogue.retry_quarantine(inquiry.principal, wanted))


async def list_pauses(inquiry: Inquiry) -> PauseList:
    """GET /v1/pauses."""
    return PauseList(await inquiry.app.catalogue.job_pauses(inquiry.principal))


async def add_pause(inquiry: Inquiry) -> PauseList:
    """PUT /v1/pauses."""
    body: PauseBody = inquiry.body
    await inquiry.app.catalogue.pause_jobs(inquiry.principal, body.kind, body.name)
    return await list_pauses(inquiry)


async def lift_pause(inquiry: Inquiry) -> PauseList:
    """DELETE /v1/pauses."""
    asked: PauseBody = inquiry.query
    await inquiry.app.catalogue.resume_jobs(inquiry.principal, asked.kind, asked.name)
    return await list_pauses(inquiry)


JOB_ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="GET",
        path="/v1/jobs",
        handler=list_jobs,
        scope=SCOPE_INGEST,
        tag="Jobs",
        summary="Your jobs, newest first",
        query=JobsQuery,
        returns=JobList,
    ),
    Route(
        method="GET",
        path="/v1/jobs/{id}",
        handler=show_job,
        scope=SCOPE_INGEST,
        tag="Jobs",
        summary="One job with its documents and reasons",
        returns=JobView,
    ),
    Route(
        method="GET",
        path="/v1/jobs/{id}/events",
        handler=follow_job,
        scope=SCOPE_INGEST,
        tag="Jobs",
        watched=True,
        summary="A job's progress as server-sent events: `progress` at each change, `end` at its end",
        returns="text/event-stream",
    ),
    *(
        Route(
            method="POST",
            path=f"/v1/jobs/{{id}}/{handler.__name__.removesuffix('_job')}",
            handler=handler,
            scope=SCOPE_INGEST,
            tag="Jobs",
            summary=summary,
            returns=JobView,
        )
        for handler, summary in (
            (cancel_job, "Give up what of a job is not indexed yet"),
            (pause_job, "Begin no further document of a job"),
            (resume_job, "Go on with a paused job"),
            (retry_job, "Try a job's failed and cancelled documents again"),
        )
    ),
    Route(
        method="GET",
        path="/v1/quarantine",
        handler=list_quarantine,
        scope=SCOPE_INGEST,
        tag="Jobs",
        summary="Documents that were given up, and why",
        query=QuarantineQuery,
        returns=QuarantineList,
    ),
    Route(
        method="POST",
        path="/v1/quarantine/retry",
        handler=retry_quarantine,
        scope=SCOPE_INGEST,
        tag="Jobs",
        summary="Try documents again that were given up",
        body=RetryBody,
        returns=Retried,
    ),
    Route(
        method="GET",
        path="/v1/pauses",
        handler=list_pauses,
        scope=SCOPE_ADMIN,
        tag="Jobs",
        summary="Collections and sources whose jobs are held back",
        returns=PauseList,
    ),
    Route(
        method="PUT",
        path="/v1/pauses",
        handler=add_pause,
        scope=SCOPE_ADMIN,
        tag="Jobs",
        summary="Hold back the jobs of a collection or source, those to come as well",
        body=PauseBody,
        returns=PauseList,
    ),
    Route(
        method="DELETE",
        path="/v1/pauses",
        handler=lift_pause,
        scope=SCOPE_ADMIN,
        tag="Jobs",
        summary="Go on with the jobs of a collection or source",
        query=PauseBody,
        returns=PauseList,
    ),
)
