"""Durable jobs: whatever was accepted is worked on, by one process of the folder, until it has ended.

A job's truth is its catalogue row. The worker is the process that holds a lock on one file; it sweeps for unfinished rows, so a
job accepted by any process is done, and when the worker dies the next process takes over. Each run of a job is a DBOS workflow
(see `db.workflows`): DBOS resumes at start what was under way, the sweep whatever it did not know of.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import time
import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal

import msgspec

from bascule.core.catalogue import JobHandler
from bascule.core.errors import BasculeError, ConfigError, StorageError
from bascule.core.jobs import OpenJob
from bascule.db.turns import Turns
from bascule.db.workflows import PRUNED_AT_ONCE, Workflows

log = logging.getLogger(__name__)

SWEEP_EVERY_S: Final = 0.5
MAX_CONCURRENT: Final = 4
MAX_BACKOFF_S: Final = 30.0
PRUNE_EVERY_S: Final = 60.0
State = Literal["idle", "standby", "worker"]


class _Try(msgspec.Struct):
    """How often a job was run in vain, and when it may be run again (monotonic seconds)."""

    count: int = 0
    not_before_s: float = 0.0


class DurableJobs:
    """Implements `core.catalogue.Jobs`."""

    def __init__(
        self,
        url: str,
        lock_path: Path,
        unfinished: Callable[[], Awaitable[list[OpenJob]]],
        reset: Callable[[], Awaitable[object]],
        *,
        sweep_every_s: float = SWEEP_EVERY_S,
        max_concurrent: int = MAX_CONCURRENT,
        reset_job: Callable[[str], Awaitable[object]] | None = None,
    ) -> None:
        """`url` is of the jobs' own database, SQLite or Postgres. `unfinished` names every job that may be worked on;
        `reset` puts items a dead worker left running back into the queue, and is called once, when this process becomes the
        worker; `reset_job` does so for one job whose last run here broke off, before its next. A swept job that names no kind
        is of the one registered first."""
        self._url = url
        self._lock_path = lock_path
        self._unfinished = unfinished
        self._reset = reset
        self._reset_job = reset_job
        self._broken: set[str] = set()
        self._every_s = sweep_every_s
        self._max = max_concurrent
        self._handlers: dict[str, JobHandler] = {}
        self._kinds: dict[str, str] = {}
        self._tries: dict[str, _Try] = {}
        self._turns = Turns()
        self._starts = 0
        self._crowded = False
        self._prune_at_s = 0.0
        self._started: set[str] = set()
        self._running: dict[str, asyncio.Task[object]] = {}
        self._poke = asyncio.Event()
        self._lock: int | None = None
        self._task: asyncio.Task[None] | None = None
        self._workflows: Workflows | None = None
        self._closing = False

    @property
    def state(self) -> State:
        """worker: this process works on jobs; standby: another one does; idle: not launched."""
        if self._task is None:
            return "idle"
        return "worker" if self._lock is not None else "standby"

    def register(self, kind: str, handler: JobHandler) -> None:
        self._handlers[kind] = handler

    async def launch(self) -> None:
        """Returns at once; recovery and sweeping go on in the background. Raises ConfigError without a handler or when the
        lock's folder cannot be written."""
        if not self._handlers:
            raise ConfigError("No job handler is registered.")
        if self._task is None:
            self._take_lock()
            self._task = asyncio.create_task(self._serve())

    async def submit(self, kind: str, tenant: str, job_id: str) -> None:
        """The row is the acknowledgement; this only shortens the wait when the worker is this very process."""
        self._kinds[job_id] = kind
        self._tries.pop(job_id, None)
        self._poke.set()

    def gives_way(self, job_id: str) -> bool:
        if not self._crowded:
            return False
        self._tries[job_id] = _Try()  # it ended early for others, not in vain
        return True

    async def close(self) -> None:
        """Stop working; what is under way stays unfinished in the catalogue and is resumed by the next worker."""
        if self._task is None:
            return
        self._closing = True
        self._task.cancel()
        await asyncio.wait([self._task])
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._workflows is not None:
            await asyncio.to_thread(self._workflows.close)
            self._workflows = None
        self._release_lock()
        self._task, self._closing = None, False

    def _take_lock(self) -> bool:
        if self._lock is not None:
            return True
        try:
            handle = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(f"The jobs' lock file cannot be opened: {error.strerror}.") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return False
        self._lock = handle
        return True

    def _release_lock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def _serve(self) -> None:
        while not self._take_lock():
            await self._rest()
        log.info("this process works on jobs now")
        await self._until_it_works(self._become_worker)
        while True:
            try:
                await self._sweep()
                await self._prune()
            except StorageError as error:
                log.warning("jobs: the sweep failed: %s", error.message)
            await self._rest()

    async def _until_it_works(self, act: Callable[[], Awaitable[None]]) -> None:
        wait_s = self._every_s
        while True:
            try:
                return await act()
            except StorageError as error:
                log.warning("jobs: cannot start yet: %s", error.message)
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, MAX_BACKOFF_S)

    async def _become_worker(self) -> None:
        await self._reset()
        self._workflows = Workflows(self._url, asyncio.get_running_loop(), self._run)
        await asyncio.to_thread(self._workflows.open)

    async def _rest(self) -> None:
        # Not wait_for: before Python 3.12 it swallows a cancellation that comes together with the poke, and close() would hang.
        with suppress(TimeoutError):
            async with asyncio.timeout(self._every_s):
                await self._poke.wait()
        self._poke.clear()

    async def _sweep(self) -> None:
        open_jobs = await self._unfinished()
        known = {job.id for job in open_jobs}
        for job_id in [key for key in self._tries if key not in known]:
            del self._tries[job_id]
        waiting = [job for job in open_jobs if self._is_due(job.id)]
        while waiting and len(self._started | self._running.keys()) < self._max:
            chosen = self._turns.take(waiting)
            waiting.remove(chosen)
            await self._start(chosen)
        self._crowded = bool(waiting)

    async def _prune(self) -> None:
        if self._workflows is None or time.monotonic() < self._prune_at_s:
            return
        removed = await asyncio.to_thread(self._workflows.prune)
        self._prune_at_s = time.monotonic() + (0 if removed >= PRUNED_AT_ONCE else PRUNE_EVERY_S)

    def _is_due(self, job_id: str) -> bool:
        if job_id in self._started or job_id in self._running:
            return False
        tried = self._tries.get(job_id)
        return tried is None or tried.not_before_s <= time.monotonic()

    async def _start(self, job: OpenJob) -> None:
        assert self._workflows is not None  # `_serve` sweeps only after `_become_worker`
        tenant, job_id = job.tenant, job.id
        kind = self._kinds.get(job_id) or job.kind or next(iter(self._handlers))
        tried = self._tries.setdefault(job_id, _Try())
        tried.count += 1
        tried.not_before_s = time.monotonic() + min(self._every_s * 2 ** min(tried.count, 16), MAX_BACKOFF_S)
        self._started.add(job_id)
        self._starts += 1  # never counted back: it names the run, and DBOS runs no name twice
        try:
            await asyncio.to_thread(self._workflows.start, kind, tenant, job_id, self._starts)
        except BaseException:
            self._started.discard(job_id)
            raise

    async def _mend(self, job_id: str) -> None:
        """A run that broke off (the catalogue was away, say) left items running that nobody runs."""
        if job_id in self._broken and self._reset_job is not None:
            await self._reset_job(job_id)

    async def _run(self, kind: str, tenant: str, job_id: str) -> str:
        """What a workflow calls, on the application's own loop. Never raises: a failed run is seen by the sweep, since its
        job is still unfinished."""
        task = asyncio.current_task()
        assert task is not None
        handler = self._handlers.get(kind)
        if handler is None or self._closing:
            return "stopped"
        if job_id in self._running:
            return "beside"
        self._running[job_id] = task
        try:
            await self._mend(job_id)
            self._broken.add(job_id)
            await handler(tenant, job_id)
            self._broken.discard(job_id)
            return "done"
        except asyncio.CancelledError:
            return "stopped"
        except BasculeError as error:
            log.warning("job %s: %s (will be tried again)", job_id, error.message)
            return "failed"
        except Exception as error:  # noqa: BLE001  the job runner's edge: one broken job must not stop the others
            log.error("job %s: %s (will be tried again)", job_id, _where(error))
            return "failed"
        finally:
            del self._running[job_id]
            self._started.discard(job_id)
            self._kinds.pop(job_id, None)
            self._poke.set()


def _where(error: Exception) -> str:
    """What kind of error and where, never its message, which may hold a document's text."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {last.name}, line {last.lineno}"
