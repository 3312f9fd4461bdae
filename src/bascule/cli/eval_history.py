"""eval list, show and compare: what evaluations found before, and how two of them differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import typer

from bascule.cli.backend import DEFAULT_TENANT, Backend, Plain, use
from bascule.cli.options import Config, Data, Json, Key, Tenant, target
from bascule.cli.output import Output

if TYPE_CHECKING:
    from bascule.evals.compare import Comparison

_LISTED: Final = ("answer_score", "ndcg_at_10", "recall_at_10")
RunId = Annotated[str, typer.Argument(help="A run's id, or enough of its beginning or end; `last` for the newest.")]


def add(app: typer.Typer) -> None:
    app.command("list")(list_runs)
    app.command("show")(show)
    app.command("compare")(compare)


def list_runs(
    limit: Annotated[int, typer.Option(min=1, max=200, help="Most runs.")] = 20,
    key: Key = None,
    data: Data = None,
    config: Config = None,
    tenant: Tenant = DEFAULT_TENANT,
    json_mode: Json = False,
) -> None:
    """The evaluation runs that are kept, newest first."""
    runs = use(target(data, config, key, tenant), lambda backend: backend.eval_runs(limit))
    out = Output(json_mode)
    if json_mode:
        out.document({"data": runs})
        return
    rows = (
        (run["id"], run["created_at"][:19], run["kind"], run["name"], *(number(run["figures"].get(m)) for m in _LISTED))
        for run in runs
    )
    out.table(("id", "at", "kind", "name", *_LISTED), rows, "No runs yet. Make one: bascule eval run SET")


def show(
    run_id: RunId,
    key: Key = None,
    data: Data = None,
    config: Config = None,
    tenant: Tenant = DEFAULT_TENANT,
    json_mode: Json = False,
) -> None:
    """One run: its figures, and what each question scored."""
    run = use(target(data, config, key, tenant), lambda backend: _find(backend, run_id))
    out = Output(json_mode)
    if json_mode:
        out.document(run)
        return
    out.fields([("id", run["id"]), ("at", run["created_at"]), ("kind", run["kind"]), ("name", run["name"])])
    out.fields((name, value) for name, value in run["notes"].items())
    out.say("")
    out.fields((name, number(value)) for name, value in run["figures"].items())
    if run["cases"]:
        out.say("")
        names = list(dict.fromkeys(name for case in run["cases"] for name in case["figures"]))
        rows = (
            (*(number(case["figures"].get(n)) for n in names), case["status"], _asked(case)) for case in run["cases"]
        )
        out.table((*names, "status", "question"), rows, "")


def compare(
    one: Annotated[str, typer.Argument(metavar="A", help="The run to compare with: an id, or part of one.")],
    other: Annotated[str, typer.Argument(metavar="B", help="The run that may be better; `last` for the newest.")],
    fail_if_worse: Annotated[
        bool, typer.Option("--fail-if-worse", help="Exit code 1 when B is worse on some metric and p is under 0.05.")
    ] = False,
    most: Annotated[int, typer.Option("--most", min=0, help="Most questions shown.")] = 30,
    key: Key = None,
    data: Data = None,
    config: Config = None,
    tenant: Tenant = DEFAULT_TENANT,
    json_mode: Json = False,
) -> None:
    """Two runs on the questions both asked: differences with 95 % intervals, p of a paired randomisation test, and what changed."""
    from bascule.core.evaluations import EvalRun
    from bascule.evals import compare as comparing

    async def both(backend: Backend) -> tuple[Plain, Plain]:
        return await _find(backend, one), await _find(backend, other)

    a, b = (
        msgspec.convert({"tenant": "", "key_id": "", **run}, EvalRun)
        for run in use(target(data, config, key, tenant), both)
    )
    found = comparing.compare(a, b)
    out = Output(json_mode)
    if json_mode:
        out.document(msgspec.to_builtins(found))
    else:
        _print(found, most, out)
    worse = [each for each in found.metrics if comparing.verdict(each) == "worse"]
    for each in worse:
        out.note(f"worse: {each.metric} by {abs(each.difference):.3f}, p = {each.p:.3f}")
    if fail_if_worse and worse:
        raise typer.Exit(1)


def _print(found: Comparison, most: int, out: Output) -> None:
    out.say(f"{found.questions} questions in both; {found.only_a} only in A, {found.only_b} only in B")
    rows = (
        (
            each.metric,
            each.questions,
            number(each.a),
            number(each.b),
            f"{each.difference:+.3f}",
            f"{each.low:+.3f} to {each.high:+.3f}",
            f"{each.p:.3f}",
            each.better,
            each.worse,
        )
        for each in found.metrics
    )
    columns = ("metric", "questions", "A", "B", "B - A", "95 % interval", "p", "higher", "lower")
    out.table(columns, rows, "The runs have no question in common.")
    if found.changed and most:
        out.say("")
        shown = found.changed[:most]
        lines = (
            (", ".join(_change(n, *v) for n, v in each.changes.items()), each.question or each.key) for each in shown
        )
        out.table(("changed", "question"), lines, "")
        if len(found.changed) > most:
            out.say(f"and {len(found.changed) - most} more questions")


def _change(name: str, before: Any, after: Any) -> str:
    return f"{name} {number(before) or '-'} > {number(after) or '-'}"


async def _find(backend: Backend, wanted: str) -> Plain:
    """By id, by part of one among the newest, or `last`. Raises NotFound."""
    from bascule.core.errors import ConfigError

    if len(wanted) < 36:
        runs = await backend.eval_runs(200)
        ids = [run["id"] for run in runs]
        fit = ids[:1] if wanted == "last" else [i for i in ids if i.startswith(wanted) or i.endswith(wanted)]
        if len(fit) > 1:
            raise ConfigError(f"{len(fit)} runs have {wanted!r} in their id; give more of it.")
        wanted = fit[0] if fit else wanted
    return await backend.eval_run(wanted)


def _asked(case: Plain) -> str:
    return str(case["question"]) or f"({case['key']}: gone with its document)"


def number(value: float | int | None) -> str:
    return "" if value is None else str(value) if isinstance(value, int) else f"{value:.3f}"
