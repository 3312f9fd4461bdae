"""The process that reads untrusted files: `python -m bascule.child`, started by `rag.sandbox`, one document after the other.

It takes its options from the first frame, gives up everything it does not need (`rag.confine`), and answers each further
frame with prepared documents or reasons. `--report` prints what this system lets it give up, and ends.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import BinaryIO

from bascule.core.documents import PreparedDocument
from bascule.core.errors import IngestError
from bascule.core.parsing import Parser, Recogniser
from bascule.core.recognise import find
from bascule.rag import tokens, wire
from bascule.rag.confine import Limits, OcrLimits, allow_cpu, allow_memory, confine
from bascule.rag.names import Look, with_names
from bascule.rag.prepare import Parsers, Tokens, prepare, reveal

WorkOn = Callable[[wire.Work], PreparedDocument]

_GRACE_S = 5.0
_BATCH_CPU_S = 5  # of small documents together, which take a tenth of a second; whoever took more is found alone
_PEAK_EVERY = 16


@cache
def parser_of(kind: str) -> Parser:
    """The parser in plugins/parsers/KIND.py, imported when its first document arrives."""
    module = importlib.import_module(f"bascule.plugins.parsers.{kind}")
    parser: Parser = module.parser
    return parser


def main() -> None:
    if "--report" in sys.argv[1:]:
        print(_report())
        return
    requests, replies = _own_the_pipes()
    setup = wire.setups.decode(_read(requests) or b"")
    # Before the files are out of reach.
    counter = Tokens(*tokens.load(setup.prepare.tokenizer))
    look = with_names(setup.prepare.names_model) if setup.prepare.names_model else find
    peak_bytes = _peak_reader()
    gc.freeze()  # what is loaded now stays: no collection need look through it again
    _send(replies, wire.Ready(confinement=confine(setup.limits, setup.ocr)))
    work_on = partial(_work_on, setup=setup, counter=counter, look=look)
    while (body := _read(requests)) is not None:
        reply = _reply(body, setup, work_on, peak_bytes)
        _send(replies, reply)
        if _is_broken(reply):
            return  # what it holds after such a fault is anybody's guess


def _reply(
    body: bytes, setup: wire.Setup, work_on: WorkOn, peak_bytes: Callable[[], int]
) -> wire.Done | wire.Refused | wire.Several:
    try:
        message = wire.works.decode(body)
    except MemoryError:
        return wire.Refused(message="", reason="too_large", fault="memory")
    alone = isinstance(message, wire.Work)
    allow_cpu(setup.limits.cpu_s if alone else min(setup.limits.cpu_s, _BATCH_CPU_S))
    # The parent's time is up before, unless it waits as long as recognising text may take, or is gone.
    signal.setitimer(signal.ITIMER_REAL, setup.limits.outer_s + (0 if setup.ocr else _GRACE_S))
    try:
        if isinstance(message, wire.Work):
            return _answer(work_on, message, peak_bytes)
        return _answer_all(work_on, message.works, peak_bytes)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _answer_all(work_on: WorkOn, works: Sequence[wire.Work], peak_bytes: Callable[[], int]) -> wire.Several:
    """Up to the first that breaks something: those behind it are to have a child of their own."""
    made: list[wire.Done | wire.Refused] = []
    for work in works:
        made.append(_answer(work_on, work, lambda: 0))
        if _is_broken(made[-1]):
            break
    return wire.Several(replies=tuple(made), peak_bytes=peak_bytes())


def _is_broken(reply: wire.Done | wire.Refused | wire.Several) -> bool:
    last = reply.replies[-1] if isinstance(reply, wire.Several) else reply
    return isinstance(last, wire.Refused) and bool(last.fault)


def _work_on(work: wire.Work, setup: wire.Setup, counter: Tokens, look: Look) -> PreparedDocument:
    parsers = _parsers(setup.ocr)
    if work.wanted:
        return reveal(work.data, work.name, work.media_type, parsers, work.wanted, work.key, look)
    return prepare(work.data, work.name, work.media_type, parsers, setup.prepare, counter, work.mode, work.key, look)


def _parsers(ocr: OcrLimits | None) -> Parsers:
    """For one document: each counts its pages and time anew."""
    if ocr is None or not _has_ocr():
        return parser_of
    return lambda kind: reader_of(kind, _recogniser(ocr)) if _holds_pictures(kind) else parser_of(kind)


def _recogniser(ocr: OcrLimits) -> Recogniser:
    from bascule.plugins.parsers._ocr import Ocr

    def more() -> None:
        allow_memory(ocr.memory_bytes)
        allow_cpu(ocr.cpu_s)
        signal.setitimer(signal.ITIMER_REAL, ocr.wall_s)

    return Ocr(pages=ocr.pages, cpu_s=ocr.cpu_s, wall_s=ocr.wall_s, before=more)


@cache
def _has_ocr() -> bool:
    return importlib.util.find_spec("rapidocr") is not None


@cache
def _holds_pictures(kind: str) -> bool:
    """Whether a document of this kind may hold pictures of text."""
    return hasattr(importlib.import_module(f"bascule.plugins.parsers.{kind}"), "reading")


def reader_of(kind: str, recogniser: Recogniser) -> Parser:
    """The parser of a kind that may hold pictures of text, with what reads them."""
    parser: Parser = importlib.import_module(f"bascule.plugins.parsers.{kind}").reading(recogniser)
    return parser


def _report() -> str:
    """What confinement does here, as JSON. In a process of its own: a confined one may not even write to a file."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        try:
            os.write(writer, json.dumps(confine(Limits())).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as pipe:
        return pipe.read().decode()


def _answer(work_on: WorkOn, work: wire.Work, peak_bytes: Callable[[], int]) -> wire.Done | wire.Refused:
    try:
        document = work_on(work)
    except IngestError as error:
        return wire.Refused(message=str(error), reason=error.reason)
    except MemoryError:
        return wire.Refused(message="", reason="too_large", fault="memory")
    except RecursionError:
        return wire.Refused(message="The document is nested too deeply to be read.", reason="damaged")
    except Exception as error:  # noqa: BLE001 - the job runner's edge: whatever a library raises on hostile bytes
        return wire.Refused(message=type(error).__name__, reason="crashed", fault="crash")
    return wire.Done(document=document, peak_bytes=peak_bytes())


def _peak_reader() -> Callable[[], int]:
    """What tells this process's peak of resident memory. To be called before confinement: then the file is open already.

    `ru_maxrss` alone would not do on Linux: it survives exec, so that the child of a large server looks as large itself.
    """
    try:
        status = os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return _peak_by_usage
    return _seldom(lambda: _peak_by_status(os.pread(status, 65_536, 0)) or _peak_by_usage())


def _seldom(read: Callable[[], int]) -> Callable[[], int]:
    """Anew where `ru_maxrss` has grown and every so often: reading it costs as much as a small document's language."""
    known = [0, 0, 0]  # the peak, by usage then, calls since

    def peak() -> int:
        usage = _peak_by_usage()
        known[2] += 1
        if usage != known[1] or known[2] >= _PEAK_EVERY:
            known[:] = [read(), usage, 0]
        return known[0]

    return peak


def _peak_by_status(status: bytes) -> int:
    for line in status.splitlines():
        if line.startswith(b"VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def _peak_by_usage() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _own_the_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Keep stdin and stdout for the protocol alone; whatever a library prints goes nowhere."""
    requests, replies = os.dup(0), os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
    return os.fdopen(requests, "rb"), os.fdopen(replies, "wb")


def _read(requests: BinaryIO) -> bytes | None:
    header = requests.read(wire.HEADER.size)
    if len(header) < wire.HEADER.size:
        return None
    body = requests.read(wire.HEADER.unpack(header)[0])
    return body


def _send(replies: BinaryIO, message: wire.Reply) -> None:
    replies.write(wire.frame(message))
    replies.flush()


if __name__ == "__main__":
    main()
