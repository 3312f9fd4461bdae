"""Clients that ask for whole answers and read none: each is given up after a while, and all together hold only so much."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

import pytest
import uvicorn

from bascule.server.protocol import Protocol
from bascule.server.run import Server, bind
from bascule.server.unread import Unread
from bascule.testing.gateway import until

ANSWER = b"x" * 12_000_000  # more than the kernel keeps for a socket


async def answers(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    headers = [(b"content-length", b"%d" % len(ANSWER))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": ANSWER})


@asynccontextmanager
async def served() -> AsyncIterator[tuple[int, uvicorn.Server]]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(answers, http=Protocol, log_config=None, lifespan="off", timeout_graceful_shutdown=1)
    )
    task = asyncio.create_task(server.serve(sockets=[listener]))
    await until(lambda: server.started)
    yield listener.getsockname()[1], server
    server.should_exit = True
    await task
    listener.close()


@pytest.fixture
async def lazy() -> AsyncIterator[list[socket.socket]]:
    """Connections that are closed at the end."""
    made: list[socket.socket] = []
    yield made
    for connection in made:
        connection.close()


def ask(port: int, lazy: list[socket.socket], count: int) -> None:
    for _ in range(count):
        made = socket.socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        made.connect(("127.0.0.1", port))
        made.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        lazy.append(made)


def waiting(server: uvicorn.Server) -> list[int]:
    return [size for c in server.server_state.connections if (size := c.unread_bytes)]


async def test_an_answer_that_nobody_reads_is_given_up_and_one_that_is_read_slowly_is_not(
    lazy: list[socket.socket],
) -> None:
    async with served() as (port, server):
        ask(port, lazy, 2)
        await until(lambda: len(waiting(server)) == 2)
        unread = Unread(longest_s=10)
        assert unread.sweep(list(server.server_state.connections), 100.0) == 0
        held = sum(waiting(server))
        lazy[0].setblocking(False)

        def takes() -> bool:
            with suppress(BlockingIOError):
                lazy[0].recv(4_000_000)
            return sum(waiting(server)) < held

        await until(takes)
        assert unread.sweep(list(server.server_state.connections), 109.0) == 0
        assert unread.sweep(list(server.server_state.connections), 111.0) == 1
        await until(lambda: len(waiting(server)) == 1)
        assert unread.sweep(list(server.server_state.connections), 118.0) == 0
        assert unread.sweep(list(server.server_state.connections), 120.0) == 1
        await until(lambda: not waiting(server))


async def test_all_together_hold_only_so_much(lazy: list[socket.socket]) -> None:
    async with served() as (port, server):
        ask(port, lazy, 8)
        await until(lambda: len(waiting(server)) == 8)
        most = sum(waiting(server)) // 2
        unread = Unread(most_bytes=most, longest_s=1_000)
        assert unread.sweep(list(server.server_state.connections), 100.0) == 0, "who may be only slow is spared"
        assert unread.sweep(list(server.server_state.connections), 103.0) >= 3
        await until(lambda: sum(waiting(server)) <= most)
        assert waiting(server), "no more than needed"


async def test_the_server_looks_every_second(lazy: list[socket.socket]) -> None:
    """The product's own server, on an application that answers much."""
    bound = bind("127.0.0.1", 0)
    server = Server(cast("Any", answers), bound, 1.0)
    task = asyncio.create_task(server.serve(sockets=[bound]))
    await until(lambda: server.started)
    server._unread = Unread(longest_s=0.5)
    ask(bound.getsockname()[1], lazy, 1)
    await until(lambda: len(waiting(server)) == 1)
    await until(lambda: not server.server_state.connections, within_s=20)
    server.should_exit = True
    await task
    bound.close()
