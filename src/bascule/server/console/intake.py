"""Sources and jobs: how each stands, what failed and why, and what may be done about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from bascule.core.errors import AuthenticationFailed, NotFound, RequestError
from bascule.server.console.visit import Visit
from bascule.server.console.words import STATES
from bascule.server.exchange import Events, Reply
from bascule.server.route import NOT_FOUND

Plain = Mapping[str, Any]
_JOBS: Final = 20
_LATEST: Final = 8  # on the first page
_REASONS: Final = 5  # failed documents of a job in the list; its own page has them all
_ITEMS: Final = 300
_GIVEN_UP: Final = 50
_FOLLOWED: Final = 3  # a browser keeps six connections to a host
_OPEN: Final = frozenset({"queued", "running", "paused"})
# What may be done with a job, by its state: the route, and its name on the page.
_ACTIONS: Final[Mapping[str, Sequence[tuple[str, str]]]] = {
    "queued": (("pause", "Pause"), ("cancel", "Give up the rest")),
    "running": (("pause", "Pause"), ("cancel", "Give up the rest")),
    "paused": (("resume", "Go on"), ("cancel", "Give up the rest")),
    "failed": (("retry", "Try again"),),
    "cancelled": (("retry", "Try again"),),
    "done": (),
}


class JobCard(msgspec.Struct, frozen=True, kw_only=True):
    """`actions`: (route, name). `follow`: whether the page listens to its events."""

    id: str
    collection: str
    source: str
    state: str
    word: str
    reason: str
    created_at: str
    total: int
    finished: int
    share: int
    pace: str
    counts: list[tuple[str, int]]
    problems: list[tuple[str, str]]
    more_problems: int
    actions: Sequence[tuple[str, str]]
    follow: bool

    @classmethod
    def of(cls, job: Plain, now: datetime, *, follow: bool = True, reasons: int = _REASONS) -> JobCard:
        total = sum(job["counts"].values())
        waiting = sum(job["counts"].get(state, 0) for state in ("queued", "running"))
        failed = [(item["name"] or "a document", item["reason"]) for item in job["items"] if item["state"] == "failed"]
        state = str(job["state"])
        some_failed = state == "done" and job["counts"].get("failed", 0) > 0
        return cls(
            id=job["id"],
            collection=job["collection"],
            source=job["source"],
            state=state,
            word=STATES.get(state) or state,
            reason=job["reason"],
            created_at=job["created_at"][:16].replace("T", " "),
            total=total,
            finished=total - waiting,
            share=100 * (total - waiting) // total if total else 100,
            pace=_pace(job, total - waiting, waiting, now) if state == "running" else "",
            counts=[(STATES.get(name, name), count) for name, count in job["counts"].items() if count],
            problems=failed[:reasons],
            more_problems=max(0, job["counts"].get("failed", 0) - reasons),
            actions=_ACTIONS["failed"] if some_failed else _ACTIONS.get(state, ()),
            follow=follow and state in _OPEN,
        )


def _pace(job: Plain, finished: int, waiting: int, now: datetime) -> str:
    """Since the job was accepted; once the page listens, it tells the pace of now."""
    took_s = (now - datetime.fromisoformat(job["created_at"])).total_seconds()
    if not finished or took_s <= 0:
        return ""
    return f"{finished / took_s:.1f} a second, about {waiting * took_s / finished:.0f} s left"


async def work(visit: Visit) -> Reply:
    """GET /console/work."""
    state = visit.asked.get("state", "")
    after = visit.asked.get("after", "")
    found = await visit.desk.ask("list_jobs", asked={"limit": _JOBS, "state": state, "after": after})
    given_up = await visit.desk.ask("list_quarantine", asked={"limit": _GIVEN_UP})
    return visit.page(
        "work.html",
        cards=_cards(found["data"]),
        next=found["next"],
        state=state,
        states={name: STATES[name] for name in ("queued", "running", "paused", "done", "failed", "cancelled")},
        given_up=given_up["data"],
        more_given_up=given_up["next"] is not None,
        **(await _sources(visit)),
    )


async def jobs(visit: Visit) -> Reply:
    """GET /console/jobs: the first page's part about them, which asks again while some are under way."""
    found = (await visit.desk.ask("list_jobs", asked={"limit": _LATEST}))["data"]
    return visit.part("jobs.html", cards=_cards(found), busy=any(job["state"] in _OPEN for job in found))


