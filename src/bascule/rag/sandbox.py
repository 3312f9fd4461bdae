"""The parent's side of parsing: a few child processes, each used for many documents, none trusted with any.

A child that hangs, crashes or eats too much is killed with its whole process group and replaced; only its document fails,
with a reason that names what happened. A crash is blamed on a document only when a fresh child crashes on it too, since
an earlier document may have left the child broken.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from bascule.core.documents import PreparedDocument
from bascule.core.errors import IngestError
from bascule.rag import wire
from bascule.rag.confine import APPLIED, Limits, OcrLimits
from bascule.rag.prepare import PrepareOptions, RedactMode

_log = logging.getLogger(__name__)

_START_S: Final = 30.0
_END_S: Final = 5.0
_PASSED_ON: Final = ("PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "SYSTEMROOT")  # where code lies; never a secret


class SandboxOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`processes` children at most; each is replaced after `recycle_after` documents or a peak of `recycle_bytes`.

    One without work for `idle_s` ends and gives its memory back. `max_result_bytes` bounds the answer to one document.
    With `ocr`, text in pictures is recognised, under limits of its own, where the extra is installed.
    """

    processes: int = 1
    limits: Limits = Limits()
    prepare: PrepareOptions = PrepareOptions()
    ocr: OcrLimits | None = None
    recycle_after: int = 5000  # a start costs as much as some hundred small documents
    recycle_bytes: int = 400_000_000
    idle_s: float = 60.0
    max_result_bytes: int = 200_000_000

    @property
    def wall_s(self) -> float:
        """Until the parent ends a child. The child ends itself before, by the limit that holds for what it does."""
        return max(self.limits.wall_s, self.ocr.wall_s if self.ocr else 0.0)


class _Fault(Exception):
    """The child did not survive the document, or must not."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class _Child:
    """One process and its pipes. Every use that does not end well ends in `kill`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.documents = 0
        self.peak_bytes = 0
        self.killed = False
        self.resting: asyncio.TimerHandle | None = None

    @classmethod
    async def start(cls) -> _Child:
        process = await asyncio.create_subprocess_exec(
            *_command(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=_environment(),
            cwd="/",
            start_new_session=True,
        )
        return cls(process)

    @property
    def alive(self) -> bool:
        return self.process.returncode is None and not self.killed

    def wake(self) -> None:
        if self.resting is not None:
            self.resting.cancel()
            self.resting = None

    async def ask(self, message: wire.Setup | wire.Work, max_bytes: int) -> wire.Reply:
        """Raises EOFError when the child is gone, _Fault when its answer is too large."""
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None and stdout is not None
        try:
            stdin.write(wire.frame(message))
            await stdin.drain()
            size = wire.HEADER.unpack(await stdout.readexactly(wire.HEADER.size))[0]
            if size > max_bytes:
                raise _Fault("too_large", "The document makes more text than is taken in at once. Split it.")
            return wire.replies.decode(await stdout.readexactly(size))
        except (ConnectionError, asyncio.IncompleteReadError):
            raise EOFError from None
        except msgspec.DecodeError:
            raise _Fault("crashed", "The parser gave an answer that is none.") from None

    def kill(self) -> None:
        self.wake()
        self.killed = True
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)

    async def gone(self) -> int:
        """Wait until the killed process and its pipes are gone; returns its exit status."""
        self.kill()
        if self.process.stdin is not None:
            self.process.stdin.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_END_S):
                while self.process.stdout is not None and await self.process.stdout.read(65_536):
                    pass
        return await self.process.wait()


