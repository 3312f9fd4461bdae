"""The embedded default: tables in `index.sqlite`, vectors in mapped files beside it. Any number of processes may share the folder.

Why it is built this way, with figures: docs/decisions/sqlite-index.md.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, TypeVar

from pydantic import BaseModel, ConfigDict

from bascule.core.resources import Resources
from bascule.core.vectors import Candidate, Point, Scope
from bascule.plugins.vector_stores.sqlite import searching
from bascule.plugins.vector_stores.sqlite.index import Index

READER_THREADS: Final = 2

T = TypeVar("T")


class Settings(BaseModel):
    """There is nothing to set: the index lives in the data folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SqliteVectorStore:
    """The port over an Index: one thread writes, a few read, the event loop waits for neither."""

    def __init__(self, folder: Path, *, rest_s: float | None = None) -> None:
        self._index = Index(folder, rest_s=rest_s)
        self._writer = ThreadPoolExecutor(1, "index-writer")
        self._readers = ThreadPoolExecutor(READER_THREADS, "index-reader")

    async def upsert(self, points: Sequence[Point]) -> None:
        """Inserts or replaces by chunk_id, in transactions of up to 1,024 points."""
        await self._write(lambda: self._index.upsert(points))

    async def move(self, document_id: str, acl_id: int) -> None:
        await self._write(lambda: self._index.move(document_id, acl_id))

    async def remove(self, chunk_ids: Sequence[str]) -> None:
        await self._write(lambda: self._index.remove(chunk_ids))

    async def remove_document(self, document_id: str, keep: frozenset[str] = frozenset()) -> None:
        await self.remove_documents({document_id: keep})

    async def remove_documents(self, keep: Mapping[str, frozenset[str]]) -> None:
        await self._write(lambda: self._index.remove_documents(keep))

    async def dense(self, vector: bytes, scope: Scope, limit: int) -> list[Candidate]:
        return await self._read(
            lambda: self._index.read(lambda db, view, folder: searching.dense(db, view, folder, vector, scope, limit))
        )

    async def lexical(self, terms: Sequence[str], scope: Scope, limit: int) -> list[Candidate]:
        return await self._read(
            lambda: self._index.read(lambda db, view, _: searching.lexical(db, view, terms, scope, limit))
        )

    async def count(self, tenant: str) -> int:
        return await self._read(lambda: self._index.count(tenant))

    async def chunk_ids(self, tenant: str) -> set[str]:
        return await self._read(lambda: self._index.chunk_ids(tenant))

    async def reset(self) -> None:
        """Empty the index, also a damaged one. The caller then upserts everything from the catalogue."""
        await self._write(self._index.reset)

    async def check(self) -> list[str]:
        """What is wrong with the files, in words; reads every vector. Empty when all is well."""
        return await self._read(self._index.check)

    async def close(self) -> None:
        await asyncio.to_thread(self._shut)

    def _shut(self) -> None:
        self._writer.shutdown()
        self._readers.shutdown()
        self._index.close()

    async def _write(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._writer, work)

    async def _read(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._readers, work)


@asynccontextmanager
async def connect(settings: Settings, resources: Resources) -> AsyncGenerator[SqliteVectorStore]:
    """Opens nothing yet: a damaged index is reported by the first call, so that `reset` can still be reached."""
    store = SqliteVectorStore(resources.data)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(store.close)
        yield store
