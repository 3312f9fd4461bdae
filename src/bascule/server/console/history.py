"""Evaluation runs: listed and drawn together, one in full, and two side by side with the paired test."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
from markupsafe import Markup

from bascule.core.errors import InvalidRequest
from bascule.core.evaluations import EvalRun
from bascule.server.console import trend
from bascule.server.console.visit import Visit
from bascule.server.exchange import Reply

if TYPE_CHECKING:
    from bascule.evals.compare import Comparison

_RUNS: Final = 100
_SHOWN: Final = 200  # questions of a run, changes of a comparison
_ROUNDS: Final = 2_000
_MOST_QUESTIONS: Final = 5_000  # beyond it the test would hold a request up; the command line has no such bound
_LISTED: Final = ("answer_score", "ndcg_at_10", "recall_at_10", "coverage", "risk")
Plain = Mapping[str, Any]


async def show(visit: Visit) -> Reply:
    """GET /console/evaluations, /console/evaluations/compare?a=&b=, /console/evaluations/{id}."""
    if visit.rest == "compare":
        return await _compare(visit)
    return await _one(visit) if visit.rest else await _all(visit)


async def _all(visit: Visit) -> Reply:
    runs: Sequence[Plain] = (await visit.desk.ask("list_runs", asked={"limit": _RUNS}))["data"]
    metrics = list(dict.fromkeys(name for run in runs for name, value in run["figures"].items() if value is not None))
    wanted = visit.asked.get("metric", "")
    metric = wanted if wanted in metrics else next((name for name in _LISTED if name in metrics), "".join(metrics[:1]))
    found = trend.lines(runs, metric)
    return visit.page(
        "evaluations.html",
        runs=runs,
        before=_before(runs),
        listed=[name for name in _LISTED if name in metrics],
        metrics=metrics,
        metric=metric,
        lines=found,
        drawing=trend.drawing(found, metric),
        everybody=visit.desk.principal.is_admin,
    )


def _before(runs: Sequence[Plain]) -> str:
    """The run of the same set before the newest, else the one before it: what one most likely compares with."""
    same = [run for run in runs[1:] if run["name"] == runs[0]["name"]]
    return str((same or runs[1:] or runs)[0]["id"]) if runs else ""


async def _one(visit: Visit) -> Reply:
    run = await visit.desk.ask("show_run", visit.rest)
    names = list(dict.fromkeys(name for case in run["cases"] for name in case["figures"]))
    return visit.page("evaluation.html", run=run, names=names, most=_SHOWN, curve=_curves([run]))


async def _compare(visit: Visit) -> Reply:
    ids = visit.asked.get("a", ""), visit.asked.get("b", "")
    if not all(ids):
        raise InvalidRequest("Choose two runs to compare.")
    a, b = [await visit.desk.ask("show_run", id) for id in ids]
    if max(len(a["cases"]), len(b["cases"])) > _MOST_QUESTIONS:
        raise InvalidRequest(f"Runs of more than {_MOST_QUESTIONS:,} questions: `bascule eval compare` does it.")
    from bascule.evals.compare import verdict

    found = await asyncio.to_thread(_compared, a, b)
    return visit.page("comparison.html", a=a, b=b, found=found, verdict=verdict, most=_SHOWN, curve=_curves([a, b]))


def _compared(a: Plain, b: Plain) -> Comparison:
    from bascule.evals.compare import compare

    one, other = (msgspec.convert({"tenant": "", "key_id": "", **run}, EvalRun) for run in (a, b))
    return compare(one, other, rounds=_ROUNDS)


def _curves(runs: Sequence[Plain]) -> Markup:
    """Risk by coverage, where the runs kept how sure each answer was. `drawing` escapes the names it is given."""
    from bascule.evals import curve

    told = [
        (
            f"{'AB'[at]}: {run['name']}" if len(runs) > 1 else run["name"],
            curve.points_of(
                [(c["figures"].get("confidence"), c["figures"].get("score"), c["status"]) for c in run["cases"]]
            ),
        )
        for at, run in enumerate(runs)
    ]
    return Markup(curve.drawing(told)) if any(points for _, points in told) else Markup("")
