"""eval run: a golden set, asked of this Bascule."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.progress import Progress

from bascule.cli.backend import DEFAULT_TENANT, use
from bascule.cli.options import Config, Data, Json, Key, Tenant, target
from bascule.cli.output import Output

eval_app = typer.Typer(help="Measure answers against golden sets.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    app.add_typer(eval_app, name="eval")


@eval_app.callback()
def _group() -> None:
    """Keeps `run` a command of its own while it is the only one."""


@eval_app.command("run")
def run(
    set_path: Annotated[
        Path,
        typer.Argument(
            metavar="SET", exists=True, dir_okay=False, help="A file of JSON lines: question, documents, answer, ..."
        ),
    ],
    fail_under: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-under", help="METRIC=VALUE; exit code 1 when it is lower. May be repeated.", show_default=False
        ),
    ] = None,
    key: Key = None,
    data: Data = None,
    config: Config = None,
    tenant: Tenant = DEFAULT_TENANT,
    json_mode: Json = False,
) -> None:
    """Ask every question of a golden set and print nDCG, recall, MRR, answer score, citations, refusals and latency."""
    from bascule.evals import golden

    questions = golden.read(set_path)
    floors = [_floor(text) for text in fail_under or ()]
    out = Output(json_mode)
    with Progress(console=out.err, disable=not out.err.is_terminal, transient=True) as bar:
        task = bar.add_task("questions", total=len(questions))
        outcomes = use(
            target(data, config, key, tenant),
            lambda backend: golden.run(backend, questions, lambda done: bar.update(task, completed=done)),
        )
    figures = golden.summary(outcomes)
    failed = [
        f"{name} is {_shown(figures[name])}, under {floor}" for name, floor in floors if _under(figures[name], floor)
    ]
    if json_mode:
        cases = [msgspec.to_builtins(outcome) for outcome in outcomes]
        out.document({"set": set_path.name, "figures": figures, "failed": failed, "questions": cases})
    else:
        _print(figures, outcomes, out)
    for line in failed:
        out.problem(line)
    if failed:
        raise typer.Exit(1)


def _floor(text: str) -> tuple[str, float]:
    from bascule.evals.golden import summary

    name, _, value = text.partition("=")
    known = [metric for metric in summary([]) if not metric.endswith(("p50", "p95"))]
    try:
        if name in known:
            return name, float(value)
    except ValueError:
        pass
    raise typer.BadParameter(f"--fail-under is METRIC=VALUE with a metric of: {', '.join(known)}")


def _under(value: float | int | None, floor: float) -> bool:
    return value is None or value < floor


def _print(figures: dict[str, float | int | None], outcomes: list[Any], out: Output) -> None:
    out.fields((name, _shown(value)) for name, value in figures.items())
    wrong = [o for o in outcomes if o.score is not None and o.score < 1]
    if wrong:
        out.say("")
        rows = (("abstained" if o.score == 0 else "wrong", o.status, o.question) for o in wrong)
        out.table(("score", "status", "question"), rows, "")


def _shown(value: float | int | None) -> str:
    return "not measured" if value is None else str(value) if isinstance(value, int) else f"{value:.3f}"
