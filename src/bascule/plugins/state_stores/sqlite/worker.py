"""One thread with one connection. Calls that wait together are one transaction, each in a savepoint of its own."""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec

from bascule.core.errors import StorageError

MAX_GROUP: Final = 256
T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]
_WRONG: Final = (sqlite3.Error, ArithmeticError, ValueError)  # the last two: numbers and text that SQLite does not take


class _Call(msgspec.Struct):
    work: Work[Any]
    future: asyncio.Future[Any]
    durable: bool
    result: Any = None
    error: BaseException | None = None


class Worker:
    """`writes`: calls are done in a write transaction. Else each reads by itself, and waits for no writer."""

    def __init__(self, db: sqlite3.Connection, *, writes: bool) -> None:
        self._db = db
        self._writes = writes
        self._loop = asyncio.get_running_loop()
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="bascule-state", daemon=True)
        self._thread.start()

    def send(self, work: Work[T], *, durable: bool = False) -> asyncio.Future[T]:
        """Carried out after all that was sent before. `durable`: on the disk when it is answered, also over a power cut.
        The future raises StorageError."""
        future: asyncio.Future[T] = self._loop.create_future()
        if self._closed:
            future.set_exception(StorageError("The state store is closed: the server is stopping."))
        else:
            self._calls.put(_Call(work, future, durable))
        return future

    async def aclose(self) -> None:
        """What was sent is carried out first."""
        if not self._closed:
            self._closed = True
            self._calls.put(None)
        await asyncio.to_thread(self._thread.join)

    def _serve(self) -> None:
        open_ = True
        while open_:
            group: list[_Call] = []
            call = self._calls.get()
            while call is not None:
                group.append(call)
                if len(group) >= MAX_GROUP:
                    break
                try:
                    call = self._calls.get_nowait()
                except queue.Empty:
                    break
            open_ = call is not None
            if group:
                self._do(group)
                self._loop.call_soon_threadsafe(_answer, group)
        self._db.close()

    def _do(self, group: list[_Call]) -> None:
        if not self._writes:
            for call in group:
                _attempt(self._db, call)
            return
        durable = any(call.durable for call in group)
        try:
            if durable:
                self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("BEGIN IMMEDIATE")
            for call in group:
                self._in_savepoint(call)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            for call in group:
                call.error = call.error or error
        finally:
            self._restore(durable)

    def _in_savepoint(self, call: _Call) -> None:
        self._db.execute("SAVEPOINT one")
        _attempt(self._db, call)
        if call.error is not None:
            self._db.execute(
                "ROLLBACK TO one"
            )  # raises where SQLite has rolled back all of it: none of the group is kept
        self._db.execute("RELEASE one")

    def _restore(self, durable: bool) -> None:
        try:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            if durable:
                self._db.execute("PRAGMA synchronous = NORMAL")
        except sqlite3.Error:
            return  # the next group tells of it


def _attempt(db: sqlite3.Connection, call: _Call) -> None:
    try:
        call.result = call.work(db)
    except _WRONG as error:
        call.error = error


def _answer(group: list[_Call]) -> None:
    for call in group:
        if call.future.done():
            continue
        if call.error is None:
            call.future.set_result(call.result)
        else:
            call.future.set_exception(_told(call.error))


def _told(error: BaseException) -> StorageError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_BUSY:
        text = "The state file is busy: another process writes for longer than state_store.timeout_s."
    elif code == sqlite3.SQLITE_FULL:
        text = "The disk of the state file is full: make room."
    elif code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        text = "The state file is damaged: stop every server that uses it, move it away with its -wal and -shm files, start again."
    else:
        text = f"The state file could not be used ({type(error).__name__}): see that its disk is there and writable."
    told = StorageError(text)
    told.__cause__ = error
    return told
