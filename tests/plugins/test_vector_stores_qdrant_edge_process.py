"""The engine of `qdrant_edge` in a process of its own: killed, stopped, orphaned, ended while it opens."""

from __future__ import annotations

import asyncio
import errno
import os
import select
import signal
import threading
from collections.abc import AsyncGenerator
from pathlib import Path

import numpy as np
import pytest
from tests.plugins.test_vector_stores_qdrant_edge import ENGINE_ALWAYS, compare, many, no_scan, start

from bascule.plugins.vector_stores.memory import MemoryVectorStore
from bascule.plugins.vector_stores.qdrant_edge import EdgeVectorStore, keeping
from bascule.plugins.vector_stores.qdrant_edge import served as serving_side
from bascule.plugins.vector_stores.qdrant_edge.building import build
from bascule.plugins.vector_stores.qdrant_edge.layout import EngineRefused, Within
from bascule.plugins.vector_stores.qdrant_edge.served import Served


class InAProcess(EdgeVectorStore):
    """Built here, served by a child as in the product."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, ENGINE_ALWAYS, rest_s=0)
        self._built = 0

    def generate(self) -> bool:
        assert self._keeper.hold()
        self._built += 1
        target = self._keeper._edge / f"{keeping.UNFINISHED}{self._built}"
        build(self._keeper._folder, target, 1)
        return self._keeper.finish(target, 0)

    @property
    def process_id(self) -> int:
        assert self._keeper._held is not None and isinstance(self._keeper._held.generation, Served)
        return self._keeper._held.generation.process_id


@pytest.fixture
async def served(tmp_path: Path) -> AsyncGenerator[tuple[InAProcess, MemoryVectorStore]]:
    """400 chunks in a generation that a process of its own has open, and the naive reference."""
    store, reference = InAProcess(tmp_path), MemoryVectorStore()
    await store.upsert(many(400))
    await reference.upsert(many(400))
    assert await store._read(store.generate)
    yield store, reference
    await store.close()


async def test_an_engine_process_that_is_killed_is_missed_by_nobody_and_started_again(
    served: tuple[InAProcess, MemoryVectorStore], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store, reference = served
    with monkeypatch.context() as patch:
        no_scan(patch)
        await compare(store, reference, "served")
    for _ in range(2):
        killed = store.process_id
        os.kill(killed, signal.SIGKILL)
        await compare(store, reference, "killed")
        monkeypatch.setattr(keeping, "RESTART_S", 0.0)
        assert await store.mend() and store.process_id != killed
    assert "started again" in caplog.text
    no_scan(monkeypatch)
    await compare(store, reference, "started again")


async def test_a_process_that_keeps_dying_rests_longer_each_time(
    served: tuple[InAProcess, MemoryVectorStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, reference = served
    os.kill(store.process_id, signal.SIGKILL)
    await compare(store, reference, "killed")
    assert await store.mend()
    os.kill(store.process_id, signal.SIGKILL)
    await compare(store, reference, "killed again")
    assert not await store.mend()
    monkeypatch.setattr(keeping, "RESTART_S", 0.0)
    assert await store.mend()


async def test_a_process_that_does_not_answer_is_ended_and_the_search_answered(
    served: tuple[InAProcess, MemoryVectorStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, reference = served
    await first.close()
    monkeypatch.setattr(serving_side, "ANSWER_S", 0.05)
    store = InAProcess(tmp_path)
    assert await store.hold()
    stopped = store.process_id
    os.kill(stopped, signal.SIGSTOP)
    await compare(store, reference, "stopped")
    with pytest.raises(ProcessLookupError):
        os.kill(stopped, 0)
    await store.close()


async def test_an_answer_that_comes_too_late_answers_no_other_question(
    served: tuple[InAProcess, MemoryVectorStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await served[0].close()
    monkeypatch.setattr(serving_side, "ANSWER_S", 0.05)
    monkeypatch.setattr(Served, "_end", lambda _: None)  # the instant between the silence and the end
    (folder,) = (tmp_path / keeping.FOLDER).glob(f"{keeping.WHOLE}*")
    engine = await asyncio.to_thread(serving_side.opened, folder)
    within = Within((1,), frozenset({1}))
    os.kill(engine.process_id, signal.SIGSTOP)
    for _ in range(serving_side.CONNECTIONS):
        with pytest.raises(EngineRefused):
            engine.dense(np.ones(32, np.float32), within, 7, 64)
    os.kill(engine.process_id, signal.SIGCONT)
    for _ in range(serving_side.CONNECTIONS):
        with pytest.raises(EngineRefused):
            engine.dense(np.ones(32, np.float32), within, 5, 64)
    engine.close()


async def test_a_generation_that_cannot_be_opened_for_want_of_descriptors_is_kept(
    served: tuple[InAProcess, MemoryVectorStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = served
    os.kill(store.process_id, signal.SIGKILL)
    await asyncio.to_thread(store._keeper._held.generation._process.wait)  # type: ignore[union-attr]
    with monkeypatch.context() as patch:
        patch.setattr(keeping, "Served", _none_free)
        assert not await store.mend()
    assert await store.mend()


def _none_free(_: Path) -> Served:
    raise OSError(errno.EMFILE, "Too many open files")


async def test_the_service_never_loads_the_engine_and_its_process_ends_with_it(
    served: tuple[InAProcess, MemoryVectorStore], tmp_path: Path
) -> None:
    await served[0].close()
    holder = start(HOLDER, str(tmp_path))
    assert holder.stdout is not None
    loaded, engine_id = (await asyncio.to_thread(holder.stdout.readline)).split()
    assert loaded == "False"
    watched = os.pidfd_open(int(engine_id))
    os.kill(holder.pid, signal.SIGKILL)
    holder.communicate()
    assert await asyncio.to_thread(select.select, [watched], [], [], 30) == ([watched], [], [])
    os.close(watched)


async def test_closing_ends_a_process_that_is_still_opening(
    served: tuple[InAProcess, MemoryVectorStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await served[0].close()
    started = threading.Event()
    wait = Served.wait

    def noted(self: Served) -> None:
        os.kill(self.process_id, signal.SIGSTOP)
        started.set()
        wait(self)

    monkeypatch.setattr(Served, "wait", noted)
    monkeypatch.setattr(serving_side, "END_S", 0.05)
    store = InAProcess(tmp_path)
    holding = asyncio.create_task(store.hold())
    await asyncio.to_thread(started.wait)
    await store.close()
    assert await holding
    assert list((tmp_path / keeping.FOLDER).glob(f"{keeping.WHOLE}*")), (
        "what could not be opened for want of time is kept"
    )


HOLDER = """
    import asyncio, sys
    from pathlib import Path
    from bascule.plugins.vector_stores.qdrant_edge import EdgeVectorStore

    async def main():
        store = EdgeVectorStore(Path(sys.argv[1]))
        await store.hold()
        print("qdrant_edge" in sys.modules, store._keeper._held.generation.process_id, flush=True)
        await asyncio.sleep(600)

    asyncio.run(main())
"""
