"""A rule on text and what it says: before a call's texts reach a vendor, and before an answer's reach the caller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, Protocol

import msgspec

Direction = Literal["in", "out"]
Action = Literal["observe", "mask", "refuse"]
Streams = Literal["whole", "window"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """`kind` (e.g. "email") at characters [start, end)."""

    kind: str
    start: int
    end: int


class Matter(msgspec.Struct, frozen=True, kw_only=True):
    """What is judged: the texts of a request to `model` ("in") or of its answer ("out"). A verdict later than `left_s`
    seconds from now is of no use."""

    direction: Direction
    model: str
    left_s: float


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy says of some texts. `counts` (kind -> how often) is written into the call's record; never a text is.

    action    "pass": nothing was found. "observe": it is only noted. "mask": `spans` or `texts` say how. "refuse".
    spans     of each text, what to mask: it stands again where the answer goes to the caller
    texts     instead of `spans`: every text as it shall be
    reason    why it was refused, for the caller: short, quoting no text
    degraded  the policy could not judge, and lets pass what it did not see
    """

    action: Literal["pass", "observe", "mask", "refuse"]
    spans: Sequence[Sequence[Finding]] = ()
    texts: Sequence[str] | None = None
    counts: Mapping[str, int] = {}
    reason: str = ""
    degraded: bool = False


PASS: Final = Verdict(action="pass")


class Policy(Protocol):
    """Made once, used by any number of calls at once.

    directions  which ways it judges
    streams     of an answer that streams: "whole", it is judged at its end and nothing is shown before; "window", in pieces of
                about `window_chars` characters, each shown once it is judged
    """

    @property
    def directions(self) -> frozenset[Direction]: ...

    @property
    def streams(self) -> Streams: ...

    @property
    def window_chars(self) -> int: ...

    async def judge(self, texts: Sequence[str], matter: Matter) -> Verdict:
        """Raises PolicyUnavailable when it cannot judge and must not let pass."""
        ...


class TextFilter(Protocol):
    """Rewrites one text that comes in pieces. It holds back what may still become something to rewrite, and no more."""

    def feed(self, piece: str) -> str:
        """What can be shown now."""
        ...

    def end(self) -> str:
        """What was still held back."""
        ...


class Filtering(Protocol):
    """A policy that rewrites answers piece by piece as they stream: asked instead of `judge` on the way out."""

    def open_filter(self, counts: dict[str, int]) -> TextFilter:
        """For one text; what it masks is added to `counts` by kind."""
        ...


def verdict_on(found: Sequence[Sequence[Finding]], action: Action) -> Verdict:
    """The verdict of a policy that looks for spans: on every text, what was found there."""
    counts: dict[str, int] = {}
    for findings in found:
        for finding in findings:
            counts[finding.kind] = counts.get(finding.kind, 0) + 1
    if not counts:
        return PASS
    if action == "refuse":
        return Verdict(action="refuse", counts=counts, reason="it holds " + ", ".join(sorted(counts)))
    return Verdict(action=action, spans=found if action == "mask" else (), counts=counts)
