"""One parsing process as its parent sees it: started with nothing but code in reach, asked, killed, collected."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from typing import Final

import msgspec

from bascule.rag import wire

START_S: Final = 30.0
_END_S: Final = 5.0
_PASSED_ON: Final = ("PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "SYSTEMROOT")  # where code lies; never a secret


class Fault(Exception):
    """The child did not survive the document, or must not."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Child:
    """One process and its pipes. Every use that does not end well ends in `kill`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.documents = 0
        self.peak_bytes = 0
        self.killed = False
        self.resting: asyncio.TimerHandle | None = None

    @classmethod
    async def start(cls) -> Child:
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

    def cpu_s(self) -> float | None:
        """Processor time it has taken, to hundredths; None where this system does not tell."""
        try:
            with open(f"/proc/{self.process.pid}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            return None
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def wake(self) -> None:
        if self.resting is not None:
            self.resting.cancel()
            self.resting = None

    async def ask(self, message: wire.Setup | wire.Work | wire.Batch, max_bytes: int) -> wire.Reply:
        """Raises EOFError when the child is gone, Fault when its answer is too large."""
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None and stdout is not None
        try:
            stdin.write(wire.frame(message))
            await stdin.drain()
            size = wire.HEADER.unpack(await stdout.readexactly(wire.HEADER.size))[0]
            if size > max_bytes:
                raise Fault("too_large", "The document makes more text than is taken in at once. Split it.")
            return wire.replies.decode(await stdout.readexactly(size))
        except (ConnectionError, asyncio.IncompleteReadError):
            raise EOFError from None
        except msgspec.DecodeError:
            raise Fault("crashed", "The parser gave an answer that is none.") from None

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
        [*_command(), "--report"], env=_environment(), cwd="/", capture_output=True, timeout=START_S, check=False
    )
    if done.returncode != 0:
        raise OSError(f"the parsing process ended with status {done.returncode}")
    report: dict[str, str] = json.loads(done.stdout)
    return report
