"""The disk is full, or fails: what cannot be kept is refused in words, what was acknowledged stays, and all goes on afterwards."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import aiohttp
import pytest

from bascule.bootstrap import init
from bascule.core.errors import StorageError
from bascule.db.blobs import FolderBlobs
from bascule.testing.ill_disk import failing_writes, full, small_disk, unreadable
from bascule.testing.running import running, settings_for
from bascule.testing.storage_world import StorageWorld, storage_world
from bascule.testing.upstream import fake_upstream

DISK_BYTES = 40_000_000
Ill = Callable[[Path], AbstractContextManager[None]]


@contextmanager
def ill_writes(_: Path) -> Iterator[None]:
    with failing_writes():
        yield


@contextmanager
def place(folder: Path, ill: Ill) -> Iterator[Path]:
    """Where the data goes: for a full disk one of its own."""
    if ill is not full:
        yield folder / "data"
        return
    try:
        with small_disk(folder / "disk", DISK_BYTES) as disk:
            yield disk / "data"
    except PermissionError as error:
        pytest.skip(str(error))


async def try_everything(world: StorageWorld) -> None:
    """What needs no room is answered; what has to be kept is refused, in documented words."""
    assert (await world.chat())[0] == 200, "a model call needs no disk: its record waits"
    for _ in range(3):
        assert await world.upload("second", "a heron waits below the arch") == (503, "storage_unavailable")
        assert await world.make_key("second") == (503, "storage_unavailable"), "what cannot be audited is not done"
        _, listed = await world.ask("GET", "/v1/documents?collection=docs")
        gone = await world.ask("DELETE", f"/v1/documents/{listed['data'][0]['id']}")
        assert gone == (503, "storage_unavailable")
    assert await world.upload_file("big", bytes(3_000_000)) == (503, "storage_unavailable")
    # A reader that opens its files only now may need a page of them; then that is what it says.
    status, said = await world.ask("POST", "/v1/search", {"query": "kestrels", "collections": ["docs"]})
    assert status == 200 or (status, said) == (503, "storage_unavailable")
    async with world.http.get(world.url + "/livez") as reply:
        assert reply.status == 200


@pytest.mark.parametrize("ill", [full, ill_writes], ids=["full", "I/O errors"])
async def test_what_cannot_be_kept_is_refused_and_all_is_well_when_the_disk_is(tmp_path: Path, ill: Ill) -> None:
    with place(tmp_path, ill) as data:
        async with storage_world(data) as world:
            with ill(data.parent):
                await try_everything(world)
            assert (await world.upload("third", "swifts come in april"))[0] == 202
            assert (await world.make_key("third"))[0] in (200, 201)
            assert (await world.chat())[0] == 200
            await world.whole()
        # And it opens again, with everything.
        async with aiohttp.ClientSession() as http:
            async with running(settings_for(data)) as (url, app, _):
                again = StorageWorld(url, app, world.admin, http, world.accepted, world.tried, world.calls, world.keys)
                await again.whole()


@pytest.mark.parametrize("ill", [full, ill_writes], ids=["full", "I/O errors"])
async def test_a_disk_that_fails_while_documents_are_taken_in_loses_none_that_was_acknowledged(
    tmp_path: Path, ill: Ill
) -> None:
    with place(tmp_path, ill) as data:
        async with storage_world(data) as world:
            for number in range(12):
                await world.upload(f"before{number}", f"the keeper wrote number {number} in the book")
            with ill(data.parent):
                for number in range(4):
                    status, code = await world.upload(f"during{number}", f"the flood mark {number} is on the wall")
                    assert (status, code) == (503, "storage_unavailable")
                await asyncio.sleep(0.5)  # the worker meets the fault, as often as it likes
            assert len(world.accepted) == 13
            await world.whole()


async def test_stored_bytes_that_cannot_be_read_are_a_storage_error(tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path)
    name = await blobs.put(b"words")
    assert await blobs.get(name) == b"words"
    unreadable(tmp_path / name[-2:] / name)
    with pytest.raises(StorageError):
        await blobs.get(name)


async def test_a_log_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    """/dev/full is what a log on a full disk is: every write says ENOSPC."""
    async with fake_upstream() as upstream:
        config = tmp_path / "bascule.toml"
        config.write_text(
            "[server]\nport = 0\ndrain_s = 2.0\n[rag]\nenabled = false\n[gateway]\nmax_attempts = 1\n"
            f'[providers.main]\nkind = "openai"\nbase_url = "{upstream.url}"\n'
            '[models.fast]\ntargets = [{ provider = "main", model = "m" }]\n'
        )
        key = await init(settings_for(tmp_path / "data")) or ""
        with Path("/dev/full").open("w") as nowhere:  # noqa: ASYNC230
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "bascule", "serve", "--data", str(tmp_path / "data"), "--config", str(config),
                stdout=asyncio.subprocess.PIPE, stderr=nowhere,
                env={k: v for k, v in os.environ.items() if not k.startswith("BASCULE_")},
            )  # fmt: skip
        try:
            assert process.stdout is not None
            url = (await asyncio.wait_for(process.stdout.readline(), 30)).decode().split()[-1]
            async with aiohttp.ClientSession(headers={"authorization": f"Bearer {key}"}) as http:
                for number in range(5):
                    if number == 2:  # a line for the log: the reload of a file that is not valid
                        config.write_text(config.read_text() + "[nonsense]\n")
                        process.send_signal(signal.SIGHUP)
                    body = {"model": "fast", "messages": [{"role": "user", "content": f"hello {number}"}]}
                    async with http.post(url + "/v1/chat/completions", json=body) as reply:
                        assert reply.status == 200, await reply.text()
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), 15) == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
