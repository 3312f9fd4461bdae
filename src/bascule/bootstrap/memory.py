"""Memory that was freed goes back to the system.

glibc keeps what many threads have freed in an arena of each thread, and gives it back only from its end: under a steady mixed
load a gateway grew from 123 to 164 MiB although it held nothing more (bench/soak.py; `malloc_trim` gave back 49 of them). So it
is asked to now and then.
"""

from __future__ import annotations

import asyncio
import ctypes
from collections.abc import Callable
from typing import Any, Final

TRIM_EVERY_S: Final = 60.0


async def give_back(every_s: float = TRIM_EVERY_S) -> None:
    """Until cancelled; returns at once where the C library has no such call (musl, other systems)."""
    trim = _find()
    while trim is not None:
        await asyncio.sleep(every_s)
        # ctypes lets go of the interpreter: calls go on meanwhile.
        await asyncio.to_thread(trim, 0)


def _find() -> Callable[[int], int] | None:
    try:
        found: Any = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        return None
    found.argtypes, found.restype = [ctypes.c_size_t], ctypes.c_int
    trim: Callable[[int], int] = found
    return trim
