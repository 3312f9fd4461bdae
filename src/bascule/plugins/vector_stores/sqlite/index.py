"""One folder's index as a process sees it: connections, the current view, damage and repair. Blocking: called from threads."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import uuid
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeVar

import numpy as np

from bascule.core.errors import StorageError
from bascule.core.vectors import Point
from bascule.plugins.vector_stores.sqlite import view as views
from bascule.plugins.vector_stores.sqlite.schema import (
    BUSY_TIMEOUT_S,
    DAMAGED,
    FILE,
    WRITER_PAGES_KB,
    Head,
    explained,
    is_damage,
    open_index,
    reading,
    writing,
)
from bascule.plugins.vector_stores.sqlite.vector_files import VectorFolder, has_vectors, quantise, sweep
from bascule.plugins.vector_stores.sqlite.view import View
from bascule.plugins.vector_stores.sqlite.writing import POINTS_PER_TRANSACTION, REST_S, Writer, count_words

T = TypeVar("T")
Query = Callable[[sqlite3.Connection, View, VectorFolder], T]

CHUNKS: Final = "SELECT count(*) FROM slot WHERE chunk_id IS NOT NULL"
VECTORS_IN_USE: Final = (
    "SELECT slot, dimension, vector_crc FROM slot JOIN source USING (slot) WHERE vector_crc IS NOT NULL"
)
OF_TENANT: Final = (
    "FROM tenant JOIN place ON place.tenant = tenant.id JOIN slot ON slot.place = place.id"
    " WHERE tenant.name = ? AND chunk_id IS NOT NULL"
)
COUNT_OF_TENANT: Final = f"SELECT count(*) {OF_TENANT}"
CONTENTS: Final = ("posting", "source", "slot", "place", "tenant")


class _Behind(Exception):
    """This snapshot is older than the view another thread has just loaded."""


class Index:
    """Thread-safe. A connection belongs to one thread; it is opened again when another process has replaced the file."""

    def __init__(self, folder: Path, *, rest_s: float | None = None) -> None:
        self._folder = folder
        self._rest_s = REST_S if rest_s is None else rest_s
        self._local = threading.local()
        self._open: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._view: View | None = None
        self._vectors: VectorFolder | None = None

    def upsert(self, points: Sequence[Point]) -> None:
        with explained():
            writer = self._writer()
            for start in range(0, len(points), POINTS_PER_TRANSACTION):
                writer.upsert(points[start : start + POINTS_PER_TRANSACTION])
            writer.scrub()

    def move(self, document_id: str, acl_id: int) -> None:
        with explained():
            self._writer().move(document_id, acl_id)

    def remove(self, chunk_ids: Sequence[str]) -> None:
        with explained():
            writer = self._writer()
            self._forget(writer, writer.remove(chunk_ids))

    def remove_documents(self, keep: Mapping[str, frozenset[str]]) -> None:
        with explained():
            writer = self._writer()
            self._forget(writer, writer.remove_documents(keep))

    def _forget(self, writer: Writer, removed: int) -> None:
        writer.scrub()
        if removed:
            self._forget_log()

    def read(self, query: Query[T]) -> T:
        """Run `query` on one snapshot: tables, view and vector files that belong together."""
        with explained():
            while True:
                try:
                    return self._read_once(query)
                except _Behind:
                    continue

    def chunk_ids(self, tenant: str) -> set[str]:
        return self.read(lambda db, _view, _folder: _chunk_ids(db, tenant))

    def count(self, tenant: str) -> int:
        return self.read(lambda db, _view, _folder: int(db.execute(COUNT_OF_TENANT, (tenant,)).fetchone()[0]))

    def reset(self) -> None:
        with explained():
            try:
                self._empty()
            except sqlite3.Error as error:
                if not is_damage(error):
                    raise
            except StorageError:
                pass
            else:
                return
            self._replace()

    def check(self) -> list[str]:
        try:
            return self.read(_problems)
        except StorageError as error:
            return [error.message]

    def close(self) -> None:
        with self._lock:
            for connection in self._open:
                connection.close()
            self._open.clear()

    def _read_once(self, query: Query[T]) -> T:
        connection = self._connection()
        with reading(connection) as head:
            view, folder = self._current(connection, head)
            try:
                return query(connection, view, folder)
            except StorageError:
                # A reset by another process unlinks the files of the generation this snapshot still names.
                if self._generation() == head.generation:
                    raise
        raise _Behind

    def _current(self, connection: sqlite3.Connection, head: Head) -> tuple[View, VectorFolder]:
        with self._lock:
            before = self._view
            if before is not None and before.head.generation == head.generation and before.head.seq > head.seq:
                raise _Behind
            if before is None or before.head != head:
                self._view = views.load(connection, head, before)
            assert self._view is not None
            return self._view, self._folder_of(head)

    def _folder_of(self, head: Head) -> VectorFolder:
        """Call with the lock held."""
        if self._vectors is None or self._vectors.generation != head.generation:
            self._vectors = VectorFolder(self._folder, head.generation)
        return self._vectors

    def _generation(self) -> str:
        probe = open_index(self._folder / FILE)
        try:
            with reading(probe) as head:
                return head.generation
        finally:
            probe.close()

    def _writer(self) -> Writer:
        connection = self._connection()
        connection.execute(f"PRAGMA cache_size = -{WRITER_PAGES_KB}")
        return Writer(connection, self._locked_folder_of, self._rest_s)

    def _locked_folder_of(self, head: Head) -> VectorFolder:
        with self._lock:
            return self._folder_of(head)

    def _forget_log(self) -> None:
        """Move the log into the file, where freed pages are overwritten, unless a reader still needs it."""
        connection = self._connection()
        connection.execute("PRAGMA busy_timeout = 0")
        try:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        finally:
            connection.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT_S * 1000)}")

    def _empty(self) -> None:
        connection = self._connection()
        with writing(connection):
            for table in CONTENTS:
                connection.execute(f"DELETE FROM {table}")
            connection.execute("UPDATE head SET generation = ?", (uuid.uuid4().hex,))
        with writing(connection) as head:
            sweep(self._folder, head.generation)
        self._forget_log()

    def _replace(self) -> None:
        """Other threads and processes notice that the file is another one and open it again."""
        sweep(self._folder, generation="")
        for suffix in ("", "-wal", "-shm"):
            (self._folder / (FILE + suffix)).unlink(missing_ok=True)
        self._connection()

    def _connection(self) -> sqlite3.Connection:
        """This thread's connection to the file that is there now."""
        path = self._folder / FILE
        held: tuple[int, sqlite3.Connection] | None = getattr(self._local, "held", None)
        with contextlib.suppress(FileNotFoundError):
            if held is not None and held[0] == path.stat().st_ino:
                return held[1]
        self._folder.mkdir(parents=True, exist_ok=True)
        if not path.exists() and has_vectors(self._folder):
            raise StorageError(DAMAGED)
        connection = open_index(path)
        with self._lock:
            if held is not None:
                held[1].close()
                self._open.remove(held[1])
            self._open.append(connection)
        self._local.held = (path.stat().st_ino, connection)
        return connection


