"""Calls, what they came to, budgets, health and keys."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from bascule.server.console import columns
from bascule.server.console.keyring import works
from bascule.server.console.visit import Visit
from bascule.server.exchange import Reply

Plain = Mapping[str, Any]
_CALLS: Final = 50
_DAYS: Final = 31  # the longest month whole, for its budgets
_FIGURES: Final = {
    "cost_usd": "Cost in USD",
    "calls": "Calls",
    "input_tokens": "Tokens in",
    "output_tokens": "Tokens out",
}
_OUTCOMES: Final = ("ok", "error", "cancelled", "cut")


class Total(msgspec.Struct, frozen=True, kw_only=True):
    """Of one model or one key. `hit_share`: 0..1 of its calls."""

    name: str
    calls: int
    failed: int
    hits: int
    input_tokens: int
    output_tokens: int
    cost_usd: float

    @property
    def hit_share(self) -> float:
        return self.hits / self.calls if self.calls else 0.0


class Budget(msgspec.Struct, frozen=True):
    """Of a key, for this day or this month (UTC)."""

    name: str
    period: str
    spent_usd: float
    most_usd: float

    @property
    def share(self) -> float:
        return min(100.0, 100 * self.spent_usd / self.most_usd)


async def show(visit: Visit) -> Reply:
    """GET /console/operations."""
    told = await visit.desk.ask("show_usage", asked={"days": _DAYS})
    usage: Sequence[Plain] = told["data"]
    keys = (await visit.desk.ask("list_keys"))["data"] if visit.desk.may("list_keys") else []
    health = await visit.desk.ask("show_health") if visit.desk.may("show_health") else None
    figure = visit.asked.get("figure", "")
    figure = figure if figure in _FIGURES else "cost_usd" if any(row["cost_usd"] for row in usage) else "calls"
    now = datetime.now(UTC)
    today = now.date()
    return visit.page(
        "operations.html",
        health=health,
        figures=_FIGURES,
        figure=figure,
        drawing=columns.drawing(columns.stacks(usage, figure, today, _DAYS), _FIGURES[figure]),
        inks=columns.inks(usage, figure),
        models=_totals(usage, "model", lambda model: model or "–"),
        by_key=_totals(usage, "key_id", _names(keys)),
        budgets=list(_budgets((key for key in keys if works(key, now)), usage, today.isoformat())),
        days=_DAYS,
        more=told["more"],
        everybody=visit.desk.principal.is_admin,
    )


def _names(keys: Sequence[Plain]) -> Callable[[str], str]:
    """Of a key, by its id; of those with one name, its beginning too."""
    many = Counter(key["name"] for key in keys)
    names = {key["id"]: f"{key['name']} ({key['prefix']}…)" if many[key["name"]] > 1 else key["name"] for key in keys}
    return lambda key_id: names.get(key_id, key_id[-8:] or "the server itself")


def _totals(usage: Sequence[Plain], by: str, name_of: Callable[[str], str]) -> list[Total]:
    """The dearest first, then the busiest."""
    summed: dict[str, dict[str, Any]] = {}
    counted = ("calls", "failed", "hits", "input_tokens", "output_tokens", "cost_usd")
    for row in usage:
        into = summed.setdefault(row[by], dict.fromkeys(counted, 0))
        for name in counted:
            into[name] += row[name]
    found = [Total(name=name_of(value), **values) for value, values in summed.items()]
    return sorted(found, key=lambda total: (-total.cost_usd, -total.calls, total.name))


def _budgets(keys: Iterable[Plain], usage: Sequence[Plain], today: str) -> Iterable[Budget]:
    for key in keys:
        for period, most, days in (
            ("today", key["usd_per_day"], today),
            ("this month", key["usd_per_month"], today[:7]),
        ):
            if most:
                own = (row for row in usage if row["key_id"] == key["id"] and row["day"].startswith(days))
                yield Budget(key["name"], period, sum(row["cost_usd"] for row in own), most)


async def calls(visit: Visit) -> Reply:
    """GET /console/calls, GET /console/calls/{id}."""
    if visit.rest:
        return visit.page("call.html", call=await visit.desk.ask("show_call", visit.rest))
    wanted = {name: visit.asked.get(name, "") for name in ("model", "outcome", "key_id", "before")}
    wanted["outcome"] = wanted["outcome"] if wanted["outcome"] in _OUTCOMES else ""
    found = (await visit.desk.ask("list_calls", asked={"limit": _CALLS, **wanted}))["data"]
    return visit.page(
        "calls.html",
        calls=found,
        wanted=wanted,
        outcomes=_OUTCOMES,
        before=found[-1]["id"] if len(found) == _CALLS else "",
        at=_at,
        everybody=visit.desk.principal.is_admin,
    )


def _at(started_at_s: float) -> str:
    return datetime.fromtimestamp(started_at_s, UTC).strftime("%Y-%m-%d %H:%M:%S")
