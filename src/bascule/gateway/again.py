"""The very same bytes again: what the layers found out about them is not found out twice.

When a chat was answered from the cache, `learn` notes what the layers' decisions about it came to. Those depend on nothing but
the request's bytes, who sent them and the configuration, so they hold for the same bytes as long as the other two are the same.
What can change from one call to the next is done again for each: the entry is looked up and its age checked, every limit on
requests counts, a record is left and counted. `answer` either does all of it or nothing at all; then the call goes the whole way
through the layers, which alone refuse, wait and ask models.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import msgspec

from bascule.core.calls import Call, CallRecord
from bascule.core.chat import ChatRequest, ChatResponse
from bascule.core.principals import Principal
from bascule.core.state import StateAtHand, StateStore
from bascule.gateway.budgets import MINUTE_S, Budgets
from bascule.gateway.cache import HIT_REASON
from bascule.gateway.kept import RESPONSES, unpack
from bascule.gateway.record import Record
from bascule.gateway.routes import Options, Route


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What one hit came to. `by`: the layers that decided so; others may decide otherwise. `gates`: keys and limits of the
    limits on requests a minute."""

    by: object
    principal: Principal
    model: str
    end_user: str
    key: str
    gates: tuple[tuple[str, float], ...]


class Again:
    """Only over a state store in this process's memory: of another, an answer must be waited for."""

    __slots__ = ("_budgets", "_max_entry_bytes", "_record", "_routes", "_state")

    def __init__(
        self, record: Record, routes: Mapping[str, Route], state: StateStore, budgets: Budgets, options: Options
    ) -> None:
        self._record = record
        self._routes = routes
        self._state = state if isinstance(state, StateAtHand) else None
        self._budgets = budgets
        self._max_entry_bytes = options.cache_max_entry_bytes

    def learn(self, request: ChatRequest, call: Call) -> Known | None:
        """None where a repetition must go the whole way: no plain hit, or layers that look at each call anew."""
        if self._state is None or call.cache != "HIT" or call.cache_reason is not HIT_REASON:
            return None
        route = self._routes.get(request.model)
        if route is None or route.policies or route.keep_text:
            return None
        if call.directives is not None or call.document_ids or call.degraded or call.policies or call.traceparent:
            return None
        plan = self._budgets.plan(call.principal, request.model, request.view)
        return Known(
            by=self,
            principal=call.principal,
            model=request.model,
            end_user=call.end_user,
            key=call.shared_key,
            gates=() if plan is None else tuple((gate.key, gate.limit) for gate in plan.gates),
        )

    def answer(self, known: Known, call_id: str) -> tuple[ChatResponse, float] | None:
        """The kept answer and its age, as the layers would give it; None, and nothing has happened, for all else."""
        state, began_s, now_s = self._state, time.monotonic(), time.time()
        if state is None or known.by is not self or self._record.must_wait:
            return None
        value = state.look(known.key)
        entry = None if value is None else unpack(value, RESPONSES, self._max_entry_bytes)
        if entry is None:
            return None
        age_s = max(0.0, now_s - entry.stored_at_s)
        if age_s > entry.fresh_s or not state.admit_at_once(known.gates, MINUTE_S):
            return None
        who, response = known.principal, entry.response
        record = CallRecord(
            id=call_id,
            tenant=who.tenant,
            subject=who.subject,
            key_id=who.key_id,
            operation="chat",
            model=known.model,
            provider="",
            provider_model="",
            started_at_s=now_s,
            latency_s=time.monotonic() - began_s,
            first_byte_s=None,
            input_tokens=0,
            output_tokens=0,
            cost_usd=0.0,
            cache="HIT",
            cache_reason=HIT_REASON,
            outcome="ok",
            error="",
            attempts=(),
            finish=response.finish or "",
            end_user=known.end_user,
        )
        self._record.write(record)
        return response, age_s
