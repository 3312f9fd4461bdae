"""DBOS, wrapped: one workflow that runs one job. The house's rules for it are all here.

Arguments are catalogue ids, stored as JSON and never pickled. The application's version is a constant, so that work begun by
older code is resumed by newer code: by default DBOS leaves such work alone. No console, no telemetry, nothing on the network.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import os
import threading
from collections.abc import Callable, Coroutine
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Final

from sqlalchemy import exc, make_url

from bascule.core.errors import StorageError
from bascule.core.ids import new_id

APPLICATION: Final = "bascule"
VERSION: Final = "1"
WORKFLOW: Final = "bascule.job"
LISTEN_EVERY_S: Final = 0.25  # also how long closing takes: DBOS waits for its own threads
POLL_EVERY_S: Final = 1.0
ENDED: Final = ("SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")
PRUNED_AT_ONCE: Final = 500
Runner = Callable[[str, str, str], Coroutine[Any, Any, str]]


class Workflows:
    """One process has one DBOS. A second runner in the same process (tests do that) goes without: its jobs are as durable,
    by the sweep over their rows, only not resumed a moment earlier."""

    _holder: ClassVar[Workflows | None] = None
    _turn: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, url: str, loop: asyncio.AbstractEventLoop, run: Runner) -> None:
        self._url = url
        self._loop = loop
        self._run = run
        self._epoch = new_id()
        self._closed = threading.Event()
        self._workflow: Callable[..., Any] | None = None

    def open(self) -> None:
        """Start DBOS, which resumes on its own threads what was interrupted. Blocks; raises StorageError."""
        with Workflows._turn:
            if Workflows._holder is not None:
                return
            Workflows._holder = self
            try:
                self._workflow = _launch(self._url)
            except BaseException:
                Workflows._holder = None
                raise

    def start(self, kind: str, tenant: str, job_id: str, attempt: int) -> None:
        """Run a job in the background. The workflow's id derives from the job's, and differs for each attempt, since DBOS
        never runs an ended workflow again. Blocks; raises StorageError."""
        if self._workflow is None:
            asyncio.run_coroutine_threadsafe(self._run(kind, tenant, job_id), self._loop)
            return
        from dbos import DBOS, SetWorkflowID, error

        try:
            with SetWorkflowID(f"{job_id}.{self._epoch}.{attempt}"):
                DBOS.start_workflow(self._workflow, kind, tenant, job_id)
        except (exc.SQLAlchemyError, error.DBOSException) as failure:
            raise StorageError("The jobs database did not answer.") from failure

    def prune(self) -> int:
        """Remove the records of runs that have ended; how many. A job's truth is its row, and no run's name comes again.
        Blocks; raises StorageError."""
        if self._workflow is None:
            return 0
        from dbos import DBOS, error

        try:
            ended = DBOS.list_workflows(
                name=WORKFLOW, status=list(ENDED), limit=PRUNED_AT_ONCE, load_input=False, load_output=False
            )
            DBOS.delete_workflows([run.workflow_id for run in ended])
        except (exc.SQLAlchemyError, error.DBOSException) as failure:
            raise StorageError("The jobs database did not answer.") from failure
        return len(ended)

    def bridge(self, kind: str, tenant: str, job_id: str) -> str:
        """From DBOS's thread to the application's loop and back."""
        future = asyncio.run_coroutine_threadsafe(self._run(kind, tenant, job_id), self._loop)
        while True:
            try:
                return future.result(POLL_EVERY_S)
            except concurrent.futures.CancelledError:
                return "stopped"
            except TimeoutError:
                if self._closed.is_set() or self._loop.is_closed():
                    return "stopped"

    def close(self) -> None:
        """Blocks until DBOS has let go of its database."""
        self._closed.set()
        with Workflows._turn:
            if Workflows._holder is self:
                from dbos import DBOS

                DBOS.destroy()
                Workflows._holder = None


def _bascule_job(kind: str, tenant: str, job_id: str) -> str:
    """The workflow. It has no steps of its own: a handler may be run again at any point, and its steps are catalogue rows."""
    holder = Workflows._holder
    return holder.bridge(kind, tenant, job_id) if holder is not None else "stopped"


def _launch(url: str) -> Callable[..., Any]:
    _quiet()
    from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer, error

    config: DBOSConfig = {
        "name": APPLICATION,
        "system_database_url": _url_for_dbos(url),
        "application_version": VERSION,
        "executor_id": APPLICATION,
        "serializer": DBOSPortableJSONSerializer(),
        "enable_otlp": False,
        "log_level": "ERROR",
        "notification_listener_polling_interval_sec": LISTEN_EVERY_S,
    }
    workflow = _registered()
    try:
        DBOS(config=config)
        DBOS.launch()
    except (exc.SQLAlchemyError, error.DBOSException, OSError) as failure:
        DBOS.destroy()
        raise StorageError(
            "The jobs database cannot be opened. Remove it to start a new one: no job is lost."
        ) from failure
    return workflow


@cache
def _registered() -> Callable[..., Any]:
    """Once per process: DBOS keeps its registry when it is closed."""
    from dbos import DBOS

    return DBOS.workflow(name=WORKFLOW)(_bascule_job)


def _quiet() -> None:
    """DBOS adds a handler of its own, which writes to the console, unless its logger has one."""
    logger = logging.getLogger("dbos")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())


def _url_for_dbos(url: str) -> str:
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and parsed.database:
        with contextlib.suppress(
            FileExistsError
        ):  # closing a descriptor of a file in use would drop SQLite's locks on it
            os.close(os.open(Path(parsed.database), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    return parsed.render_as_string(hide_password=False)
