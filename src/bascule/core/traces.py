"""Why an answer came out as it did: one trace per answer. It holds chunk ids, never another reader's text (law 4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

import msgspec

from bascule.core.principals import Principal


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """One step: how long it took and what it did, as plain data (ids, scores, counts; no passage text)."""

    name: str
    took_s: float
    facts: Mapping[str, Any]


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """How a question came, so that it can be asked again under the same rights. `collections`: None for all of them."""

    collections: tuple[str, ...] | None = None
    where: Mapping[str, Any] = {}
    model: str = ""
    groups: frozenset[str] = frozenset()
    unused_groups: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()
    system: bool = False


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """`question` and `answer` are text derived from people and documents: scrubbed when any of `document_ids` goes.
    `cited`: the chunks the answer cites, of `chunk_ids`."""

    id: str
    tenant: str
    subject: str
    key_id: str
    created_at: str
    question: str
    answer: str
    status: str
    reason: str | None
    model: str
    collections: tuple[str, ...]
    stages: tuple[Stage, ...]
    chunk_ids: tuple[str, ...]
    document_ids: tuple[str, ...]
    diagnosis: str
    scrubbed: bool = False
    cited: tuple[str, ...] = ()
    asked: Asked | None = None


class TraceFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which answers are listed; "" is every one. `before`: the id that the list before ended with."""

    status: str = ""
    collection: str = ""
    before: str = ""


ANY_TRACE: Final = TraceFilter()


class TraceLine(msgspec.Struct, frozen=True, kw_only=True):
    """An answer in a list: what was asked and how it ended, without a text of any document."""

    id: str
    created_at: str
    subject: str
    key_id: str
    question: str
    status: str
    reason: str | None
    model: str
    collections: tuple[str, ...]
    diagnosis: str
    scrubbed: bool = False


class TraceLines(msgspec.Struct, frozen=True):
    """`next`: where a list goes on that looks further back, None at the end."""

    lines: list[TraceLine]
    next: str | None


class AnswerLog(Protocol):
    async def trace_lines(self, principal: Principal, limit: int, wanted: TraceFilter = ANY_TRACE) -> TraceLines:
        """Newest first, the principal's own or all of the tenant's for an admin. It looks a bounded way back at a time:
        there may be few lines, or none, and yet a `next`."""
        ...
