"""The shortest list of acts that still fails: parts are left out, halves first, for as long as it does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


async def shortest(
    acts: Sequence[T], fails: Callable[[tuple[T, ...]], Awaitable[bool]], tries: int
) -> tuple[tuple[T, ...], int]:
    """What is left of `acts`, which fail, and how many of `tries` were made. With enough of them none can be left out."""
    left, size, made = tuple(acts), max(1, len(acts) // 2), 0
    at = 0
    while left and made < tries:
        if at >= len(left):
            if size == 1:
                break
            size, at = size // 2, 0
            continue
        fewer = left[:at] + left[at + size :]
        made += 1
        if await fails(fewer):
            left, at = fewer, 0
        else:
            at += size
    return left, made
