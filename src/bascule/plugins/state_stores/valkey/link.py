"""The way to the server: opens the connections, notices that it is away, and comes back by itself.

While it is away nobody waits for it: every call is told so at once, and one task knocks now and then.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, Final

from prometheus_client import Counter, Gauge
from valkey.asyncio.connection import AbstractConnection
from valkey.exceptions import NoScriptError, ReadOnlyError, ResponseError, ValkeyError

from bascule.core.errors import StorageError
from bascule.plugins.state_stores.valkey.line import Line, Lost
from bascule.plugins.state_stores.valkey.scripts import scripts

log = logging.getLogger(__name__)

LOST: Final = Counter("bascule_state_store_lost_total", "Times the shared state store was lost.")
AWAY: Final = Gauge("bascule_state_store_away", "1 while the shared state store is away and limits are decided alone.")

BEAT_S: Final = 0.5
RETRY_S: Final = 1.0  # after a second loss in a row; then longer and longer
RETRY_MAX_S: Final = 5.0
STEADY_S: Final = 5.0  # a connection that held this long was a good one
OPEN_S: Final = 1.0
REFUSED_TOLD_S: Final = 60.0

ENTRIES: Final = 0  # may be large: a connection of their own, so that no limit waits behind one
COUNTERS: Final = 1


class Link:
    """`stamp` is the time for the scripts, "" for the server's own. `on_new_memory`: the server was flushed or restarted, and
    has forgotten; `on_back`: it is there again."""

    def __init__(
        self,
        make: Callable[[], AbstractConnection],
        base: str,
        timeout_s: float,
        stamp: Callable[[], str],
        *,
        on_back: Callable[[], None],
        on_new_memory: Callable[[], None],
    ) -> None:
        self._make = make
        self._base = base
        self._timeout_s = timeout_s
        self._stamp = stamp
        self._on_back = on_back
        self._on_new_memory = on_new_memory
        self._lines: list[Line] = []
        self._lost = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._strikes = 0
        self._since_s = 0.0
        self._told_refused_s = float("-inf")
        self._run_id = b""
        self._epoch = b""
        self._server_us = 0.0
        self._heard_s = 0.0

    @property
    def up(self) -> bool:
        return bool(self._lines)

    async def start(self) -> None:
        """Raises ResponseError and AuthenticationError of a server that refuses us; one that is away is waited for."""
        try:
            await self._open()
        except ResponseError:
            raise
        except (ValkeyError, Lost, OSError, TimeoutError) as error:
            if type(error).__name__ in ("AuthenticationError", "AuthorizationError"):
                raise
            self._away(_words(error))
        self._keeper = asyncio.create_task(self._keep())

    async def aclose(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        lines, self._lines = self._lines, []
        for line in lines:
            await line.aclose()
        AWAY.set(0)

    def earliest_us(self, age_s: float) -> str:
        """The earliest time, by the server's clock, at which work that began `age_s` ago can have begun; "" when not known.

        What is sent late arrives with an age that is too small; this does not age on the way.
        """
        if not self._server_us or self._stamp():
            return ""
        return f"{self._server_us + (time.monotonic() - self._heard_s - age_s) * 1e6:.0f}"

    async def run(self, place: int, name: str, *arguments: str | bytes | int | float) -> Any:
        """What the script says. Raises StorageError when the server is away, silent, or refuses."""
        try:
            return await self.send(place, name, *arguments)
        except NoScriptError:
            return await self._again(place, name, *arguments)
        except Lost as lost:
            raise _away() from lost
        except ReadOnlyError as error:  # another one is the primary now
            self._lose("it has become a replica")
            raise _away() from error
        except ResponseError as error:
            self._refused(error)
            raise _away() from error

    def send(self, place: int, name: str, *arguments: str | bytes | int | float) -> asyncio.Future[Any]:
        """On its way, in the order of sending. Raises StorageError when the server is known to be away."""
        if not self._lines:
            raise _away()
        return self._lines[place].ask("EVALSHA", scripts()[name].sha, 1, self._base, self._stamp(), *arguments)

    async def _again(self, place: int, name: str, *arguments: str | bytes | int | float) -> Any:
        """The server was told to forget its scripts: it did nothing yet."""
        if not self._lines:
            raise _away()
        source = scripts()[name].source
        try:
            return await self._lines[place].ask("EVAL", source, 1, self._base, self._stamp(), *arguments)
        except (Lost, ResponseError) as error:
            raise _away() from error

    # ------------------------------------------------------------ away and back

    async def _keep(self) -> None:
        while True:
            if self._lines:
                try:
                    async with asyncio.timeout(BEAT_S):
                        await self._lost.wait()
                except TimeoutError:
                    await self._beat()
                continue
            await asyncio.sleep(min(RETRY_S * 1.5 ** (self._strikes - 1), RETRY_MAX_S) if self._strikes else 0.0)
            try:
                await self._open()
            except (ValkeyError, Lost, OSError, TimeoutError) as error:
                self._strikes += 1
                log.debug("the state store is still away: %s", _words(error))
            else:
                log.warning("the state store is back: limits are shared again")
                AWAY.set(0)
                self._on_back()

    async def _open(self) -> None:
        lines = [Line(self._make(), self._timeout_s, self._lose) for _ in (ENTRIES, COUNTERS)]
        try:
            async with asyncio.timeout(max(OPEN_S, 4 * self._timeout_s)):
                for line in lines:
                    await line.open()
                await asyncio.gather(*(lines[0].ask("SCRIPT", "LOAD", one.source) for one in scripts().values()))
                self._run_id = await _run_id(lines[1])
                await self._begin(lines[1])
            for line in lines:  # one may have died while the other was asked
                if line.lost:
                    raise Lost(line.lost)
        except BaseException:
            for line in lines:
                line.close()
            raise
        self._lost.clear()
        self._lines = lines
        self._since_s = time.monotonic()

    async def _beat(self) -> None:
        """Notices a connection that died while nobody used it, and a server that was flushed."""
        lines = self._lines
        try:
            await self._begin(lines[COUNTERS])
        except Lost:
            pass  # told by the line
        except ReadOnlyError:
            self._lose("it has become a replica")
        except ResponseError as error:
            self._refused(error)

    async def _begin(self, line: Line) -> None:
        script = scripts()["begin"]
        try:
            answer = await line.ask("EVALSHA", script.sha, 1, self._base, self._stamp(), self._run_id)
        except NoScriptError:
            answer = await line.ask("EVAL", script.source, 1, self._base, self._stamp(), self._run_id)
        epoch, now_us = answer
        self._server_us, self._heard_s = float(now_us), time.monotonic()
        if self._epoch and epoch != self._epoch:
            log.warning("the state store was flushed or restarted: what it kept is asked for anew")
            self._on_new_memory()
        self._epoch = epoch

    def _lose(self, reason: str) -> None:
        if not self._lines:
            return
        lines, self._lines = self._lines, []
        self._strikes = 0 if time.monotonic() - self._since_s > STEADY_S else self._strikes + 1
        for line in lines:
            line.close(reason)
        self._away(reason)
        self._lost.set()

    def _away(self, reason: str) -> None:
        LOST.inc()
        AWAY.set(1)
        log.warning("the state store is away, limits are decided by this server alone: %s", reason)

    def _refused(self, error: ResponseError) -> None:
        now_s = time.monotonic()
        if now_s - self._told_refused_s > REFUSED_TOLD_S:
            self._told_refused_s = now_s
            log.warning("the state store refuses: %s", _words(error))


async def _run_id(line: Line) -> bytes:
    """Which run of the server this is; b"" where it does not say."""
    try:
        told: bytes = await line.ask("INFO", "server")
    except ResponseError:
        return b""
    for one in told.splitlines():
        if one.startswith(b"run_id:"):
            return one.partition(b":")[2].strip()
    return b""


def _away() -> StorageError:
    return StorageError("The shared state store does not answer. Try again in a moment.", retry_after_s=1.0)


def _words(error: BaseException) -> str:
    return str(error)[:200] or type(error).__name__
