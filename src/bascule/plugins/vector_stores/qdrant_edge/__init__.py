"""The `sqlite` index with Qdrant Edge in front: for one node with many chunks. Needs the extra `edge`.

The index stays the truth: what is written is searched at once and what is removed is gone at commit. Generations for the engine
are built from it by a child process and swapped in; any number of processes may share the folder, one of them has the engine.
Why it is built this way, with figures: docs/decisions/qdrant-edge.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import sqlite3
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from bascule.core.errors import ConfigError, StorageError
from bascule.core.resources import Resources
from bascule.core.vectors import Candidate, Scope
from bascule.plugins.vector_stores.qdrant_edge import searching
from bascule.plugins.vector_stores.qdrant_edge.keeping import Held, Keeper
from bascule.plugins.vector_stores.qdrant_edge.layout import EngineRefused, Proposer
from bascule.plugins.vector_stores.sqlite import SqliteVectorStore
from bascule.plugins.vector_stores.sqlite import searching as scan
from bascule.plugins.vector_stores.sqlite.vector_files import VectorFolder
from bascule.plugins.vector_stores.sqlite.view import View

if importlib.util.find_spec("qdrant_edge") is None:  # only the processes beside this one load it
    raise ConfigError("The vector store qdrant_edge needs the extra edge: pip install 'bascule[edge]'.")

log = logging.getLogger(__name__)

CHECK_S: Final = 5.0


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    build_at: int = Field(20_000, ge=1, description="Changed chunks before a generation is built.")
    build_share: float = Field(0.1, gt=0, le=1, description="And this share of the last one's chunks.")
    build_threads: int = Field(1, ge=1, le=64, description="Threads of the process that builds.")
    scan_below: int = Field(20_000, ge=0, description="Fewer visible vectors than this are scanned, exactly.")
    breadth: int = Field(256, ge=16, le=4096, description="Neighbours the engine looks at (ef): more finds more.")
    forget_s: float = Field(86_400.0, gt=0, description="Removed chunks leave the last generation's files by then.")


class EdgeVectorStore(SqliteVectorStore):
    def __init__(
        self,
        folder: Path,
        settings: Settings | None = None,
        *,
        rest_s: float | None = None,
        opener: Callable[[Path], Proposer] | None = None,
    ) -> None:
        super().__init__(folder, rest_s=rest_s)
        self._settings = settings or Settings()
        self._keeper = Keeper(folder, self._index, threads=self._settings.build_threads, opener=opener)

    async def dense(self, vector: bytes, scope: Scope, limit: int) -> list[Candidate]:
        def answer(db: sqlite3.Connection, view: View, folder: VectorFolder) -> list[Candidate]:
            found = None
            with self._keeper.using(view.head.generation) as held, _or_without():
                if held is not None and limit > 0 and self._many(held, view, scope):
                    question = (vector, scope, limit)
                    found = searching.dense(db, view, folder, held.pair, question, self._settings.breadth)
            return scan.dense(db, view, folder, vector, scope, limit) if found is None else found

        return await self._read(lambda: self._index.read(answer))

    async def lexical(self, terms: Sequence[str], scope: Scope, limit: int) -> list[Candidate]:
        def answer(db: sqlite3.Connection, view: View, _folder: VectorFolder) -> list[Candidate]:
            found = None
            with self._keeper.using(view.head.generation) as held, _or_without():
                if held is not None and limit > 0 and terms and scope.documents is None:
                    found = searching.lexical(db, view, held.pair, (terms, scope, limit))
            return scan.lexical(db, view, terms, scope, limit) if found is None else found

        return await self._read(lambda: self._index.read(answer))

    async def reset(self) -> None:
        await asyncio.to_thread(self._keeper.forget)
        await super().reset()

    async def hold(self) -> bool:
        """Be the folder's process with the engine and open what was built before. False when another one is."""
        return await asyncio.to_thread(self._keeper.hold)

    async def build(self) -> bool:
        """Build a generation now, whatever has changed. False when another process holds the folder, or it failed."""
        if not await self.hold():
            return False
        target, code = await self._keeper.run()
        return await asyncio.to_thread(self._keeper.finish, target, code)

    async def mend(self) -> bool:
        """Start the engine's process again if it died. Whether there is one that answers."""
        return await asyncio.to_thread(self._keeper.mend)

    async def tend(self) -> None:
        """Build a generation whenever enough has changed; never returns."""
        while True:
            try:
                await self.mend()
                if await asyncio.to_thread(self._due):
                    await self.build()
            except (StorageError, OSError) as error:
                log.warning("no search generation could be built: %s", getattr(error, "message", type(error).__name__))
            await asyncio.sleep(CHECK_S)

    def _due(self) -> bool:
        given = self._settings
        return self._keeper.hold() and self._keeper.due(given.build_at, given.build_share, given.forget_s)

    async def close(self) -> None:
        await asyncio.to_thread(self._keeper.close)
        await super().close()

    def _many(self, held: Held, view: View, scope: Scope) -> bool:
        if scope.documents is not None:
            return False  # a filter's few are read by the scan
        seen = searching.Seen.of(view, scope)
        return held.generation.facts.visible(seen.places, seen.allowed) >= self._settings.scan_below


@contextlib.contextmanager
def _or_without() -> Generator[None]:
    """Where the engine fails, the exact scan answers."""
    try:
        yield
    except EngineRefused as error:
        log.warning("the search engine failed (%s): answered by a scan", type(error.__cause__).__name__)


@asynccontextmanager
async def connect(settings: Settings, resources: Resources) -> AsyncGenerator[EdgeVectorStore]:
    """Opens nothing yet, as the `sqlite` store; generations are built in the background."""
    store = EdgeVectorStore(resources.data, settings)
    tending = asyncio.create_task(store.tend())
    try:
        yield store
    finally:
        tending.cancel()
        await asyncio.gather(tending, return_exceptions=True)
        await store.close()
