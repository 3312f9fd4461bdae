"""Is it alive, is it ready, and how is it doing: for orchestrators, without a credential where nothing is told."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import msgspec

from bascule.core.errors import BasculeError
from bascule.server.exchange import Reply
from bascule.server.views import Health

if TYPE_CHECKING:
    from bascule.bootstrap import App

_ASK_EVERY_S: Final = 0.5  # the probe is open to everybody: it must not be a way to load the database
_ANSWER_WITHIN_S: Final = 2.0


class Readiness:
    """Ready means: the catalogue answers and the server is not draining."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._asked_s = float("-inf")
        self._answers = False
        self._asking = asyncio.Lock()

    async def reply(self, *, draining: bool) -> Reply:
        if draining:
            return _health(503, "draining")
        return _health(200, "ready") if await self._catalogue_answers() else _health(503, "unavailable")

    async def _catalogue_answers(self) -> bool:
        async with self._asking:
            if time.monotonic() - self._asked_s > _ASK_EVERY_S:
                self._answers = await self._ask()
                self._asked_s = time.monotonic()
            return self._answers

    async def _ask(self) -> bool:
        try:
            async with asyncio.timeout(_ANSWER_WITHIN_S):
                await self._app.catalogue.change_mark()
        except (BasculeError, TimeoutError):
            return False
        return True


def alive() -> Reply:
    return _health(200, "alive")


def _health(status: int, word: str) -> Reply:
    return Reply(status, msgspec.json.encode(Health(word)))
