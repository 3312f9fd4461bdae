"""Moves an installation, or some of its collections, to another database or data folder, and proves that all of it arrived.

Rows are copied as they are: ids, rights, tombstones and the audit log's chain stay what they were. It may be broken off at any
point: a note in the target's data folder says how far it came, and a page that was copied twice changes nothing.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec
from sqlalchemy import Table

from bascule.core.errors import ConfigError
from bascule.db import copying
from bascule.db.copying import Key, Selection
from bascule.db.engine import Database
from bascule.db.files import write_whole
from bascule.db.ledger import DeletionLedger
from bascule.db.readers import readable, readers
from bascule.db.sealing import Seal

NOTE: Final = "migration.json"
_LOCK: Final = "jobs.lock"  # of whoever works on the folder
Progress = Callable[[str, int, int], None]  # what, done, of how many


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where an installation keeps what it knows. `url` and `calls_url` are SQLAlchemy's."""

    data: Path
    url: str
    calls_url: str
    ledger: Path


class Check(msgspec.Struct, frozen=True):
    """`there`: how many in the target, of `here` in the source. `note`: what is wrong."""

    what: str
    here: int
    there: int
    note: str = ""


class _Note(msgspec.Struct):
    """How far each table is copied: the key of its last row."""

    source: str
    collections: tuple[str, ...]
    after: dict[str, Key] = {}