class Sandbox:
    """Prepares documents in child processes. Belongs to the event loop it was opened on."""

    def __init__(self, options: SandboxOptions) -> None:
        self._options = options
        self._slots: asyncio.Queue[_Child | None] = asyncio.Queue()
        self._ending: set[asyncio.Task[int]] = set()
        self._children: set[_Child] = set()
        self._closed = False
        self.confinement: Mapping[str, str] = {}
        for _ in range(options.processes):
            self._slots.put_nowait(None)

    async def prepare(
        self,
        data: bytes,
        name: str,
        media_type: str,
        mode: RedactMode | None = None,
        key: bytes = b"",
        wanted: str = "",
    ) -> PreparedDocument:
        """Parsed, cleaned, redacted and chunked; with `wanted`, the value of this pseudonym in its report. Waits for a free child.

        Raises IngestError with what to do; `transient` when the child could not be started at all.
        """
        work = wire.Work(data=data, name=name, media_type=media_type, mode=mode, key=key, wanted=wanted)
        child = await self._slots.get()
        kept: _Child | None = None
        if child is not None:
            child.wake()
        try:
            if child is not None and child.alive and child.documents:
                try:
                    document, kept = await self._run(child, work)
                    return document
                except _Fault as fault:
                    if fault.reason == "too_slow":
                        raise
                    child = None  # may be an earlier document's doing: judge this one in a fresh child
            child = child if child is not None and child.alive else await self._start()
            document, kept = await self._run(child, work)
            return document
        except _Fault as fault:
            raise IngestError(str(fault), reason=fault.reason) from None
        except _Refused as refused:
            kept = refused.child
            raise IngestError(str(refused), reason=refused.reason) from None
        finally:
            if kept is not None:
                kept.resting = asyncio.get_running_loop().call_later(self._options.idle_s, self._end, kept)
            self._slots.put_nowait(kept)

    async def _run(self, child: _Child, work: wire.Work) -> tuple[PreparedDocument, _Child | None]:
        """The document, and the child when it may be used again. Every other way out of here kills the child."""
        well = False
        options = self._options
        try:
            async with asyncio.timeout(options.wall_s):
                reply = await child.ask(work, self._options.max_result_bytes)
            child.documents += 1
            if isinstance(reply, wire.Done):
                child.peak_bytes = reply.peak_bytes
                well = self._may_go_on(child)
                return reply.document, child if well else None
            if isinstance(reply, wire.Refused) and not reply.fault:
                well = self._may_go_on(child)
                raise _Refused(reply.message, reply.reason, child if well else None)
            raise _fault_of(reply, options)
        except TimeoutError:
            raise _Fault("too_slow", f"The document took more than {options.wall_s:g} s to read. Split it.") from None
        except EOFError:
            raise _death(await child.gone(), options) from None
        finally:
            if not well:
                self._end(child)

    def _may_go_on(self, child: _Child) -> bool:
        return child.documents < self._options.recycle_after and child.peak_bytes < self._options.recycle_bytes

    async def _start(self) -> _Child:
        if self._closed:
            raise IngestError(
                "The service is shutting down. Send the document again.", reason="no_parser", transient=True
            )
        child = await _Child.start()
        self._children.add(child)
        well = False
        try:
            async with asyncio.timeout(_START_S):
                reply = await child.ask(
                    wire.Setup(limits=self._options.limits, prepare=self._options.prepare, ocr=self._options.ocr),
                    1_000_000,
                )
            well = isinstance(reply, wire.Ready)
            if isinstance(reply, wire.Ready):
                self._note(reply.confinement)
            return child
        except (TimeoutError, EOFError):
            raise IngestError(
                "The parsing process did not start. Run `python -m bascule.child --report` to see why.",
                reason="no_parser",
                transient=True,
            ) from None
        finally:
            if not well:
                self._end(child)

    def _note(self, confinement: Mapping[str, str]) -> None:
        missing = [f"{measure} ({why})" for measure, why in confinement.items() if why != APPLIED]
        if missing and not self.confinement:
            _log.warning(
                "Untrusted files are parsed with less protection than intended, without: %s", "; ".join(missing)
            )
        self.confinement = confinement

    def _end(self, child: _Child) -> None:
        """Kill now, collect later: a cancelled caller need not wait for it."""
        child.kill()
        if child not in self._children:
            return
        self._children.discard(child)
        task = asyncio.get_running_loop().create_task(child.gone())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def close(self) -> None:
        """Ends every child, also those at work, and waits until each is gone."""
        self._closed = True
        for child in list(self._children):
            self._end(child)
        while self._ending:
            await asyncio.wait(set(self._ending))


class _Refused(Exception):
    """The document's own fault; the child that found out is as good as before."""

    def __init__(self, message: str, reason: str, child: _Child | None) -> None:
        super().__init__(message)
        self.reason = reason
        self.child = child


def _fault_of(reply: wire.Reply, options: SandboxOptions) -> _Fault:
    if isinstance(reply, wire.Refused) and reply.fault == "memory":
        most = options.limits.memory_bytes, options.ocr.memory_bytes if options.ocr else 0
        return _Fault("too_large", f"The document needed {_more_than(most, 1e9, 'GB')} of memory to read. Split it.")
    return _Fault("crashed", "The parser crashed on the document. Open it in its own program and save it again.")


def _death(status: int, options: SandboxOptions) -> _Fault:
    limits, ocr = options.limits, options.ocr
    if status == -signal.SIGXCPU:
        most = _more_than((limits.cpu_s, ocr.cpu_s if ocr else 0), 1, "s")
        return _Fault("too_slow", f"The document took {most} of processor time to read. Split it.")
    if status == -signal.SIGALRM:
        most = _more_than((limits.wall_s, ocr.wall_s if ocr else 0), 1, "s")
        return _Fault("too_slow", f"The document took {most} to read. Split it.")
    if status == -signal.SIGKILL:
        return _Fault(
            "too_large", "The system ended the parser, most likely for its use of memory. Split the document."
        )
    return _Fault("crashed", "The parser crashed on the document. Open it in its own program and save it again.")


def _more_than(most: tuple[float, float], scale: float, unit: str) -> str:
    """Which of the two held, the parent cannot know."""
    usual, recognising = most
    also = f" ({recognising / scale:g} {unit} where text is recognised)" if recognising else ""
    return f"more than {usual / scale:g} {unit}{also}"


def _command() -> tuple[str, ...]:
    return (sys.executable, "-P", "-m", "bascule.child")


def _environment() -> dict[str, str]:
    """Nothing of the service's own environment but where its code lies."""
    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return passed | {
        "LC_ALL": "C.UTF-8",
        "TOKENIZERS_PARALLELISM": "false",
        "MALLOC_ARENA_MAX": "2",  # each arena reserves address space, which is what is limited
        "HF_HUB_OFFLINE": "1",
    }


def confinement() -> dict[str, str]:
    """What a parsing child gives up on this system: measure -> "applied" or why not. For `doctor`; takes half a second.

    Raises OSError when no child can be started at all.
    """
    done = subprocess.run(
        [*_command(), "--report"], env=_environment(), cwd="/", capture_output=True, timeout=_START_S, check=False
    )
    if done.returncode != 0:
        raise OSError(f"the parsing process ended with status {done.returncode}")
    report: dict[str, str] = json.loads(done.stdout)
    return report


@asynccontextmanager
async def open_sandbox(options: SandboxOptions) -> AsyncGenerator[Sandbox]:
    """Children start with their first documents and end, all of them, when this closes."""
    sandbox = Sandbox(options)
    try:
        yield sandbox
    finally:
        await sandbox.close()
