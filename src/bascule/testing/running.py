"""A real Bascule on a free loopback port, inside this process: for end-to-end tests of ours and of plugin authors."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn

from bascule.bootstrap import App, init, open_app
from bascule.server.app import create_app
from bascule.server.protocol import Protocol
from bascule.settings import Exact, Settings


def settings_for(data: Path, **sections: Any) -> Settings:
    """Settings from these values alone: nothing of the machine's environment, no embedding model unless asked for."""
    sections.setdefault("rag", {"embedding_model": None})
    return Exact(data=data, **sections)


@asynccontextmanager
async def running(
    settings: Settings, *, work: bool = True, source: Callable[[], Settings] | None = None
) -> AsyncIterator[tuple[str, App, str]]:
    """(base URL, the open App, the admin key). The server has stopped and every resource is closed at exit."""
    admin = await init(settings) or ""
    async with open_app(settings, work=work, source=source) as app:
        listener = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(
            create_app(app),
            http=Protocol,
            log_config=None,
            lifespan="off",
            access_log=False,
            server_header=False,
            proxy_headers=False,
        )
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            await until(lambda: server.started or task.done(), 10)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", app, admin
        finally:
            server.should_exit = True
            await task
            listener.close()


async def until(condition: Any, within_s: float, every_s: float = 0.01) -> None:
    """Wait until `condition()` (which may be a coroutine function) is true. Raises TimeoutError."""
    async with asyncio.timeout(within_s):
        while True:
            value = condition()
            if asyncio.iscoroutine(value):
                value = await value
            if value:
                return
            await asyncio.sleep(every_s)
