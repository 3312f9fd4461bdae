"""Port: whether a passage says a sentence, by something that reads the two together."""

from __future__ import annotations

from typing import Protocol

from bascule.core.calls import Call


class Judge(Protocol):
    @property
    def least(self) -> float:
        """The probability from which a sentence counts as said."""
        ...

    async def entails(self, passage: str, sentence: str, call: Call) -> float:
        """The probability, 0..1, that the sentence follows from the passage. Raises UpstreamError."""
        ...
