"""Serving as a process would: binding, refusing an open door, draining."""

from __future__ import annotations

import asyncio
import signal

import aiohttp
import pytest

from bascule.core.errors import ConfigError
from bascule.server.run import Server, bind, is_loopback, listen
from bascule.settings import ServerSettings
from bascule.testing.server import CHATTER, FakeApp, a_key, until

CHAT = "/v1/chat/completions"
BODY = {"model": "fast", "messages": [{"role": "user", "content": "Hi"}]}
AUTH = {"x-api-key": CHATTER}


async def test_a_public_address_without_a_key_is_refused_with_the_way_out():
    app = FakeApp()
    with pytest.raises(ConfigError, match="bascule init"):
        async with listen(app, ServerSettings(host="0.0.0.0", port=0)):
            pass

    async def one_key():
        return [a_key("k1")]

    app.catalogue.active_keys = one_key
    async with listen(app, ServerSettings(host="0.0.0.0", port=0)) as (_, address):
        assert address.startswith("http://0.0.0.0:")


async def test_loopback_needs_no_key():
    async with listen(FakeApp(), ServerSettings(host="127.0.0.1", port=0)) as (_, address):
        assert int(address.rpartition(":")[2]) > 0


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("h.example", False),
    ],
)
def test_loopback_is_told_from_the_rest(host, expected):
    assert is_loopback(host) is expected


def test_a_port_in_use_is_a_configuration_error_that_names_it():
    with bind("127.0.0.1", 0) as first:
        first.listen()
        port = first.getsockname()[1]
        with pytest.raises(ConfigError, match=str(port)):
            bind("127.0.0.1", port)


def test_a_name_that_does_not_resolve_is_a_configuration_error():
    with pytest.raises(ConfigError, match=r"server\.host"):
        bind("256.256.256.256", 0)


async def start(app: FakeApp, drain_s: float) -> tuple[Server, str, asyncio.Task[None]]:
    from bascule.server.app import create_app

    bound = bind("127.0.0.1", 0)
    server = Server(create_app(app), bound, drain_s)
    ready = asyncio.Event()
    server.on_ready = ready.set
    task = asyncio.create_task(server.serve(sockets=[bound]))
    await asyncio.wait_for(ready.wait(), 10)
    return server, f"http://127.0.0.1:{bound.getsockname()[1]}", task


async def test_sigterm_makes_it_unready_and_lets_running_requests_finish():
    app = FakeApp()
    app.gateway.hold = asyncio.Event()
    server, url, task = await start(app, drain_s=8)
    async with aiohttp.ClientSession(url) as http:
        running = asyncio.create_task(http.post(CHAT, json=BODY, headers=AUTH))
        await until(lambda: app.gateway.requests, 5)
        signal.raise_signal(signal.SIGTERM)
        await until(lambda: server.application.draining, 5)
        async with http.get("/readyz") as reply:  # the lame-duck moment: still answering, and saying so
            assert reply.status == 503
        await until(lambda: server.should_exit, 5)
        app.gateway.hold.set()
        async with await running as reply:
            assert reply.status == 200
    await asyncio.wait_for(task, 10)


async def test_what_does_not_finish_while_draining_ends_in_a_documented_error():
    app = FakeApp()
    app.gateway.hold = asyncio.Event()
    server, url, task = await start(app, drain_s=1)
    async with aiohttp.ClientSession(url) as http:
        whole = asyncio.create_task(http.post(CHAT, json=BODY, headers=AUTH))
        streamed = await http.post(CHAT, json=BODY | {"stream": True}, headers=AUTH)
        await until(lambda: len(app.gateway.requests) == 2, 5)
        server.stop()
        async with await whole as reply:
            assert reply.status == 503
            assert (await reply.json())["error"]["code"] == "server_stopping"
        text = await streamed.text()
    await asyncio.wait_for(task, 10)
    assert "event: error" in text and "server_stopping" in text and "[DONE]" not in text
    assert app.gateway.cancelled == 2
