"""eval run: a golden set, asked of this Bascule, and what came of it kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.progress import Progress

from bascule.cli.backend import DEFAULT_TENANT, Backend, Plain, use
from bascule.cli.options import Config, Data, Json, Key, Tenant, target
from bascule.cli.output import Output

if TYPE_CHECKING:
    from bascule.evals.golden import Question
    from bascule.evals.outcomes import Outcome
    from bascule.evals.planted import Place

eval_app = typer.Typer(help="Measure answers against golden sets.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    from bascule.cli import eval_draft, eval_history, eval_rank, feedback

    eval_rank.add(eval_app)
    eval_history.add(eval_app)
    eval_draft.add(eval_app)
    feedback.add(eval_app)
    feedback.register(app)
    app.add_typer(eval_app, name="eval")


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
    name: Annotated[
        str | None,
        typer.Option(
            "--name", help="What the run is called in the history; the file's name by default.", show_default=False
        ),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep/--no-keep", help="Keep what came of it in the history.")] = True,
    as_marks: Annotated[
        list[str] | None,
        typer.Option(
            "--as", help="Who asks: user:U, group:G or role:R; for sets that say who may be told.", show_default=False
        ),
    ] = None,
    plant: Annotated[
        str | None,
        typer.Option(
            "--plant",
            metavar="NAME",
            help="Put the set's own documents into the collections NAME-clean and NAME-poisoned and delete them afterwards; "
            "for sets with attacks.",
            show_default=False,
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write an HTML page with the risk-coverage curve.", show_default=False),
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
    place = _place(questions, plant)
    floors = [_floor(text) for text in fail_under or ()]
    out = Output(json_mode)
    with Progress(console=out.err, disable=not out.err.is_terminal, transient=True) as bar:
        task = bar.add_task("questions", total=len(questions))

        async def measure(backend: Backend) -> tuple[list[Any], Plain | None]:
            outcomes = await _asked(
                backend, questions, place, out, lambda done: bar.update(task, completed=done), as_marks or ()
            )
            made = kept("golden", name or set_path.name, golden.summary(outcomes), golden.cases(outcomes))
            return outcomes, await backend.save_eval_run(made) if keep else None

        outcomes, saved = use(target(data, config, key, tenant), measure, work=place is not None)
    figures = golden.summary(outcomes)
    if report is not None:
        _write(report, name or set_path.stem, figures, outcomes)
    failed = [
        f"{name} is {shown(figures[name])}, under {floor}" for name, floor in floors if under(figures[name], floor)
    ]
    if json_mode:
        cases = [msgspec.to_builtins(outcome) for outcome in outcomes]
        run_id = saved["id"] if saved else None
        out.document({"id": run_id, "set": set_path.name, "figures": figures, "failed": failed, "questions": cases})
    else:
        _print(figures, outcomes, out)
    if saved:
        out.note(f"\nKept: bascule eval show {saved['id']}")
    for line in failed:
        out.problem(line)
    if failed:
        raise typer.Exit(1)


def _place(questions: Sequence[Question], plant: str | None) -> Place | None:
    """Raises ConfigError when the set has documents to plant and nobody said where."""
    from bascule.core.errors import ConfigError
    from bascule.evals import planted

    if not planted.plants(questions):
        return None
    if not plant:
        raise ConfigError("This set puts documents in: say under which name, e.g. --plant attacks.")
    return planted.Place(plant)


async def _asked(
    backend: Backend,
    questions: Sequence[Question],
    place: Place | None,
    out: Output,
    tell: Callable[[int], object],
    as_marks: Sequence[str],
) -> list[Outcome]:
    from bascule.cli.eval_plant import planted as put_in
    from bascule.evals import golden, planted

    if place is None:
        return await golden.run(backend, questions, tell, as_marks=as_marks)
    async with put_in(backend, place, place.texts(questions), out):
        return await planted.run(backend, questions, place, tell, as_marks=as_marks)


def _write(report: Path, title: str, figures: Mapping[str, float | int | None], outcomes: Sequence[Any]) -> None:
    from bascule.evals import curve

    rows = [(name, shown(value)) for name, value in figures.items()]
    report.write_text(curve.page(title, rows, [(title, curve.points(outcomes))]), encoding="utf-8")


def kept(kind: str, name: str, figures: Mapping[str, Any], cases: Sequence[Any], **notes: str) -> Plain:
    """A run as the history takes it."""
    from importlib.metadata import version

    return {
        "kind": kind,
        "name": name[:200],
        "figures": dict(figures),
        "notes": {"bascule": version("bascule"), **notes},
        "cases": [msgspec.to_builtins(case) for case in cases],
    }


def _floor(text: str) -> tuple[str, float]:
    from bascule.evals.golden import summary
    from bascule.evals.metrics import lower_is_better

    return floor_of(text, [metric for metric in summary([]) if not lower_is_better(metric)])


def floor_of(text: str, known: Sequence[str]) -> tuple[str, float]:
    """METRIC=VALUE of a known metric. Raises BadParameter."""
    name, _, value = text.partition("=")
    try:
        if name in known:
            return name, float(value)
    except ValueError:
        pass
    raise typer.BadParameter(f"--fail-under is METRIC=VALUE with a metric of: {', '.join(known)}")


def under(value: float | int | None, floor: float) -> bool:
    return value is None or value < floor


def _print(figures: dict[str, float | int | None], outcomes: list[Any], out: Output) -> None:
    out.fields((name, shown(value)) for name, value in figures.items())
    wrong = [o for o in outcomes if o.score is not None and o.score < 1]
    if wrong:
        out.say("")
        rows = (("abstained" if o.score == 0 else "wrong", o.status, o.question) for o in wrong)
        out.table(("score", "status", "question"), rows, "")


def shown(value: float | int | None) -> str:
    return "not measured" if value is None else str(value) if isinstance(value, int) else f"{value:.3f}"
