"""Errors at the command line: one clear line on stderr and an exit code, never a traceback.

0  done
1  it ran, and not everything went well: documents failed, a check failed, a limit was reached, or an unexpected error
2  the command or the configuration is wrong: nothing was done
3  no valid key, not allowed, or not found (missing and forbidden look the same)
4  a model provider, or the server at BASCULE_URL, did not give a good answer
5  the catalogue, the index or another store did not answer
130  stopped with Ctrl-C
"""

from __future__ import annotations

from typing import Final

from bascule.core.errors import (
    AuthenticationFailed,
    BasculeError,
    ConfigError,
    Conflict,
    InvalidRequest,
    NotFound,
    PolicyRefused,
    ScopeMissing,
    StorageError,
    TooLarge,
    UpstreamError,
)

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
REFUSED: Final = 3
UPSTREAM: Final = 4
STORAGE: Final = 5
INTERRUPTED: Final = 130

_CODES: Final[tuple[tuple[tuple[type[BasculeError], ...], int], ...]] = (
    ((ConfigError, InvalidRequest, TooLarge, Conflict), USAGE),
    ((AuthenticationFailed, ScopeMissing, PolicyRefused, NotFound), REFUSED),
    ((UpstreamError,), UPSTREAM),
    ((StorageError,), STORAGE),
)


def exit_code(error: BasculeError) -> int:
    """The exit code that stands for this error."""
    return next((code for kinds, code in _CODES if isinstance(error, kinds)), FAILED)