@contextmanager
def alone(*folders: Path) -> Iterator[None]:
    """Nobody works on these data folders meanwhile. Raises ConfigError when a server does."""
    handles: list[int] = []
    try:
        for folder in dict.fromkeys(folders):
            handles.append(os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            try:
                fcntl.flock(handles[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ConfigError(f"A server works on the data folder {folder}. Stop it, and migrate again.") from None
        yield
    finally:
        for handle in handles:
            os.close(handle)


class Move:
    """From `source` to `target`, both open and of this version's schema. The target's data folder has been made."""

    def __init__(self, source: Place, target: Place, chosen: Selection, progress: Progress) -> None:
        self._source = source
        self._target = target
        self._chosen = chosen
        self._progress = progress
        self._note_file = target.data / NOTE
        self._note = _Note(_name(source), chosen.collection_ids)

    async def run(self) -> list[Check]:
        """Copy what is not there yet and compare. Raises ConfigError when the target is somebody else's, StorageError."""
        pairs = [(self._source.url, self._target.url, copying.CATALOGUE)]
        pairs.append((self._source.calls_url, self._target.calls_url, copying.CALLS))
        databases = [(Database(here), Database(there), tables) for here, there, tables in pairs if here != there]
        try:
            await self._begin([(there, tables) for _, there, tables in databases])
            for here, there, tables in databases:
                await self._copy(here, there, tables)
            checks = [check for each in databases for check in await self._compare(*each)]
            checks.append(await self._compare_rights(*databases[0][:2]))
            return [*checks, await self._copy_ledger()]
        finally:
            for here, there, _ in databases:
                await here.close()
                await there.close()

    async def _begin(self, targets: Sequence[tuple[Database, Sequence[Table]]]) -> None:
        if self._note_file.exists():
            with suppress(msgspec.DecodeError):
                known = msgspec.json.decode(self._note_file.read_bytes(), type=_Note)
                if (known.source, known.collections) == (self._note.source, self._note.collections):
                    self._note = known
                    return
            raise ConfigError(f"Another migration was begun into this place: see {self._note_file}. Use a new one.")
        for database, tables in targets:
            if not await copying.is_empty(database, tables):
                raise ConfigError("The target's catalogue is not empty. Move to a new, empty database.")
        self._write_note()

    def _write_note(self) -> None:
        draft = self._note_file.with_suffix(".part")
        draft.write_bytes(msgspec.json.encode(self._note))
        draft.rename(self._note_file)

    async def _copy(self, here: Database, there: Database, tables: Sequence[Table]) -> None:
        for table in tables:
            total = await copying.count(here, table, self._chosen)
            done = await copying.count(there, table, Selection())
            self._progress(table.name, done, total)
            async for rows, key in copying.copy(here, there, table, self._chosen, self._note.after.get(table.name)):
                self._note.after[table.name] = key
                self._write_note()
                done += rows
                self._progress(table.name, done, total)
        await copying.continue_counting(here, there, tables)

    async def _compare(self, here: Database, there: Database, tables: Sequence[Table]) -> list[Check]:
        checks = []
        for number, table in enumerate(tables):
            self._progress("comparing", number, len(tables))
            old, new = await copying.held(here, table, self._chosen), await copying.held(there, table, Selection())
            checks.append(Check(table.name, old.rows, new.rows, "" if old == new else "the rows differ"))
        return checks

    async def _compare_rights(self, here: Database, there: Database) -> Check:
        people = await readers(here)
        old, new = await readable(here, people, self._chosen), await readable(there, people, self._chosen)
        same = sum(old[who] == new[who] for who in people)
        return Check("people and what they may read", len(people), same, "" if same == len(people) else "rights differ")

    async def _copy_ledger(self) -> Check:
        told = await asyncio.to_thread(DeletionLedger(self._source.ledger).entries)
        ledger = DeletionLedger(self._target.ledger)
        known = await asyncio.to_thread(ledger.entries)
        await asyncio.to_thread(ledger.append, [entry for name, entry in told.items() if name not in known])
        found = len(told.keys() & (await asyncio.to_thread(ledger.entries)).keys())
        return Check("ledger of deletions", len(told), found, "" if found == len(told) else "entries are missing")


def _name(place: Place) -> str:
    """Tells sources apart without keeping a password."""
    return hashlib.sha256(f"{place.data}\n{place.url}".encode()).hexdigest()[:16]


def copy_secrets(source: Path, target: Path, here: Seal, there: Seal) -> None:
    """Before the target's folder gets secrets of its own, each in a form that its keys open. Raises ConfigError when it has
    others (pseudonyms would change), and for one that cannot be opened."""
    (target / "secrets").mkdir(mode=0o700, parents=True, exist_ok=True)
    target.chmod(0o700)
    for file in sorted(path for path in (source / "secrets").iterdir() if path.is_file() and path.name[0] != "."):
        to = target / "secrets" / file.name
        kept = file.read_bytes()
        opened = here.opened(file.name, kept)
        if to.exists():
            if there.opened(to.name, to.read_bytes()) != opened:
                raise ConfigError(f"The target has a secret of its own, {to.name}. Move to a new data folder.")
            continue
        if there.held(file.name, kept) == "unreadable":
            if not there.closes:
                raise ConfigError(
                    f"The secret {to.name} is encrypted, and the target names no key: set secrets.key there."
                )
            kept = there.closed(file.name, opened)
        write_whole(to, kept, fresh=to.with_name(f".{to.name}.part"))


def copy_blobs(source: Path, target: Path, names: Sequence[str], progress: Progress) -> Check:
    """Stored bytes that are needed, read again on the other side."""
    wrong = arrived = 0
    for number, name in enumerate(names, 1):
        old, new = source / "blobs" / name[-2:] / name, target / "blobs" / name[-2:] / name
        if not old.exists():
            wrong += 1
            continue
        _copy_file(old, new)
        same = hashlib.sha256(new.read_bytes()).digest() == hashlib.sha256(old.read_bytes()).digest()
        arrived += same
        wrong += not same
        progress("stored bytes", number, len(names))
    return Check("stored bytes", len(names), arrived, f"{wrong} are missing or differ" if wrong else "")


def _copy_file(old: Path, new: Path) -> None:
    if new.exists() and new.stat().st_size == old.stat().st_size:
        return
    new.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = new.with_name(new.name + ".part")
    with open(draft, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        file.write(old.read_bytes())
        file.flush()
        os.fsync(file.fileno())
    draft.rename(new)
