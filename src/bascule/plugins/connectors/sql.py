"""Rows of a database, each one document: any database that SQLAlchemy reaches, by one SELECT of the operator's."""

from __future__ import annotations

import asyncio
import hashlib
import html
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, Literal

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection, CursorResult
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    NoSuchModuleError,
    OperationalError,
    ProgrammingError,
    SQLAlchemyError,
)

from bascule.core.connectors import Change, KnownItem, SkippedItem, SourceItem, UnchangedItem
from bascule.core.errors import ConfigError, StorageError
from bascule.core.resources import Resources
from bascule.plugins.connectors._paths import last_part, printable
from bascule.plugins.connectors._web import only_items

_ROWS: Final = 200
_COLON: Final = re.compile(r"(?<!:):(?=[A-Za-z_])")  # which would name a parameter; the query has none
_ENDINGS: Final = {"text": ("txt", "text/plain"), "markdown": ("md", "text/markdown"), "html": ("html", "text/html")}


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(
        description='SQLAlchemy URL, or a reference to one with a password in it: "env:NAME" or "file:PATH".'
    )
    query: str = Field(min_length=1, description="One SELECT; each row is a document.")
    id_column: str = Field("id", description="What a row is known by, for good.")
    text_columns: tuple[str, ...] = Field(min_length=1, description="Its text; several are told by their names.")
    title_column: str = Field("", description="Its title.")
    url_column: str = Field("", description="Where it is shown, for citations.")
    changed_column: str = Field(
        "", description="Differs whenever the row has changed (a time or a version); without it the texts are compared."
    )
    metadata_columns: tuple[str, ...] = Field((), description="Kept beside it, to filter questions by.")
    format: Literal["text", "markdown", "html"] = Field("text", description="What the text columns hold.")
    timeout_s: float = Field(300.0, gt=0, description="Longest the database may work on the query (Postgres).")
    max_rows: int = Field(1_000_000, gt=0, description="More are not read, and then nothing is deleted.")


class SqlConnector:
    """`external_id` is the value of `id_column`. The query runs in a transaction that may only read, where there is such a one."""

    kind = "sql"

    def __init__(self, settings: Settings, url: str) -> None:
        """Raises ConfigError."""
        self._settings = settings
        try:
            self._engine = sa.create_engine(url, poolclass=sa.NullPool)
        except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
            # The message of an ArgumentError may quote the URL, and so a password.
            why = (
                f"{error}" if isinstance(error, ModuleNotFoundError) else "it is no SQLAlchemy URL of a known database"
            )
            raise ConfigError(f"url: {why}.") from None

    def items(self) -> AsyncIterator[SourceItem | SkippedItem]:
        return only_items(self.changes({}))

    async def changes(self, known: Mapping[str, KnownItem]) -> AsyncIterator[Change]:
        loop, thread = (
            asyncio.get_running_loop(),
            ThreadPoolExecutor(1, "sql-source"),
        )  # a connection belongs to one thread
        rows = _Rows(self._engine, self._settings)
        seen: set[str] = set()
        try:
            await loop.run_in_executor(thread, rows.open)
            number = 0
            while batch := await loop.run_in_executor(thread, rows.next):
                for row in batch:
                    number += 1
                    if number > self._settings.max_rows:
                        raise StorageError(
                            f"The query gives more than {self._settings.max_rows:,} rows. Raise max_rows."
                        )
                    yield self._change(row, number, seen, known)
        finally:
            await asyncio.shield(loop.run_in_executor(thread, rows.close))
            thread.shutdown(wait=False)

    def _change(self, row: Mapping[str, Any], number: int, seen: set[str], known: Mapping[str, KnownItem]) -> Change:
        value = row[self._settings.id_column]
        name = printable(str(value)) if value is not None else ""
        if not name.strip():
            return SkippedItem(external_id=f"row {number}", reason=f"Its {self._settings.id_column} is empty.")
        if name in seen:
            return SkippedItem(external_id=f"{name} (row {number})", reason="Another row of the query has the same id.")
        seen.add(name)
        text = self._text(row)
        if not text.strip():
            return SkippedItem(external_id=name, reason="Its text columns are empty.", gone=True)
        metadata = self._metadata(row, text)
        before = known.get(name)
        if before is not None and not before.failed and metadata.items() <= before.metadata.items():
            return UnchangedItem(external_id=name)
        ending, media_type = _ENDINGS[self._settings.format]
        return SourceItem(
            external_id=name,
            name=f"{last_part(name)}.{ending}",
            data=text.encode("utf-8", "replace"),
            title=self._of(row, self._settings.title_column),
            media_type=media_type,
            metadata=metadata,
        )

    def _text(self, row: Mapping[str, Any]) -> str:
        columns = self._settings.text_columns
        if len(columns) == 1:
            return self._of(row, columns[0])
        parts = [(column, self._of(row, column)) for column in columns]
        if self._settings.format == "html":
            return "".join(f"<h2>{html.escape(column)}</h2>{text}" for column, text in parts if text)
        head = "## {}\n\n{}" if self._settings.format == "markdown" else "{}: {}"
        return "\n\n".join(head.format(column, text) for column, text in parts if text)

    def _metadata(self, row: Mapping[str, Any], text: str) -> dict[str, Any]:
        found = {column: _plain(row[column]) for column in self._settings.metadata_columns}
        if self._settings.url_column:
            found["url"] = self._of(row, self._settings.url_column)
        if self._settings.changed_column:
            found["changed"] = self._of(row, self._settings.changed_column)
        else:
            title = self._of(row, self._settings.title_column)
            found["digest"] = hashlib.sha256(f"{title}\0{text}".encode("utf-8", "replace")).hexdigest()
        return found

    def _of(self, row: Mapping[str, Any], column: str) -> str:
        value = row[column] if column else None
        if isinstance(value, bytes):
            return value.decode("utf-8", "replace")
        return "" if value is None else str(value)