def _cards(jobs: Sequence[Plain]) -> list[JobCard]:
    now, open_ = datetime.now(UTC), 0
    cards = []
    for job in jobs:
        open_ += job["state"] in _OPEN
        cards.append(JobCard.of(job, now, follow=open_ <= _FOLLOWED))
    return cards


async def _sources(visit: Visit, problem: str = "") -> dict[str, Any]:
    """What the sources' part of the page shows; nothing for who may not see them."""
    if not visit.desk.may("list_sources"):
        return {"sources": None, "held": frozenset(), "busy": False, "problem": problem}
    sources = (await visit.desk.ask("list_sources"))["data"]
    pauses = (await visit.desk.ask("list_pauses"))["data"]
    held = frozenset(pause["name"].removeprefix("source:") for pause in pauses if pause["kind"] == "source")
    busy = any(source["state"] == "running" for source in sources)
    return {"sources": sources, "held": held, "busy": busy, "problem": problem}


async def sources(visit: Visit) -> Reply:
    """GET /console/sources: the part of the page that follows them."""
    return visit.part("sources.html", **(await _sources(visit)))


async def on_source(visit: Visit) -> Reply:
    """POST /console/source/{name}: read it now, hold it back, go on."""
    what, problem = visit.asked.get("do", ""), ""
    try:
        await _do(visit, what)
    except AuthenticationFailed:
        raise
    except RequestError as error:
        problem = error.message
    return visit.part("sources.html", **(await _sources(visit, problem)))


async def _do(visit: Visit, what: str) -> None:
    pause = {"kind": "source", "name": f"source:{visit.rest}"}
    if what == "sync":
        confirmed = visit.asked.get("confirm_deletions") == "on"
        await visit.desk.ask("sync_source", visit.rest, body={"confirm_deletions": confirmed})
    elif what == "pause":
        await visit.desk.ask("add_pause", body=pause)
    elif what == "resume":
        await visit.desk.ask("lift_pause", asked=pause)
    else:
        raise NotFound(NOT_FOUND)


async def job(visit: Visit) -> Reply | Events:
    """GET /console/job/{id}, its card alone as /card, its events as /events."""
    job_id, _, part = visit.rest.partition("/")
    if part == "events":
        return await visit.desk.follow("follow_job", job_id)
    if part not in ("", "card"):
        raise NotFound(NOT_FOUND)
    found = await visit.desk.ask("show_job", job_id)
    card = JobCard.of(found, datetime.now(UTC), reasons=_REASONS if part else 0)
    if part:
        return visit.part("job_card.html", card=card)
    items = sorted(found["items"], key=lambda item: (item["state"] != "failed", item["state"], item["name"]))
    return visit.page("job.html", card=card, items=items[:_ITEMS], more=max(0, len(items) - _ITEMS), words=STATES)


async def on_job(visit: Visit) -> Reply:
    """POST /console/job/{id}: pause, resume, cancel, retry."""
    what = visit.asked.get("do", "")
    if what not in {name for actions in _ACTIONS.values() for name, _ in actions}:
        raise NotFound(NOT_FOUND)
    found = await visit.desk.ask(f"{what}_job", visit.rest)
    return visit.part("job_card.html", card=JobCard.of(found, datetime.now(UTC)))


async def again(visit: Visit) -> Reply:
    """POST /console/again: everything that was given up."""
    found = await visit.desk.ask("retry_quarantine", body={})
    return visit.part("retried.html", documents=found["documents"])
