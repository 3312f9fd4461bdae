"""Who is limited by what: the limits of the key, the end user, the tenant and the model, joined into one plan for a call.

A plan is made once for each (key, end user, model) and kept, so that a call looks it up and makes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any, Final, Literal

import msgspec

from bascule.core.principals import Principal
from bascule.gateway.routes import UNLIMITED, Limits, Options, Route

MINUTE_S: Final = 60.0
DAY_S: Final = 86_400.0
MAX_PLANS: Final = 10_000
MAX_LABEL_CHARS: Final = 512
FAR_BELOW: Final = 0.01  # of a limit: a claim this small is not worth counting tokens for


class Gate(msgspec.Struct, frozen=True):
    """One limit on requests a minute."""

    key: str
    limit: int
    name: str


class Share(msgspec.Struct, frozen=True):
    """One limit on what is reserved. `unit`: what is counted; `kind`: how its window runs (see `core.state.Claim`)."""

    unit: Literal["tokens", "usd", "calls"]
    key: str
    limit: float
    window_s: float
    name: str
    kind: Literal["window", "month", "slot"]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What limits one call, the caller's own limits first: who is refused by its own uses up nothing that is shared.

    counted           some share counts tokens or money, so that a call must be estimated
    priced            some share counts money
    far_below_tokens  a prompt of at most so many tokens is far below every limit
    made_of           the key's limits this was made of: with others, it is made again
    input_usd         price of one token of the prompt at the dearest target, output_usd of the answer
    """

    gates: tuple[Gate, ...]
    shares: tuple[Share, ...]
    counted: bool
    priced: bool
    far_below_tokens: float
    made_of: Limits
    input_usd: float
    output_usd: float


class Budgets:
    """`limits_of` says a key's own limits (the same object for the same key, or plans are made for every call)."""

    __slots__ = ("_limits_of", "_options", "_plans", "_routes", "_users")

    def __init__(
        self, routes: Mapping[str, Route], options: Options, limits_of: Callable[[Principal], Limits] | None
    ) -> None:
        self._routes = routes
        self._options = options
        self._limits_of = limits_of
        self._users = options.user_limits != UNLIMITED
        self._plans: dict[tuple[str, str, str, str, str], Plan] = {}

    @property
    def none(self) -> bool:
        """Nothing can ever be limited here: neither keys have limits, nor anything else."""
        options = self._options
        configured = (options.tenant_limits, options.user_limits, *options.tenants.values())
        models = (route.limits for route in self._routes.values())
        return self._limits_of is None and all(limits == UNLIMITED for limits in (*configured, *models))

    def plan(self, principal: Principal, model: str, view: Mapping[str, Any] | None = None) -> Plan | None:
        """None where nothing is limited; background work never is. `view`: the request, which may name its end user."""
        if principal.system:
            return None
        own = UNLIMITED if self._limits_of is None else self._limits_of(principal)
        label = ""
        if self._users and not principal.subject and view is not None:
            label = end_user(view)
        place = (principal.tenant, principal.key_id, principal.subject, label, model)
        plan = self._plans.get(place)
        if plan is None or (plan.made_of is not own and plan.made_of != own):
            if len(self._plans) >= MAX_PLANS:
                self._plans.clear()
            plan = self._plans[place] = self._make(principal, label, self._routes[model], own)
        return plan if plan.gates or plan.shares else None

    def _make(self, principal: Principal, label: str, route: Route, own: Limits) -> Plan:
        options, tenant = self._options, f"{len(principal.tenant)}:{principal.tenant}"
        scopes = [("key", caller(principal), own)]
        user = f"{tenant}:{principal.subject}" if principal.subject else f"{caller(principal)}:{label}" if label else ""
        if user:
            scopes.append(("user", user, options.user_limits))
        scopes.append(("tenant", tenant, options.tenants.get(principal.tenant, options.tenant_limits)))
        scopes.append(("model", route.model, route.limits))
        gates = [
            Gate(f"rpm:{scope}:{who}", limits.requests_per_min, f"requests per minute of this {scope}")
            for scope, who, limits in scopes
            if limits.requests_per_min is not None
        ]
        shares = tuple(share for scope in scopes for share in _shares(*scope))
        return Plan(
            gates=tuple(gates),
            shares=shares,
            counted=any(share.unit != "calls" for share in shares),
            priced=any(share.unit == "usd" for share in shares),
            far_below_tokens=_far_below(shares, route),
            made_of=own,
            input_usd=route.worst_cost_usd(1, 0),
            output_usd=route.worst_cost_usd(0, 1),
        )


def caller(principal: Principal) -> str:
    """Whom a key's limits count: the key, or the subject of a caller without one. Lengths keep names from running together."""
    return f"{len(principal.tenant)}:{principal.tenant}:{principal.key_id or 'user:' + principal.subject}"


def end_user(view: Mapping[str, Any]) -> str:
    """A hash of whom the request says it is for: OpenAI's `safety_identifier` or `user`, Anthropic's `metadata.user_id`.
    "" where it does not say. Nothing is granted by it: whoever sends a request can write there what they like."""
    metadata = view.get("metadata")
    labels = (
        view.get("safety_identifier"),
        view.get("user"),
        metadata.get("user_id") if isinstance(metadata, dict) else None,
    )
    for label in labels:
        if isinstance(label, str) and label:
            text = label[:MAX_LABEL_CHARS].encode("utf-8", "surrogatepass")
            return blake2b(text, digest_size=12).hexdigest()
    return ""


def _shares(scope: str, who: str, limits: Limits) -> list[Share]:
    of = f" of this {scope}"
    found = []
    if limits.concurrent is not None:
        name = "calls at once" + of
        found.append(Share("calls", f"now:{scope}:{who}", limits.concurrent, MINUTE_S, name, "slot"))
    if limits.tokens_per_min is not None:
        name = "tokens per minute" + of
        found.append(Share("tokens", f"tpm:{scope}:{who}", limits.tokens_per_min, MINUTE_S, name, "window"))
    if limits.usd_per_day is not None:
        found.append(Share("usd", f"usd:{scope}:{who}", limits.usd_per_day, DAY_S, "USD per day" + of, "window"))
    if limits.usd_per_month is not None:
        name = "USD per month" + of
        found.append(Share("usd", f"usd_month:{scope}:{who}", limits.usd_per_month, DAY_S, name, "month"))
    return found


def _far_below(shares: tuple[Share, ...], route: Route) -> float:
    """Tokens of a prompt that come to FAR_BELOW of the tightest limit."""
    token_usd = route.worst_cost_usd(1, 0)
    found = [share.limit for share in shares if share.unit == "tokens"]
    if token_usd > 0:
        found += [share.limit / token_usd for share in shares if share.unit == "usd"]
    return min(found, default=float("inf")) * FAR_BELOW
