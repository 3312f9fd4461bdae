"""What one asks of jobs: which to see, which to hold back, and which is to be worked on next."""

from __future__ import annotations

from typing import Final, Literal, Protocol

import msgspec

from bascule.core.documents import Job
from bascule.core.principals import Principal

PERSON: Final = 0  # somebody waits for it
BULK: Final = 1  # sources and folders, in their own time

PauseKind = Literal["collection", "source"]


class JobFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which jobs; "" means any. `after`: the id of the last job of the page before (newest come first)."""

    state: str = ""
    source: str = ""
    collection: str = ""
    after: str = ""


ANY_JOB: Final = JobFilter()


class OpenJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job that waits for its turn or has it. `source`: what its documents carry, e.g. `upload` or `source:wiki`.
    `kind` names its handler, "" the first one."""

    tenant: str
    id: str
    source: str = ""
    priority: int = PERSON
    kind: str = ""


class JobPause(msgspec.Struct, frozen=True, kw_only=True):
    """No job of this collection or source begins another document until it is lifted."""

    kind: PauseKind
    name: str
    paused_at: str = ""


class Quarantined(msgspec.Struct, frozen=True, kw_only=True):
    """A document that was given up. `name` and `reason` are "" for who may not read it."""

    document_id: str
    job_id: str
    collection: str
    source: str
    name: str
    reason: str
    code: str
    attempts: int


def priority_of(source: str) -> int:
    return PERSON if source == "upload" else BULK


class JobControl(Protocol):
    """Holding back, letting go, giving up and trying again. A principal acts on its own jobs, an admin on all of the tenant's;
    every act is in the audit log. Raises NotFound for a job that is not the principal's, Conflict where the act makes no
    sense any more, ScopeMissing."""

    async def cancel_job(self, principal: Principal, job_id: str) -> Job:
        """What is not committed yet is given up; what is stays. Cancelling twice changes nothing."""
        ...

    async def pause_job(self, principal: Principal, job_id: str) -> Job:
        """No further document is begun; those under way end."""
        ...

    async def resume_job(self, principal: Principal, job_id: str) -> Job: ...

    async def retry_job(self, principal: Principal, job_id: str) -> Job:
        """Its failed and cancelled documents go back into the queue, except where something newer has come."""
        ...

    async def pause_jobs(self, principal: Principal, kind: PauseKind, name: str) -> None: ...

    async def resume_jobs(self, principal: Principal, kind: PauseKind, name: str) -> None: ...

    async def job_pauses(self, principal: Principal) -> list[JobPause]: ...

    async def quarantine(self, principal: Principal, limit: int, wanted: JobFilter = ANY_JOB) -> list[Quarantined]:
        """Documents given up in the principal's jobs, newest first; `wanted.after` is the last document's id."""
        ...

    async def retry_quarantine(self, principal: Principal, wanted: JobFilter = ANY_JOB) -> int:
        """How many documents went back into the queue."""
        ...

    async def job_progress(self, principal: Principal, limit: int, job_id: str = "") -> list[Job]:
        """The newest jobs with counts and without items; only the one named, if one is. Two queries, however many."""
        ...
