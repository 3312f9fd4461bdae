"""The parent's side of parsing: a few child processes, each used for many documents, none trusted with any.

A child that hangs, crashes or eats too much is killed with its whole process group and replaced; only its document fails,
with a reason that names what happened. A crash is blamed on a document only when a fresh child crashes on it too, since
an earlier document may have left the child broken. Small documents come several in a message (`rag.together`).
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from bascule.core.documents import PreparedDocument, RawDocument
from bascule.core.errors import IngestError
from bascule.rag import wire
from bascule.rag.child_process import START_S, Child, Fault
from bascule.rag.confine import APPLIED, Limits, OcrLimits
from bascule.rag.prepare import PrepareOptions, RedactMode
from bascule.rag.together import together

_log = logging.getLogger(__name__)

_IDLE: Final = 0.01  # of a processor: what takes less is not at work


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
    def outer_s(self) -> float:
        """Until the parent ends a child, whatever it does. It ends itself before, by the limit that holds for what it does."""
        return max(self.limits.outer_s, self.ocr.wall_s if self.ocr else 0.0)


class Sandbox:
    """Prepares documents in child processes. Belongs to the event loop it was opened on."""

    def __init__(self, options: SandboxOptions) -> None:
        self._options = options
        self._slots: asyncio.Queue[Child | None] = asyncio.Queue()
        self._ending: set[asyncio.Task[int]] = set()
        self._children: set[Child] = set()
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
        return _document(await self._judged(work))

    async def prepare_all(
        self, given: Sequence[RawDocument], mode: RedactMode | None = None, key: bytes = b""
    ) -> list[PreparedDocument | IngestError]:
        """As `prepare` for each, in their order: the document, or why there is none. Small ones share a message, in which
        none can harm another: what does not come back from it is prepared alone."""
        works = [
            wire.Work(data=each.data, name=each.name, media_type=each.media_type, mode=mode, key=key) for each in given
        ]
        groups = together(works) if not self._options.prepare.names_model else [[n] for n in range(len(works))]
        made = await asyncio.gather(*(self._group([works[n] for n in group]) for group in groups))
        found = {n: one for group, part in zip(groups, made, strict=True) for n, one in zip(group, part, strict=True)}
        return [found[n] for n in range(len(works))]

    async def _group(self, works: Sequence[wire.Work]) -> list[PreparedDocument | IngestError]:
        made = await self._together(works) if len(works) > 1 else []
        for work in works[len(made) :]:
            try:
                made.append(_document(await self._judged(work)))
            except IngestError as error:
                made.append(error)
        return made

    async def _together(self, works: Sequence[wire.Work]) -> list[PreparedDocument | IngestError]:
        """Of the first of them, as many as went well: whose fault it is that the others did not, nobody knows yet."""
        child = await self._slots.get()
        kept: Child | None = None
        try:
            if child is not None:
                child.wake()
            child = child if child is not None and child.alive else await self._start()
            reply, kept = await self._exchange(child, wire.Batch(works=tuple(works)))
            found = reply.replies[: len(works)] if isinstance(reply, wire.Several) else ()
            return [_outcome(one) for one in found if not _broken(one)]
        except Fault:
            return []
        except IngestError as error:
            return [error] * len(works)
        finally:
            self._give_back(kept)

    async def _judged(self, work: wire.Work) -> wire.Done | wire.Refused:
        """Alone in its message. Raises IngestError for what the child did not survive."""
        child = await self._slots.get()
        kept: Child | None = None
        if child is not None:
            child.wake()
        try:
            if child is not None and child.alive and child.documents:
                try:
                    reply, kept = await self._run(child, work)
                    return reply
                except Fault as fault:
                    if fault.reason == "too_slow":
                        raise
                    child = None  # may be an earlier document's doing: judge this one in a fresh child
            child = child if child is not None and child.alive else await self._start()
            reply, kept = await self._run(child, work)
            return reply
        except Fault as fault:
            raise IngestError(str(fault), reason=fault.reason) from None
        finally:
            self._give_back(kept)

    def _give_back(self, kept: Child | None) -> None:
        if kept is not None:
            kept.resting = asyncio.get_running_loop().call_later(self._options.idle_s, self._end, kept)
        self._slots.put_nowait(kept)

    async def _run(self, child: Child, work: wire.Work) -> tuple[wire.Done | wire.Refused, Child | None]:
        reply, kept = await self._exchange(child, work)
        if isinstance(reply, wire.Done) or (isinstance(reply, wire.Refused) and not reply.fault):
            return reply, kept
        raise _fault_of(reply, self._options)

    async def _exchange(self, child: Child, message: wire.Work | wire.Batch) -> tuple[wire.Reply, Child | None]:
        """The reply, and the child when it may be used again. Every other way out of here kills the child. Raises Fault."""
        well = False
        options = self._options
        try:
            reply = await self._reply(child, message)
            child.documents += len(message.works) if isinstance(message, wire.Batch) else 1
            if isinstance(reply, wire.Done | wire.Several):
                child.peak_bytes = reply.peak_bytes
            well = not _broken(reply) and self._may_go_on(child)
            return reply, child if well else None
        except TimeoutError:
            raise Fault("too_slow", f"The document took more than {options.outer_s:g} s to read. Split it.") from None
        except EOFError:
            raise _death(await child.gone(), options) from None
        finally:
            if not well:
                self._end(child)

    async def _reply(self, child: Child, message: wire.Work | wire.Batch) -> wire.Reply:
        """Raises TimeoutError, or Fault for a child that sleeps. One that works and has too little of a busy machine goes on."""
        options = self._options
        spent_s = child.cpu_s()
        asked = asyncio.ensure_future(child.ask(message, options.max_result_bytes))
        try:
            async with asyncio.timeout(options.outer_s):
                while not (await asyncio.wait([asked], timeout=options.limits.wall_s))[0]:
                    before_s, spent_s = spent_s, child.cpu_s()
                    if spent_s is None or before_s is None or spent_s - before_s <= _IDLE * options.limits.wall_s:
                        raise Fault(
                            "too_slow", f"The parser did nothing for {options.limits.wall_s:g} s. Split the document."
                        )
            return await asked
        finally:
            asked.cancel()

    def _may_go_on(self, child: Child) -> bool:
        return child.documents < self._options.recycle_after and child.peak_bytes < self._options.recycle_bytes

    async def _start(self) -> Child:
        if self._closed:
            raise IngestError(
                "The service is shutting down. Send the document again.", reason="no_parser", transient=True
            )
        child = await Child.start()
        self._children.add(child)
        well = False
        try:
            async with asyncio.timeout(START_S):
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

    def _end(self, child: Child) -> None:
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


def _broken(reply: wire.Reply) -> bool:
    """Whether the child that said it, or did not say what it should, is to be used no more."""
    last = reply.replies[-1] if isinstance(reply, wire.Several) and reply.replies else reply
    return not isinstance(last, wire.Done) and not (isinstance(last, wire.Refused) and not last.fault)


def _outcome(reply: wire.Done | wire.Refused) -> PreparedDocument | IngestError:
    return reply.document if isinstance(reply, wire.Done) else IngestError(reply.message, reason=reply.reason)


def _document(reply: wire.Done | wire.Refused) -> PreparedDocument:
    found = _outcome(reply)
    if isinstance(found, IngestError):
        raise found
    return found


def _fault_of(reply: wire.Reply, options: SandboxOptions) -> Fault:
    if isinstance(reply, wire.Refused) and reply.fault == "memory":
        most = options.limits.memory_bytes, options.ocr.memory_bytes if options.ocr else 0
        return Fault("too_large", f"The document needed {_more_than(most, 1e9, 'GB')} of memory to read. Split it.")
    return Fault("crashed", "The parser crashed on the document. Open it in its own program and save it again.")


def _death(status: int, options: SandboxOptions) -> Fault:
    limits, ocr = options.limits, options.ocr
    if status == -signal.SIGXCPU:
        most = _more_than((limits.cpu_s, ocr.cpu_s if ocr else 0), 1, "s")
        return Fault("too_slow", f"The document took {most} of processor time to read. Split it.")
    if status == -signal.SIGALRM:
        most = _more_than((limits.outer_s, ocr.wall_s if ocr else 0), 1, "s")
        return Fault("too_slow", f"The document took {most} to read. Split it.")
    if status == -signal.SIGKILL:
        return Fault("too_large", "The system ended the parser, most likely for its use of memory. Split the document.")
    return Fault("crashed", "The parser crashed on the document. Open it in its own program and save it again.")


def _more_than(most: tuple[float, float], scale: float, unit: str) -> str:
    """Which of the two held, the parent cannot know."""
    usual, recognising = most
    also = f" ({recognising / scale:g} {unit} where text is recognised)" if recognising else ""
    return f"more than {usual / scale:g} {unit}{also}"


@asynccontextmanager
async def open_sandbox(options: SandboxOptions) -> AsyncGenerator[Sandbox]:
    """Children start with their first documents and end, all of them, when this closes."""
    sandbox = Sandbox(options)
    try:
        yield sandbox
    finally:
        await sandbox.close()
