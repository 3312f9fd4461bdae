"""Two servers get the same bytes at the same moments; one of them may answer repetitions at once. They must never differ."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import tempfile
from pathlib import Path
from typing import Any, cast

import msgspec
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from uvicorn.server import ServerState

from bascule.access.authenticate import Authenticator
from bascule.bootstrap.calls import limits_of
from bascule.core.calls import CallRecord
from bascule.core.keys import KeyRecord
from bascule.gateway.cache_key import model_tag
from bascule.gateway.gateway import Gateway, build
from bascule.gateway.routes import Options, Route, Target
from bascule.plugins.state_stores.memory import MemoryState
from bascule.server.app import create_app
from bascule.server.protocol import Protocol
from bascule.settings import Exact
from bascule.testing.gateway import ScriptedModel
from bascule.testing.server import FakeApp

KEYS = ("bsk_ann", "bsk_ben", "bsk_other")
TENANTS = ("t", "t", "u")
BODIES = (
    b'{"model":"fast","messages":[{"role":"user","content":"a"}]}',
    b'{"model": "fast","messages":[{"role":"user","content":"a"}]}',
    b'{"model":"fast","messages":[{"role":"user","content":"b"}],"user":"x"}',
    b'{"model":"own","messages":[{"role":"user","content":"a"}]}',
    b'{"model":"fast","messages":[{"role":"user","content":"a"}],"stream":true}',
    b'{"model":"none","messages":[{"role":"user","content":"a"}]}',
    b'{"model":"fast","messages":[]}',
)
HEADERS = (
    b"",
    b"",
    b"x-note: 1\r\n",
    b"cache-control: no-cache\r\n",
    b"cache-control: no-store\r\n",
    b"cache-control: max-age=0\r\n",
    b"cache-control: only-if-cached\r\n",
    b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n",
)
PATHS = (b"/v1/chat/completions", b"/v1/chat/completions", b"/v1/responses", b"/v1/chat/completions?x=1")


def request(key: int, body: int, header: int, path: int) -> bytes:
    head = b"POST %b HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %b\r\n%bcontent-length: %d\r\n\r\n"
    return head % (PATHS[path], KEYS[key].encode(), HEADERS[header], len(BODIES[body])) + BODIES[body]


class Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class World:
    """A whole server but for its socket and its database, by a clock of its own. `at_once`: repetitions are answered so."""

    def __init__(self, *, at_once: bool) -> None:
        self.now_s, self.at_once = 1_000.0, at_once
        self.records: list[CallRecord] = []
        self.models: list[ScriptedModel] = []
        self.keys = {i: _key(i) for i in range(len(KEYS))}
        self.state = MemoryState(clock=lambda: self.now_s)
        self.auth = Authenticator(cast("Any", self))
        self.limits_of = limits_of(Exact(data=Path(tempfile.gettempdir())), self.auth)
        self.gateway = self.layers("m")
        app = FakeApp()
        app.authenticator, app.gateway = cast("Any", self.auth), cast("Any", self.gateway)
        self.app = create_app(cast("Any", app))
        self.config = uvicorn.Config(self.app, http=Protocol, lifespan="off", log_config=None, proxy_headers=False)
        self.config.load()
        self.connection()

    def layers(self, target: str) -> Gateway:
        self.models.append(ScriptedModel())
        made = (Target(provider="p", model=target),)
        routes = {
            "fast": Route(model="fast", targets=made, cache_ttl_s=3_600.0),
            "own": Route(model="own", targets=made, cache_ttl_s=3_600.0, cache_scope="key"),
        }
        return build(routes, {"p": self.models[-1]}, self.state, self.records.append, self.limits_of, Options())

    def connection(self) -> None:
        self.transport = Transport()
        self.protocol = Protocol(self.config, ServerState(), {})  # type: ignore[no-untyped-call]
        self.protocol.connection_made(self.transport)
        if not self.at_once:
            self.protocol._answer = None

    async def change_mark(self) -> str:
        return "x"

    async def active_keys(self) -> list[KeyRecord]:
        return list(self.keys.values())

    async def all_memberships(self) -> dict[tuple[str, str], frozenset[str]]:
        return {}

    async def inactive_subjects(self) -> frozenset[tuple[str, str]]:
        return frozenset()

    async def send(self, *pieces: bytes) -> bytes:
        """What is answered: nothing of it differs between two worlds but ids and dates."""
        if self.transport.closed:
            self.connection()
        self.transport.written = b""
        for piece in pieces:
            self.protocol.data_received(piece)
            for _ in range(3):
                await asyncio.sleep(0)
        async with asyncio.timeout(5):
            while self.protocol.cycle and not (self.protocol.cycle.response_complete and not self.protocol.pipeline):
                await asyncio.sleep(0)
        return re.sub(rb"(x-request-id|date|age): [^\r]*", rb"\1", self.transport.written)

    async def play(self, act: tuple[Any, ...]) -> object:
        match act:
            case ("ask", *asked):
                return await self.send(request(*asked))
            case ("in pieces", at, *asked):
                data = request(*asked)
                return await self.send(data[: at % len(data)], data[at % len(data) :])
            case ("two at once", *asked):
                return await self.send(request(*asked) + request(*asked))
            case ("purge", tenant):
                return await self.state.purge(model_tag(tenant, "fast"))
            case ("wait", seconds):
                self.now_s += seconds
            case ("limit", key, limit) if key in self.keys:
                self.keys[key] = msgspec.structs.replace(self.keys[key], requests_per_min=limit)
                await self.auth.refresh()
            case ("revoke", key):
                self.keys.pop(key, None)
                await self.auth.refresh()
            case ("reload", target):
                self.gateway.adopt(self.layers(target))
        return None

    def told(self) -> list[dict[str, Any]]:
        """The records, but for ids and times."""
        shown = [msgspec.to_builtins(record) for record in self.records]
        for record in shown:
            for name in ("id", "started_at_s", "latency_s", "first_byte_s", "attempts"):
                del record[name]
        return shown


def _key(i: int) -> KeyRecord:
    return KeyRecord(
        id=f"k{i}", tenant=TENANTS[i], name="n", prefix="bsk_", secret_hash=hashlib.sha256(KEYS[i].encode()).hexdigest(),
        subject="", groups=frozenset(), roles=frozenset(), scopes=frozenset({"chat"}), created_at="",
        requests_per_min=6 if i == 0 else None,
    )  # fmt: skip


def _below(values: tuple[object, ...]) -> st.SearchStrategy[int]:
    return st.integers(0, len(values) - 1)


asked = (_below(KEYS), _below(BODIES), _below(HEADERS), _below(PATHS))
often = st.tuples(st.just("ask"), st.integers(0, 2), st.integers(0, 3), st.integers(0, 2), st.integers(0, 2))
acts = st.one_of(
    often,
    often,
    often,
    st.tuples(st.just("ask"), *asked),
    st.tuples(st.just("in pieces"), st.integers(1, 400), *asked),
    st.tuples(st.just("two at once"), *asked),
    st.tuples(st.just("purge"), st.sampled_from(["t", "u"])),
    st.tuples(st.just("wait"), st.sampled_from([1.0, 20.0, 61.0, 4_000.0])),
    st.tuples(st.just("limit"), st.integers(0, 1), st.sampled_from([None, 2, 8])),
    st.tuples(st.just("revoke"), st.integers(0, 2)),
    st.tuples(st.just("reload"), st.sampled_from(["m", "n"])),
)


async def compare(played: list[tuple[Any, ...]]) -> int:
    """Play the same in both worlds; how many calls were answered at once."""
    quick, slow = World(at_once=True), World(at_once=False)
    await quick.auth.refresh()
    await slow.auth.refresh()
    whole, answered = quick.app.answer, 0

    def counted(data: bytes, default_headers: Any) -> bytes | None:
        nonlocal answered
        reply = whole(data, default_headers)
        answered += reply is not None
        return reply

    quick.app.answer = counted  # type: ignore[method-assign]
    quick.connection()
    for act in played:
        assert await quick.play(act) == await slow.play(act), act
    assert quick.told() == slow.told()
    assert [len(m.requests) for m in quick.models] == [len(m.requests) for m in slow.models]
    return answered


@settings(max_examples=2_000 if os.environ.get("BASCULE_TEST_FULL") else 15, deadline=None)
@given(st.lists(acts, min_size=4, max_size=30))
def test_a_repetition_answered_at_once_is_answered_as_by_all_layers(played: list[tuple[Any, ...]]) -> None:
    asyncio.run(compare(played))


async def test_repetitions_are_answered_at_once_at_all() -> None:
    ask = ("ask", 1, 0, 0, 0)
    assert await compare([ask] * 5) == 3  # a miss, a hit, and then
    assert await compare([ask] * 3 + [("purge", "t"), ("wait", 1.0)] + [ask] * 3) == 2
    assert await compare([ask] * 3 + [("revoke", 1)] + [ask] * 3) == 1
    assert await compare([ask] * 3 + [("reload", "n")] + [ask] * 4) == 3
    assert await compare([("ask", 0, 0, 0, 0)] * 9) == 4  # six a minute


async def test_a_connection_rests_from_its_last_answer_on_and_never_while_it_is_asked_something() -> None:
    world = World(at_once=True)
    await world.auth.refresh()
    data = request(1, 0, 0, 0)
    for _ in range(4):
        await world.send(data)
        timer = world.protocol.timeout_keep_alive_task
        assert timer is not None
        world.protocol.timeout_keep_alive_handler()  # as if it rang now
        assert not world.transport.closed
        timer.cancel()
    world.protocol.data_received(data[:20])
    world.protocol._used_s -= 1_000.0
    world.protocol.timeout_keep_alive_handler()
    assert not world.transport.closed  # a head that is slow is ended by others, sooner
    assert b"HIT" in await world.send(data[20:])
    world.protocol._used_s -= 1_000.0
    world.protocol.timeout_keep_alive_handler()
    assert world.transport.closed
    for left in (world.protocol.timeout_keep_alive_task, timer):
        if left is not None:
            left.cancel()
