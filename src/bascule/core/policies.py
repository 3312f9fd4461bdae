"""A rule on text and what it says."""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """`kind` (e.g. "email") at characters [start, end)."""

    kind: str
    start: int
    end: int


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    action: Literal["pass", "change", "refuse"]
    text: str
    findings: tuple[Finding, ...] = ()
    reason: str = ""


class Policy(Protocol):
    def judge(self, text: str) -> Verdict: ...
