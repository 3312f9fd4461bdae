"""The last run of a source, as it is kept: counts and reasons, never the name of a document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from bascule.core.principals import Principal


class SourceOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """`taken`: handed to jobs. `held_back`: gone from the source but not deleted, for `reason`. `stopped`: why it was not read
    to its end. `skipped`: how many were not taken in, by reason. `error`: why our own side failed."""

    taken: int = 0
    unchanged: int = 0
    deleted: int = 0
    rights_changed: int = 0
    held_back: int = 0
    reason: str = ""
    stopped: str = ""
    partial: tuple[str, ...] = ()
    skipped: Mapping[str, int] = {}
    error: str = ""


class SourceRun(msgspec.Struct, frozen=True, kw_only=True):
    """`finished_at` is None while it runs, or when the process that ran it ended first."""

    name: str
    started_at: str
    finished_at: str | None
    outcome: SourceOutcome


class SourceRuns(Protocol):
    async def begin_source_run(self, principal: Principal, name: str) -> None: ...

    async def end_source_run(self, principal: Principal, name: str, outcome: SourceOutcome) -> None: ...

    async def source_runs(self, principal: Principal) -> dict[str, SourceRun]:
        """The last run of each of the tenant's sources, by name. Raises ScopeMissing without admin."""
        ...
