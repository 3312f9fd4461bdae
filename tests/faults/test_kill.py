"""kill -9 at any instant while documents are being ingested: each is then whole, or still queued; none is lost or doubled."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from bascule.bootstrap import open_app
from bascule.core.principals import Principal, system_principal
from bascule.testing.running import settings_for

DRIVER = Path(__file__).with_name("ingest_driver.py")
DOCUMENTS = 150  # more than are claimed at once: a kill may fall between two commits
FULL = bool(os.environ.get("BASCULE_TEST_FULL"))
KILLS = 200 if FULL else 3
SEED = 20261123


def word(number: int) -> str:
    """A word of its own for each document, which no stemmer shortens."""
    return "kw" + "".join(chr(ord("b") + int(d)) for d in f"{number:04d}") + "x"


def write_documents(folder: Path) -> None:
    folder.mkdir()
    for number in range(DOCUMENTS):
        sections = "\n\n".join(
            f"## Section {s}\n\n" + f"The {word(number)} bridge has {s} spans over the river. " * 6 for s in range(2)
        )
        (folder / f"doc{number:03d}.md").write_text(f"# Document {number}\n\n{sections}\n")


def start(data: Path, documents: Path, acknowledged: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, str(DRIVER), str(data), str(documents), str(acknowledged)])


def wait_for(path: Path, process: subprocess.Popen[bytes], within_s: float = 60) -> None:
    end = time.monotonic() + within_s
    while not path.exists():
        assert process.poll() is None, "the driver ended by itself"
        assert time.monotonic() < end
        time.sleep(0.002)  # waits for another process; the condition is checked, not the time


async def check(data: Path, *, finished: bool) -> int:
    """Whole or queued, in the catalogue and in the index alike. How many documents are indexed."""
    who = system_principal("default")
    reader = Principal(tenant="default", subject="somebody", scopes=frozenset({"ask"}))
    async with open_app(settings_for(data), work=False) as app:
        assert app.store is not None and app.questions is not None and app.ingest is not None
        await app.ingest.settle()
        documents = await app.catalogue.documents(who, "docs", 1000, None)
        assert len(documents) == DOCUMENTS, "an acknowledged document is missing, or one is there twice"
        assert len({d.external_id for d in documents}) == DOCUMENTS
        indexed = [d for d in documents if d.state == "indexed"]
        for document in documents:
            chunks = await app.catalogue.document_chunks(who, document.id)
            whole = document.state == "indexed"
            assert len(chunks) == (document.chunk_count if whole else 0), "half a document is visible"
            assert [c.ordinal for c in chunks] == list(range(len(chunks)))
        assert await app.store.chunk_ids("default") == await app.catalogue.live_chunk_ids("default")
        for document in indexed[:: max(1, len(indexed) // 5)]:
            number = int(document.external_id[3:6])
            hits = await app.questions.search(reader, word(number), collections=["docs"], limit=50, where={})
            assert {h.chunk.document_id for h in hits} == {document.id}
            assert len(hits) == len({h.chunk.id for h in hits}) == document.chunk_count
        if finished:
            assert len(indexed) == DOCUMENTS, [d.reason for d in documents if d.state != "indexed"]
        return len(indexed)


async def test_I3_kill_9_at_any_instant_loses_nothing_acknowledged_and_leaves_no_half_document(tmp_path: Path) -> None:
    documents = tmp_path / "documents"
    write_documents(documents)
    chance = random.Random(SEED)
    seen: list[int] = []
    kills, longest_s = 0, 1.5
    while kills < KILLS:
        data, acknowledged = tmp_path / f"data{kills}", tmp_path / f"ack{kills}"
        for _ in range(min(5, KILLS)):  # the same folder is killed again and again, then left to finish
            working = acknowledged.with_suffix(".works")
            working.unlink(missing_ok=True)
            process = start(data, documents, acknowledged)
            await asyncio.to_thread(wait_for, working, process)
            await asyncio.sleep(chance.uniform(0, longest_s))  # the instant is the point of this test
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
            seen.append(await check(data, finished=False))
            if seen[-1] == DOCUMENTS:  # all was done: further kills here prove nothing, and the next come sooner
                longest_s *= 0.6
                break
        process = start(data, documents, acknowledged)
        assert await asyncio.to_thread(process.wait, 90) == 0
        await check(data, finished=True)
    assert min(seen) < DOCUMENTS, "no kill fell into the work: the test proves nothing"
    assert not FULL or any(0 < found < DOCUMENTS for found in seen), "no kill fell between two commits"
