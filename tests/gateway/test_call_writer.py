"""No call record is lost: the store may be down, and calls wait rather than go without one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from bascule.core.calls import CallRecord
from bascule.core.deadlines import Deadline
from bascule.core.errors import StorageError
from bascule.gateway.call_writer import CallWriter
from bascule.gateway.gateway import build
from bascule.gateway.routes import Limits, Options, Route, Target
from bascule.plugins.state_stores.memory import MemoryState
from bascule.testing.gateway import ScriptedModel, call, request, until


class Store:
    def __init__(self) -> None:
        self.down = True
        self.ids: list[str] = []

    async def add_calls(self, records: Sequence[CallRecord]) -> None:
        if self.down:
            raise StorageError("down")
        self.ids += [record.id for record in records]


def gateway(writer: CallWriter):
    routes = {"fast": Route(model="fast", targets=(Target(provider="p", model="m"),), cache_ttl_s=0)}
    model = ScriptedModel()
    return model, build(routes, {"p": model}, MemoryState(), writer.sink, lambda who: Limits(), Options(), room=writer)


async def test_while_the_store_is_down_calls_wait_and_when_it_is_back_every_record_is_there_once() -> None:
    store = Store()
    writer = CallWriter(store, most_waiting=5)  # type: ignore[arg-type]
    model, made = gateway(writer)
    calls = [call() for _ in range(12)]
    for one in calls[:5]:
        await made.chat(request(one.id), one)
    await writer.flush()
    assert (writer.waiting, store.ids) == (5, [])
    waiting = [asyncio.create_task(made.chat(request(one.id), one)) for one in calls[5:]]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(model.requests) == 5 and not any(task.done() for task in waiting)
    store.down = False
    await writer.flush()
    await asyncio.gather(*waiting)
    await writer.flush()
    assert sorted(store.ids) == sorted(one.id for one in calls)


async def test_a_call_that_waits_past_its_deadline_is_refused_and_costs_nothing() -> None:
    writer = CallWriter(Store(), most_waiting=1)  # type: ignore[arg-type]
    model, made = gateway(writer)
    await made.chat(request(), call())
    with pytest.raises(StorageError) as caught:
        await made.chat(request("x"), call(timeout_s=0.05))
    assert caught.value.http_status == 503 and caught.value.retryable and len(model.requests) == 1
    with pytest.raises(StorageError):
        await writer.wait(Deadline.after(0.0))


async def test_the_writer_tells_each_record_to_whoever_also_listens() -> None:
    heard: list[CallRecord] = []
    store = Store()
    store.down = False
    writer = CallWriter(store, also=heard.append)  # type: ignore[arg-type]
    _, made = gateway(writer)
    running = asyncio.create_task(writer.run())
    await made.chat(request(), call())
    await until(lambda: store.ids)
    running.cancel()
    assert [record.id for record in heard] == store.ids