def _chunk_ids(db: sqlite3.Connection, tenant: str) -> set[str]:
    return {row[0] for row in db.execute(f"SELECT chunk_id {OF_TENANT}", (tenant,))}


def _problems(db: sqlite3.Connection, view: View, folder: VectorFolder) -> list[str]:
    found = [f"tables: {row[0]}" for row in db.execute("PRAGMA quick_check(5)") if row[0] != "ok"]
    wrong = sum(1 for row in db.execute(VECTORS_IN_USE) if not _vector_is_whole(folder, *row))
    if wrong:
        found.append(f"vectors: {wrong} differ from what was written")
    postings = db.execute("SELECT coalesce(sum(length(data)), 0) / 4 FROM posting").fetchone()[0]
    words = sum(count_words(row[0]) for row in db.execute("SELECT terms FROM source"))
    if postings != words:
        found.append(f"words: {postings} entries where there should be {words}")
    if int(np.count_nonzero(view.columns.place)) != db.execute(CHUNKS).fetchone()[0]:
        found.append("slots: memory and tables differ")
    return found


def _vector_is_whole(folder: VectorFolder, slot: int, dimension: int, crc: int) -> bool:
    files = folder.of(dimension)
    vector = files.floats.pick(np.array([slot]))[0]
    code = files.codes.rows(slot + 1)[slot]
    return zlib.crc32(vector.tobytes()) == crc and bool(np.array_equal(quantise(vector).codes, code))
