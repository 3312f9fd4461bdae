"""Text that opens something: sent, compared and hashed as any text; shown in a traceback, a log or a debugger it says nothing."""

from __future__ import annotations


class Secret(str):
    """Every credential that is held for longer than a call is one. What an f-string makes from it is plain text again: wrap it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"

    def __reduce_ex__(self, protocol: object) -> str:
        raise TypeError("A secret is not stored or sent to another process as it is.")

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self


def bearer_header(key: str) -> dict[str, str]:
    return {"authorization": Secret(f"Bearer {key}")}
