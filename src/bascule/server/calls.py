"""Call records over HTTP: one's own, or the tenant's for an administrator; a kept text for the scope audit, itself audited."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from bascule.core.calls import CallRecord
from bascule.core.catalogue import CallFilter
from bascule.server.bodies import LimitQuery
from bascule.server.route import Inquiry

Name = Annotated[str, msgspec.Meta(max_length=200)]


class CallsQuery(LimitQuery, frozen=True, kw_only=True):
    """`before`: the id of the last call of the page before."""

    model: Name = ""
    outcome: Literal["", "ok", "error", "cancelled", "cut"] = ""
    key_id: Name = ""
    before: Name = ""


class CallView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """One call. `parts`: seconds in our own layers before the first try, and at providers in all tries. `text`: null unless it
    was kept and may be read."""

    id: str
    subject: str
    key_id: str
    operation: str
    model: str
    provider: str
    provider_model: str
    started_at_s: float
    latency_s: float
    first_byte_s: float | None
    parts: dict[str, float]
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    estimated: bool
    cost_usd: float | None
    cache: str
    cache_reason: str
    outcome: str
    error: str
    finish: str
    end_user: str
    attempts: list[dict[str, Any]]
    degraded: tuple[str, ...]
    policies: list[dict[str, Any]]
    text: dict[str, Any] | None

    @classmethod
    def of(cls, record: CallRecord) -> CallView:
        shown = set(cls.__struct_fields__) - {"parts", "attempts", "policies", "text"}
        return cls(
            **{name: getattr(record, name) for name in shown},
            parts=_parts(record),
            attempts=[msgspec.to_builtins(attempt) for attempt in record.attempts],
            policies=[msgspec.to_builtins(note) for note in record.policies],
            text=None if record.text is None else {"prompt": record.text.prompt, "answer": record.text.answer},
        )


class CallList(msgspec.Struct, frozen=True):
    data: list[CallView]
    object: str = "list"


def _parts(record: CallRecord) -> dict[str, float]:
    if not record.attempts:
        return {}
    providers_s = sum(attempt.latency_s for attempt in record.attempts)
    return {"before_provider_s": record.attempts[0].after_s, "provider_s": providers_s}


async def list_calls(inquiry: Inquiry) -> CallList:
    """GET /v1/calls."""
    query: CallsQuery = inquiry.query
    wanted = CallFilter(model=query.model, outcome=query.outcome, key_id=query.key_id, before=query.before)
    found = await inquiry.app.catalogue.calls(inquiry.principal, query.limit, wanted)
    return CallList([CallView.of(record) for record in found])


async def show_call(inquiry: Inquiry) -> CallView:
    """GET /v1/calls/{id}. That a text was read stands in the audit log before it is shown."""
    record = await inquiry.app.catalogue.call(inquiry.principal, inquiry.id)
    if record.text is not None:
        await inquiry.app.catalogue.audit(inquiry.principal, "calls.read_text", record.id, {})
    return CallView.of(record)
