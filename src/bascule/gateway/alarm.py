"""Time limits for the hot path: what ends without waiting costs no timer, what waits costs one and no object besides.

Most cache hits never wait, so the first step of a coroutine is made at once, and only what is left of it is put under an alarm.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from types import TracebackType, coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Alarm:
    """Cancels the task inside after `left_s` seconds and raises TimeoutError for it: `asyncio.timeout` with less around it."""

    __slots__ = ("_before", "_handle", "_left_s", "_rang", "_task")

    def __init__(self, left_s: float) -> None:
        self._left_s = left_s
        self._rang = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._before = task.cancelling()
        self._handle = task.get_loop().call_later(self._left_s, self._ring)

    def _ring(self) -> None:
        self._rang = True
        self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handle.cancel()
        if self._rang and self._task.uncancel() <= self._before and kind is asyncio.CancelledError:
            raise TimeoutError from error


class LongAlarm(Alarm):
    """One alarm over many waits: it is set once and cancels only what is inside when it rings, never what happens between the
    waits; rung between two, it ends the next one before it begins. Whoever made it ends it by `off`."""

    __slots__ = ("_inside", "_over")

    def __init__(self, left_s: float) -> None:
        super().__init__(left_s)
        self._inside = self._over = False
        self._handle = asyncio.get_running_loop().call_later(left_s, self._ring)

    def __enter__(self) -> None:
        if self._over:
            raise TimeoutError
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._before = task.cancelling()
        self._inside = True

    def _ring(self) -> None:
        self._over = True
        if self._inside:
            super()._ring()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._inside = False
        if self._rang and self._task.uncancel() <= self._before and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def off(self) -> None:
        self._handle.cancel()


async def within(work: Coroutine[Any, Any, T], left_s: float) -> T:
    """What `work` returns. Raises TimeoutError when it takes longer than `left_s` seconds."""
    try:
        first = work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    with Alarm(left_s):
        return await rest(work, first)


@coroutine
def rest(work: Coroutine[Any, Any, T], waits_for: Any) -> Generator[Any, Any, T]:
    """Go on with a coroutine whose first step was made and which then yielded `waits_for`."""
    try:
        while True:
            try:
                sent = yield waits_for
            except BaseException as error:  # noqa: BLE001 passed on to where it belongs
                waits_for = work.throw(error)
            else:
                waits_for = work.send(sent)
    except StopIteration as done:
        result: T = done.value
        return result
