"""Serving: one process, one loop. Prints its address when ready, drains on SIGTERM, and refuses an open door without keys."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ipaddress
import logging
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import uvicorn

from bascule.core.errors import BasculeError, ConfigError
from bascule.server.app import Application, create_app
from bascule.server.protocol import Protocol, close_slow_heads
from bascule.server.unread import Unread

if TYPE_CHECKING:
    from bascule.bootstrap import App
    from bascule.settings import ServerSettings, Settings

log = logging.getLogger(__name__)

_LAME_DUCK_S: Final = 1.0  # after SIGTERM: told to go elsewhere, still answered
_KEEP_ALIVE_S: Final = 30
_LAST_CALL_S: Final = 0.2  # from a connection's acceptance to its first request
_SWEEP_TICKS: Final = 10  # of 0.1 s each


def serve(
    settings: Settings, *, announce: Callable[[str], object], source: Callable[[], Settings] | None = None
) -> None:
    """Run until SIGTERM or SIGINT. `announce` gets the address once requests are answered. SIGHUP reloads the configuration
    from `source`.

    Raises ConfigError: settings that cannot work, a port in use, or a public address without an API key.
    """
    factory = uvicorn.Config(_nothing, loop="auto").get_loop_factory()
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_serve(settings, announce, source))


async def _serve(settings: Settings, announce: Callable[[str], object], source: Callable[[], Settings] | None) -> None:
    from bascule.bootstrap import open_app

    async with open_app(settings, work=True, source=source) as app, listen(app, settings.server) as (server, address):
        server.on_ready = lambda: announce(address)
        _settle_memory()
        schedules = app.sources.kept() if app.sources is not None else contextlib.nullcontext()
        with reload_on_hangup(app):
            async with schedules:
                await server.serve(sockets=[server.socket])


def _settle_memory() -> None:
    """What was loaded at start stays until the end: the collector need not walk it again and again while calls pass."""
    gc.collect()
    gc.freeze()
    gc.enable()
    gc.set_threshold(20_000, 20, 50)


@contextlib.contextmanager
def reload_on_hangup(app: App) -> Iterator[None]:
    """SIGHUP reads the configuration again; one that is not valid is logged and changes nothing."""
    loop, reloader = asyncio.get_running_loop(), app.reloader
    running: set[asyncio.Task[None]] = set()

    async def reload() -> None:
        assert reloader is not None
        try:
            await reloader.reload()
        except BasculeError as error:
            log.error("the configuration is not reloaded: %s", error.message)

    def begin() -> None:
        task = loop.create_task(reload())
        running.add(task)
        task.add_done_callback(running.discard)

    hangup = getattr(signal, "SIGHUP", None)
    if reloader is not None and hangup is not None:
        with contextlib.suppress(NotImplementedError, ValueError, RuntimeError):  # not in the main thread
            loop.add_signal_handler(hangup, begin)
    yield


@asynccontextmanager
async def listen(app: App, settings: ServerSettings) -> AsyncIterator[tuple[Server, str]]:
    """A server bound to its port and its address, not yet answering. Raises ConfigError."""
    if not is_loopback(settings.host) and not await app.catalogue.active_keys():
        raise ConfigError(
            f"server.host is {settings.host}, which others can reach, and there is no API key yet. "
            "Run `bascule init` first: it makes one."
        )
    bound = bind(settings.host, settings.port)
    with contextlib.closing(bound):
        server = Server(create_app(app), bound, settings.drain_s)
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        yield server, f"http://{host}:{bound.getsockname()[1]}"


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def bind(host: str, port: int) -> socket.socket:
    """Raises ConfigError when the address is in use or not ours."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, proto)
    except OSError as error:
        raise ConfigError(f"server.host {host!r} cannot be listened on: {error.strerror or error}.") from None
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise ConfigError(
            f"Port {port} on {host} cannot be listened on: {error.strerror or error}. Choose another with --port."
        ) from None
    bound.setblocking(False)
    return bound


class Server(uvicorn.Server):
    """uvicorn, draining: after SIGTERM it is not ready, answers for a moment longer, then finishes what runs."""

    def __init__(self, application: Application, bound: socket.socket, drain_s: float) -> None:
        lame_duck_s = min(_LAME_DUCK_S, drain_s / 4)
        super().__init__(
            uvicorn.Config(
                application,
                loop="none",
                http=Protocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=max(1, round(drain_s - lame_duck_s)),
            )
        )
        self.application = application
        self.socket = bound
        self.on_ready: Callable[[], object] = lambda: None
        self._lame_duck_s = lame_duck_s
        self._unread = Unread()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.on_ready()

    async def on_tick(self, counter: int) -> bool:
        if counter % _SWEEP_TICKS == 0:
            connections, now_s = list(self.server_state.connections), asyncio.get_running_loop().time()
            close_slow_heads(connections, now_s)
            self._unread.sweep(connections, now_s)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """The door first. Who came through it in the last moment is still heard, where uvicorn would hang up on them."""
        late = self._last_arrivals()
        for server in self.servers:
            server.close()
        loop = asyncio.get_running_loop()
        for connection in late:
            await loop.connect_accepted_socket(self._protocol, connection)
        await asyncio.sleep(_LAST_CALL_S)
        await super().shutdown(sockets)

    def _last_arrivals(self) -> list[socket.socket]:
        """Connections that the kernel has taken and nobody has accepted yet: closing the door would reset them."""
        found = []
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.socket.accept()
                connection.setblocking(False)
                found.append(connection)
        return found

    def _protocol(self) -> asyncio.Protocol:
        protocol = self.config.http_protocol_class
        return protocol(config=self.config, server_state=self.server_state, app_state={})  # type: ignore[call-arg]

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals in the loop. Unlike the original, none is raised again: the App closes in good order first."""
        loop = asyncio.get_running_loop()
        signals = (signal.SIGTERM, signal.SIGINT)
        with contextlib.suppress(NotImplementedError, ValueError, RuntimeError):  # not in the main thread
            for number in signals:
                loop.add_signal_handler(number, self.stop, number)
        try:
            yield
        finally:
            with contextlib.suppress(NotImplementedError, ValueError, RuntimeError):
                for number in signals:
                    loop.remove_signal_handler(number)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Begin to drain; a second time, or for an interrupt from the keyboard, without the lame-duck moment."""
        if self.should_exit and number == signal.SIGINT:
            self.force_exit = True
        if self.application.draining or number == signal.SIGINT:
            self.application.drain()
            self.should_exit = True
            return
        log.info("draining: %d requests are running", self.application.running)
        self.application.drain()
        asyncio.get_running_loop().call_later(self._lame_duck_s, self._close_door)

    def _close_door(self) -> None:
        self.should_exit = True


async def _nothing(scope: object, receive: object, send: object) -> None:
    """Stands where uvicorn wants an application to name a loop."""