class _Rows:
    """A query being read, on one thread: not all of its rows at once."""

    def __init__(self, engine: sa.Engine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings
        self._connection: Connection | None = None
        self._result: CursorResult[Any] | None = None

    def open(self) -> None:
        with _explained():
            self._connection = self._engine.connect()
            self._only_read(self._connection)
            query = sa.text(_COLON.sub(r"\\:", self._settings.query))
            in_pieces = query.execution_options(stream_results=True, max_row_buffer=_ROWS)
            self._result = self._connection.execute(in_pieces)
            if not self._result.returns_rows:
                raise StorageError("The query gives no rows: it must be a SELECT.")
            self._check_columns(list(self._result.keys()))

    def _only_read(self, connection: Connection) -> None:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text("SET TRANSACTION READ ONLY"))
            connection.execute(sa.text(f"SET LOCAL statement_timeout = {int(self._settings.timeout_s * 1000)}"))
        elif connection.dialect.name == "sqlite":
            connection.execute(sa.text("PRAGMA query_only = ON"))
        elif connection.dialect.name in ("mysql", "mariadb"):
            connection.execute(sa.text("SET TRANSACTION READ ONLY"))

    def _check_columns(self, there: Sequence[str]) -> None:
        given = self._settings
        named = (given.id_column, *given.text_columns, given.title_column, given.url_column, given.changed_column)
        for column in (*named, *given.metadata_columns):
            if column and column not in there:
                raise StorageError(f"The query gives no column {column!r}. It gives: {', '.join(there)}.")

    def next(self) -> list[Mapping[str, Any]]:
        assert self._result is not None
        with _explained():
            return [dict(row._mapping) for row in self._result.fetchmany(_ROWS)]

    def close(self) -> None:
        if self._connection is not None:
            with _explained():
                self._connection.close()  # rolls back: nothing was to be written
        self._engine.dispose()


@contextmanager
def _explained() -> Iterator[None]:
    """Database errors as StorageError. Only of the kinds that speak of the query or the server is the first line passed on:
    others may quote values of rows."""
    try:
        yield
    except (OperationalError, ProgrammingError) as error:
        said = (str(error.orig).strip().splitlines() or ["no reason given"])[0]
        raise StorageError(f"The database refuses: {said[:300]}") from None
    except DBAPIError as error:
        raise StorageError(f"The database failed with {type(error.orig).__name__}.") from None
    except SQLAlchemyError as error:
        raise StorageError(f"The query cannot be run: {type(error).__name__}.") from None


def _plain(value: Any) -> Any:
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


@asynccontextmanager
async def connect(settings: Settings, resources: Resources) -> AsyncGenerator[SqlConnector]:
    given = settings.url
    yield SqlConnector(settings, resources.secret(given) if given.startswith(("env:", "file:")) else given)
