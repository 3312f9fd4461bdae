"""Who holds the generations of a folder, which one answers now, and when the next is built. Blocking, but for `build`."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import logging
import os
import shutil
import sqlite3
import sys
import threading
import time
import uuid
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Final

from bascule.core.errors import StorageError
from bascule.plugins.vector_stores.qdrant_edge.layout import FACTS, Proposer, clean_environment
from bascule.plugins.vector_stores.qdrant_edge.searching import Changes
from bascule.plugins.vector_stores.qdrant_edge.served import Served
from bascule.plugins.vector_stores.sqlite.index import Index

log = logging.getLogger(__name__)

FOLDER: Final = "edge"
LOCK: Final = "lock"
UNFINISHED: Final = "building-"
WHOLE: Final = "generation-"
MODULE: Final = "bascule.plugins.vector_stores.qdrant_edge.building"

RESTART_S: Final = 2.0  # doubled with every further death of a generation's process
RESTART_MOST_S: Final = 300.0
RESTARTS_MOST: Final = 10  # counted; by then it rests for as long as it ever does

WANTS: Final = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN}
)  # of the machine, no fault of the files

CHANGED: Final = "SELECT count(*), coalesce(sum(chunk_id IS NULL), 0) FROM slot WHERE seq > ?"


class Held:
    """An open generation, closed and removed when the last search that uses it ends."""

    def __init__(self, generation: Proposer, restarts: int = 0) -> None:
        self.generation = generation
        self.restarts = restarts
        self.changes = Changes(generation.facts.seq)
        self._users = 1
        self._unwanted = False
        self._lock = threading.Lock()

    @property
    def pair(self) -> tuple[Proposer, Changes]:
        return self.generation, self.changes

    def take(self) -> bool:
        with self._lock:
            if not self._users:
                return False
            self._users += 1
            return True

    def leave(self, *, remove: bool = False) -> None:
        with self._lock:
            self._users -= 1
            self._unwanted = self._unwanted or remove
            last = not self._users
        if last:
            with contextlib.suppress(StorageError):
                self.generation.close()
            if self._unwanted:
                shutil.rmtree(self.generation.folder, ignore_errors=True)


class Keeper:
    """One process at a time holds the folder's generations; the others search without."""

    def __init__(
        self, folder: Path, index: Index, *, threads: int, opener: Callable[[Path], Proposer] | None = None
    ) -> None:
        """`opener` takes the place of a process for each generation, for tests."""
        self._folder = folder
        self._edge = folder / FOLDER
        self._index = index
        self._threads = threads
        self._opener = opener or self._serve
        self._opening: Served | None = None
        self._closed = False
        self._lock = threading.Lock()
        self._handle: int | None = None
        self._held: Held | None = None
        self._dead: Held | None = None
        self._died_s = 0.0

    @contextlib.contextmanager
    def using(self, index_generation: str) -> Generator[Held | None]:
        """The generation of this index, kept open meanwhile. None also while its process is dead."""
        with self._lock:
            held = self._held
            if held is not None and not (
                held.generation.facts.index == index_generation and held.generation.alive and held.take()
            ):
                held = None
        try:
            yield held
        finally:
            if held is not None:
                held.leave()

    def hold(self) -> bool:
        """Become the holder if nobody else is, and open what was built before."""
        if self._handle is not None:
            return True
        self._edge.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(self._edge / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            return False
        self._handle = handle
        for path in self._edge.glob(f"{UNFINISHED}*"):
            shutil.rmtree(path, ignore_errors=True)
        for path in self._edge.glob(f"{WHOLE}*"):
            self._open(path)
        return True

    def due(self, at_least: int, share: float, forget_s: float) -> bool:
        """Has enough changed for another generation, or are removed chunks kept in this one for too long?"""
        with self._lock:
            facts = None if self._held is None else self._held.generation.facts
        since = 0 if facts is None else facts.seq
        index, changed, removed = self._index.read(lambda db, view, _: (view.head.generation, *_changed(db, since)))
        if facts is None or facts.index != index:
            return changed >= at_least
        too_old = time.time() - facts.built_at >= forget_s
        return changed >= max(at_least, share * facts.chunks) or (removed > 0 and too_old)

    async def run(self) -> tuple[Path, int]:
        """Let a child process build a generation: where, and its exit code."""
        target = self._edge / f"{UNFINISHED}{uuid.uuid4().hex}"
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", MODULE, str(self._folder), str(target), str(self._threads)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env=clean_environment(),
        )
        try:
            return target, await child.wait()
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
                shutil.rmtree(target, ignore_errors=True)

    def mend(self) -> bool:
        """Start the generation's process again if it is dead and has rested. True when it answers now."""
        with self._lock:
            held = self._held
        if held is None or held.generation.alive:
            return held is not None
        now_s = time.monotonic()
        if self._dead is not held:
            self._dead, self._died_s = held, now_s
            log.warning("the search engine's process ended; searches go on without until it is started again")
        if held.restarts and now_s - self._died_s < min(RESTART_MOST_S, RESTART_S * 2.0**held.restarts):
            return False
        return self._open(held.generation.folder, min(held.restarts + 1, RESTARTS_MOST))

    def close(self) -> None:
        with self._lock:
            self._closed, opening = True, self._opening
        if opening is not None:
            opening.close()
        self._replace(None, remove=False)
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def forget(self) -> None:
        """The index was emptied: nothing built from it may stay on the disk."""
        self._replace(None, remove=True)

    def finish(self, target: Path, code: int) -> bool:
        """Let what was built answer from now on. False when the child failed."""
        if code or not (target / FACTS).exists():
            log.warning("a search generation was not built (exit %s); searches go on without", code)
            shutil.rmtree(target, ignore_errors=True)
            return False
        whole = target.with_name(f"{WHOLE}{target.name.removeprefix(UNFINISHED)}")
        target.rename(whole)
        return self._open(whole)

    def _open(self, path: Path, restarts: int = 0) -> bool:
        """Let it answer if it is of this index and newer than what answers now; remove it otherwise."""
        try:
            generation = self._opener(path)
        except (StorageError, OSError, ValueError, sqlite3.Error) as error:
            if isinstance(error, OSError) and error.errno in WANTS:
                log.warning("a search generation could not be opened for want of memory or descriptors; it is kept")
            elif not self._closed:
                log.warning("a search generation could not be opened; it is built again")
                self._replace(None, remove=True, only=path)
                shutil.rmtree(path, ignore_errors=True)
            return False
        with self._lock:
            held = self._held
        newer = held is None or held.generation.facts.seq <= generation.facts.seq
        if newer and generation.facts.index == self._index.read(lambda _db, view, _: view.head.generation):
            again = held is not None and held.generation.folder == path
            self._replace(Held(generation, restarts), remove=not again)
            return True
        Held(generation).leave(remove=True)
        return False

    def _serve(self, path: Path) -> Proposer:
        """In a process of its own, which `close` ends also while it opens."""
        served = Served(path)
        with self._lock:
            self._opening = served
            closed = self._closed
        try:
            if closed:
                served.close()
            served.wait()
            return served
        finally:
            with self._lock:
                self._opening = None

    def _replace(self, held: Held | None, *, remove: bool, only: Path | None = None) -> None:
        """With `only`, when that is what answers now."""
        with self._lock:
            if only is not None and (self._held is None or self._held.generation.folder != only):
                return
            late = held if self._closed else None  # it was closed while this one opened
            before, self._held = self._held, None if self._closed else held
        if before is not None:
            before.leave(remove=remove)
        if late is not None:
            late.leave()


def _changed(connection: sqlite3.Connection, since: int) -> tuple[int, int]:
    changed, removed = connection.execute(CHANGED, (since,)).fetchone()
    return int(changed), int(removed)
