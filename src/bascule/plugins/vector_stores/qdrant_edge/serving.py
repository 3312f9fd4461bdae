"""The process that has one generation open: `python -m ...qdrant_edge.serving FOLDER DESCRIPTOR...`, one thread for each socket.

It opens the generation, says so, and answers until a socket ends: with the service's close of it or with the service itself,
also by kill -9. It only reads, so it may end at any moment.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from pathlib import Path

import numpy as np

from bascule.plugins.vector_stores.qdrant_edge import wire
from bascule.plugins.vector_stores.qdrant_edge.generation import Generation
from bascule.plugins.vector_stores.qdrant_edge.layout import EngineRefused, Within


def answer(generation: Generation, question: wire.Question) -> wire.Reply:
    within = Within(question.places, frozenset(np.frombuffer(question.allowed, "<i8").tolist()))
    try:
        if isinstance(question, wire.Nearest):
            query = np.frombuffer(question.vector, "<f4")
            return wire.Found(generation.dense(query, within, question.limit, question.ef).tobytes())
        found = generation.lexical(question.tenant_id, question.weights, within, question.limit)
        return wire.Found(found.slots.tobytes(), found.last, found.times.tobytes())
    except EngineRefused as error:
        return wire.Refused(type(error.__cause__).__name__)


def _serve(generation: Generation, connection: socket.socket) -> None:
    try:
        with contextlib.suppress(EOFError, OSError):
            while True:
                wire.send(connection, answer(generation, wire.questions.decode(wire.receive(connection))))
    finally:
        os._exit(0)  # whatever happened: half a process would leave a question without its answer


def main() -> None:
    os.umask(0o077)
    first, *others = (socket.socket(fileno=int(handle)) for handle in sys.argv[2:])
    generation = Generation(Path(sys.argv[1]))  # that it ended says that it could not
    wire.send(first, wire.Ready())
    for connection in others:
        threading.Thread(target=_serve, args=(generation, connection), daemon=True).start()
    _serve(generation, first)


if __name__ == "__main__":
    main()
