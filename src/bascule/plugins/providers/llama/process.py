"""The model's process: started, watched, started again when it dies, ended with the server.

A child, because a model file that is wrong or too large for the machine ends its process, and because its threads would
stand in the way of every other call.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from bascule.core.errors import ConfigError, UpstreamUnavailable
from bascule.core.secret import Secret

logger = logging.getLogger(__name__)
AGAIN_S: Final = 5.0  # a child that died is not started again sooner
_MAGIC: Final = b"GGUF"


class LlamaProcess:
    def __init__(self, file: Path, *, context_tokens: int, threads: int, parallel: int, start_s: float) -> None:
        self.key = Secret(secrets.token_urlsafe(32))
        self._file = file
        self._asked = {
            "file": str(file),
            "context_tokens": context_tokens,
            "threads": threads,
            "parallel": parallel,
            "key": self.key,
        }
        self._start_s = start_s
        self._starting: asyncio.Task[dict[str, Any]] | None = None
        self._child: asyncio.subprocess.Process | None = None
        self._address = ""
        self._started_s = 0.0

    async def start(self) -> None:
        """Raises ConfigError for what no second try would mend."""
        await asyncio.to_thread(_check, self._file)
        told = await self._launch()
        if "address" not in told:
            raise ConfigError(
                f"The model file {str(self._file)!r} cannot be run: {told.get('error', 'its process ended')}."
            )

    async def address(self) -> str:
        """Where it listens. Raises UpstreamUnavailable while it is not running.

        A start belongs to no call: whoever waits for it leaves at its own deadline, and the file goes on loading.
        """
        if self._alive():
            return self._address
        if self._starting is None or self._starting.done():
            self._starting = asyncio.create_task(self._restart())
        if "address" not in await asyncio.shield(self._starting):
            raise UpstreamUnavailable("The local model's process does not start.", provider="llama")
        return self._address

    async def stop(self) -> None:
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait([self._starting])
        await self._end()

    async def _end(self) -> None:
        child, self._child, self._address = self._child, None, ""
        if child is None or child.returncode is not None:
            return
        assert child.stdin is not None
        child.stdin.close()
        try:
            await asyncio.wait_for(child.wait(), 5)
        except TimeoutError:
            with suppress(ProcessLookupError):
                child.kill()
            await child.wait()

    def _alive(self) -> bool:
        return self._child is not None and self._child.returncode is None and self._address != ""

    async def _restart(self) -> dict[str, Any]:
        wait_s = self._started_s + AGAIN_S - time.monotonic()
        if wait_s > 0:
            raise UpstreamUnavailable("The local model's process has ended.", provider="llama", retry_after_s=wait_s)
        logger.warning("the local model's process has ended; it is started again")
        return await self._launch()

    async def _launch(self) -> dict[str, Any]:
        await self._end()
        self._started_s = time.monotonic()
        self._child = child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "bascule.plugins.providers.llama.runner",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert child.stdin is not None
        assert child.stdout is not None
        told: dict[str, Any] = {}
        try:
            child.stdin.write(json.dumps(self._asked).encode() + b"\n")
            line = await asyncio.wait_for(child.stdout.readline(), self._start_s)
            told = json.loads(line) if line else {}
        except (TimeoutError, OSError, ValueError):
            told = {"error": f"it did not start within {self._start_s:g} s"}
        finally:
            self._address = str(told.get("address", ""))
            if not self._address:
                with suppress(ProcessLookupError):
                    child.kill()
                await child.wait()
        return told


def _check(file: Path) -> None:
    try:
        with file.open("rb") as opened:
            magic = opened.read(4)
    except OSError as error:
        raise ConfigError(f"The model file {str(file)!r} cannot be read: {error.strerror}.") from None
    if magic != _MAGIC:
        raise ConfigError(f"{str(file)!r} is no GGUF file.")
    from importlib.util import find_spec

    if find_spec("xllamacpp") is None:
        raise ConfigError("Models in GGUF files need the extra `llama`: pip install 'bascule[llama]'.")
