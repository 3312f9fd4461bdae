"""The Valkey store by itself, while its server is away: what it decides alone, and that it counts nothing twice."""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bascule.core.errors import StorageError
from bascule.core.state import Claim
from bascule.plugins.state_stores.valkey import link
from bascule.plugins.state_stores.valkey.line import Line
from bascule.plugins.state_stores.valkey.store import ValkeyState
from bascule.testing.fault_proxy import FaultProxy, fault_proxy, self_signed_server
from bascule.testing.running import until
from bascule.testing.state_store_contract import claim
from bascule.testing.valkey import new_prefix, server, start, url
from bascule.testing.valkey import store as open_store

DAY_S = 86_400.0


@pytest.fixture(autouse=True)
def soon_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "RETRY_S", 0.05)


@pytest.fixture
async def far() -> AsyncIterator[tuple[ValkeyState, FaultProxy, ValkeyState]]:
    """A store behind a door, the door, and a store that is not."""
    prefix = new_prefix()
    async with fault_proxy(url()) as door:
        async with open_store(prefix, at=f"valkey://127.0.0.1:{door.port}") as store, open_store(prefix) as well:
            yield store, door, well


async def away(store: ValkeyState, door: FaultProxy) -> None:
    await door.close_door()
    await until(lambda: not store.up, 2)


async def test_nobody_waits_for_a_server_that_is_known_to_be_away(
    far: tuple[ValkeyState, FaultProxy, ValkeyState],
) -> None:
    store, door, _ = far
    await away(store, door)
    began_s = time.monotonic()
    for _ in range(200):
        with pytest.raises(StorageError):
            await store.get("k")
        assert (await store.admit("k", 1e6, 60)).degraded
    assert time.monotonic() - began_s < 0.25
    for other in (store.purge("t"), store.put("k", b"v", 1), store.delete("k"), store.lease("k", 1)):
        with pytest.raises(StorageError):
            await other


async def test_alone_it_keeps_to_its_share(far: tuple[ValkeyState, FaultProxy, ValkeyState]) -> None:
    store, door, _ = far
    await away(store, door)
    slot = Claim(key="s", amount=1, limit=1, window_s=60, name="calls at once", kind="slot")
    assert [(await store.reserve([slot], 30))[1].admitted for _ in range(3)] == [True, False, False]
    tens = [(await store.reserve([claim("k", 10, 100, DAY_S)], 30))[1] for _ in range(8)]
    assert [one.admitted for one in tens] == [True] * 5 + [False] * 3
    assert all(one.degraded for one in tens)
    assert (await store.reserve([claim("whole", 100, 100, DAY_S)], 30))[1].admitted
    assert not (await store.reserve([claim("more", 51, 100, DAY_S)], 30))[1].admitted
    odd = [await store.admit("one", 1, 60) for _ in range(2)]
    assert [one.admitted for one in odd] == [True, False]
    assert 60 < odd[1].retry_after_s <= 120


async def test_what_was_used_alone_is_counted_once_when_the_server_is_back(
    far: tuple[ValkeyState, FaultProxy, ValkeyState],
) -> None:
    store, door, well = far
    shared, _ = await store.reserve([claim("k", 30, 100, DAY_S)], 30)
    await away(store, door)
    alone, admission = await store.reserve([claim("k", 20, 100, DAY_S)], 30)
    open_still, _ = await store.reserve([claim("k", 20, 100, DAY_S)], 30)
    assert admission.degraded
    await store.settle(alone, [15.0])
    with pytest.raises(StorageError):
        await store.settle(shared, [10.0])
    await door.open_door()
    await until(lambda: store.up and not store._late, 5)
    await until(lambda: _left(well, 75), 2)
    await store.settle(open_still, [5.0])
    assert await _left(well, 70)
    assert not await _left(well, 71)


async def _left(store: ValkeyState, amount: float) -> bool:
    """Whether so much of the limit is free."""
    held, admission = await store.reserve([claim("k", amount, 100, DAY_S)], 30)
    await store.settle(held, [0.0])
    return admission.admitted


async def test_a_full_server_still_takes_settlements_and_gets_the_rest_when_it_has_room() -> None:
    own = start()
    try:
        async with open_store(at=url(own)) as store:
            held, _ = await store.reserve([claim("k", 60, 100, DAY_S)], 30)
            own.client().config_set("maxmemory", 1)
            await store.settle(held, [20.0])
            alone, admission = await store.reserve([claim("k", 10, 100, DAY_S)], 30)
            assert admission.degraded
            await store.settle(alone, [10.0])
            own.client().config_set("maxmemory", 0)
            alone, admission = await store.reserve([claim("k", 10, 100, DAY_S)], 30)
            assert not admission.degraded
            store._catch_up()
            await until(lambda: _left(store, 60), 2)
            assert not await _left(store, 61)
    finally:
        own.stop()


async def test_a_server_that_is_away_at_the_start_is_waited_for() -> None:
    async with fault_proxy(url()) as door:
        await door.close_door()
        async with open_store(at=f"valkey://127.0.0.1:{door.port}") as store:
            assert (await store.admit("k", 10, 60)).degraded
            await door.open_door()
            await until(lambda: store.up, 5)
            assert not (await store.admit("k", 10, 60)).degraded


async def test_a_connection_that_dies_while_the_other_is_opened_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Line] = []

    class Noted(Line):
        async def open(self) -> None:
            made.append(self)
            await super().open()

    async def dying(line: Line) -> bytes:
        monkeypatch.undo()
        made[0]._lose("it died")
        return b"a run"

    monkeypatch.setattr(link, "Line", Noted)
    monkeypatch.setattr(link, "_run_id", dying)
    async with open_store() as store:
        assert not store.up
        await until(lambda: store.up, 5)
        assert await store.get("k") is None


async def test_callers_who_leave_at_any_moment_never_get_each_other_s_answers() -> None:
    async with open_store(max_bytes=0) as store:
        for i in range(20):
            await store.put(f"k{i}", f"canary-{i}".encode(), ttl_s=60)
        chance = random.Random(7)

        async def ask(i: int) -> None:
            assert await store.get(f"k{i % 20}") == f"canary-{i % 20}".encode()

        tasks = []
        for i in range(2_000):
            tasks.append(asyncio.create_task(ask(i)))
            if chance.random() < 0.3:
                chance.choice(tasks).cancel()
            if chance.random() < 0.1:
                await asyncio.sleep(0)
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert store.up
    assert sum(isinstance(one, asyncio.CancelledError) for one in found) > 50
    assert [one for one in found if one is not None and not isinstance(one, asyncio.CancelledError)] == []


async def test_over_tls_the_certificate_is_checked(tmp_path: Path) -> None:
    async with _tls_door(tmp_path) as at:
        async with open_store(at=at, ca_file=str(tmp_path / "certificate.pem")) as store:
            assert not (await store.admit("k", 10, 60)).degraded
        async with open_store(at=at) as stranger:
            assert (await stranger.admit("k", 10, 60)).degraded


@asynccontextmanager
async def _tls_door(folder: Path) -> AsyncIterator[str]:
    """TLS in front of the shared server."""
    async with self_signed_server(folder):
        pass
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(65_536):
            writer.write(piece)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", server().port)
        await asyncio.gather(copy(reader, up_writer), copy(up_reader, writer), return_exceptions=True)

    door = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield f"valkeys://127.0.0.1:{door.sockets[0].getsockname()[1]}"
    finally:
        door.close()
