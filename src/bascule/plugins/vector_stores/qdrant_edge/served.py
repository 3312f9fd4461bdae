"""A generation in a process of its own, as the service sees it. Blocking: called from threads.

The engine holds the interpreter lock while it opens a shard, for seconds, and could take the service down with it: so neither
its package nor its memory is in the service. A process that dies, or does not answer in time, is ended and the search answered
without it.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from bascule.plugins.vector_stores.qdrant_edge import wire
from bascule.plugins.vector_stores.qdrant_edge.layout import (
    EngineRefused,
    Floats,
    Proposed,
    Slots,
    Within,
    clean_environment,
    read_facts,
)

log = logging.getLogger(__name__)

MODULE: Final = "bascule.plugins.vector_stores.qdrant_edge.serving"
CONNECTIONS: Final = 2  # as many as threads that search
OPEN_S: Final = 600.0
ANSWER_S: Final = 3.0
END_S: Final = 5.0


class Served:
    """A Proposer. Opens in the background: `wait` before it is asked."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError or ValueError when the generation is not whole."""
        self.folder = folder
        self.facts = read_facts(folder)
        ours, theirs = zip(*(socket.socketpair() for _ in range(CONNECTIONS)), strict=True)
        self._connections: tuple[socket.socket, ...] = ours
        self._idle: queue.SimpleQueue[socket.socket] = queue.SimpleQueue()
        handles = [each.fileno() for each in theirs]
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", MODULE, str(folder), *map(str, handles)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=clean_environment(),
                pass_fds=handles,
                start_new_session=True,  # an interrupt at the terminal is the service's to handle
            )
        except BaseException:
            self._hang_up()
            raise
        finally:
            for each in theirs:
                each.close()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def process_id(self) -> int:
        return self._process.pid

    def wait(self) -> None:
        """Until it can be asked. Raises EngineRefused when the engine cannot open it, or `close` came first."""
        first = self._connections[0]
        first.settimeout(OPEN_S)
        if not isinstance(self._reply(first), wire.Ready):
            self.close()
            raise EngineRefused("The search engine refused.")
        for each in self._connections:
            each.settimeout(ANSWER_S)
            self._idle.put(each)

    def dense(self, query: Floats, within: Within, limit: int, ef: int) -> Slots:
        allowed = _packed(within.allowed)
        found = self._ask(wire.Nearest(query.astype("<f4").tobytes(), list(within.places), allowed, limit, ef))
        return np.frombuffer(found.slots, "<i8")

    def lexical(self, tenant_id: int, weights: Mapping[bytes, float], within: Within, limit: int) -> Proposed:
        allowed = _packed(within.allowed)
        found = self._ask(wire.Worded(tenant_id, dict(weights), list(within.places), allowed, limit))
        slots = np.frombuffer(found.slots, "<i8")
        return Proposed(slots, found.last, np.frombuffer(found.times, "<u4").reshape(slots.size, len(weights)))

    def close(self) -> None:
        """It ends when a socket does; no search may be under way."""
        self._hang_up()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:  # it is still opening, which nothing interrupts
            self._end()

    def _ask(self, question: wire.Question) -> wire.Found:
        connection = self._idle.get()
        try:
            with contextlib.suppress(OSError):  # the answer's absence says it
                wire.send(connection, question)
            reply = self._reply(connection)
        finally:
            self._idle.put(connection)  # a closed one, too: whoever takes it learns that the engine is gone
        if not isinstance(reply, wire.Found):
            raise EngineRefused("The search engine refused.")
        return reply

    def _reply(self, connection: socket.socket) -> wire.Reply:
        try:
            reply = wire.replies.decode(wire.receive(connection))
        except (EOFError, OSError, msgspec.DecodeError) as error:
            connection.close()  # what may still come on it answers no later question
            self._end()
            raise EngineRefused("The search engine is gone.") from error
        if isinstance(reply, wire.Refused):
            raise EngineRefused("The search engine refused.") from RuntimeError(reply.why)
        return reply

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()

    def _hang_up(self) -> None:
        for each in self._connections:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


def opened(folder: Path) -> Served:
    served = Served(folder)
    served.wait()
    return served


def _packed(allowed: frozenset[int]) -> bytes:
    return np.fromiter(allowed, "<i8", len(allowed)).tobytes()
