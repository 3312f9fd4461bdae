"""What was freed does not stay with the process."""

from __future__ import annotations

import asyncio
import ctypes
import sys

import pytest

from bascule.bootstrap import memory


@pytest.mark.skipif(sys.platform != "linux" or memory._find() is None, reason="needs glibc")
async def test_what_was_freed_is_given_back_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []
    real = memory._find()
    assert real is not None
    monkeypatch.setattr(memory, "_find", lambda: lambda pad: given.append(real(pad)))
    task = asyncio.create_task(memory.give_back(every_s=0.01))
    async with asyncio.timeout(20):
        while len(given) < 3:
            await asyncio.sleep(0.01)
    task.cancel()
    assert set(given) <= {0, 1}


async def test_where_the_c_library_cannot_it_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    await asyncio.wait_for(memory.give_back(), 5)
