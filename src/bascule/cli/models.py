"""models pull, list and verify: the models that run on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from bascule.cli.options import Config, Data, Json
from bascule.cli.output import Output

models_app = typer.Typer(help="Models that run on this machine.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    app.add_typer(models_app, name="models")


def _folder(data: Path | None, config: Path | None) -> Path:
    from bascule.settings import load

    return load(config, data=data).models_path


@models_app.command("pull")
def pull(
    name: Annotated[
        str, typer.Argument(help="minilm embeds; rampart finds names and addresses (CC BY 4.0).")
    ] = "minilm",
    data: Data = None,
    config: Config = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
    json_mode: Json = False,
) -> None:
    """Fetch a model by hash and build it, once; nothing to do when it is there and whole."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from bascule.ops import models
    from bascule.ops.model_recipes import BY_NAME

    if name not in BY_NAME:
        raise typer.BadParameter(f"There is no model {name!r}: {', '.join(BY_NAME)}.", param_hint="NAME")
    out = Output(json_mode)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    shown = not quiet and out.err.is_terminal
    with Progress(*columns, console=out.err, disable=not shown, transient=True) as bar:
        task = bar.add_task(name, total=1.0)

        def tell(step: str, share: float) -> None:
            bar.update(task, description=step, completed=share)

        built = models.pull(_folder(data, config), progress=tell, recipe=BY_NAME[name])
    if json_mode:
        out.document(_plain(built))
    elif not quiet:
        what = f"built in {built.elapsed_s:.1f} s from {built.source}" if built.fresh else "there already, and whole"
        out.say(f"{built.name}: {what} ({built.size_bytes / 1e6:.1f} MB, {built.fingerprint})")


@models_app.command("list")
def list_models(data: Data = None, config: Config = None, json_mode: Json = False) -> None:
    """List the models Bascule can build, and whether they are here."""
    from bascule.ops import models

    _show(models.listing(_folder(data, config)), Output(json_mode), "No models are known.")


@models_app.command("verify")
def verify(data: Data = None, config: Config = None, json_mode: Json = False) -> None:
    """Hash every model that is here against its manifest; exit code 1 when one is damaged."""
    from bascule.ops import models

    checks = models.verify(_folder(data, config))
    _show(checks, Output(json_mode), "No model is here. Run: bascule models pull")
    if any(check.problem for check in checks):
        raise typer.Exit(1)


def _show(checks: list[Any], out: Output, empty: str) -> None:
    if out.json_mode:
        out.document({"data": [_plain(check) for check in checks]})
        return
    rows = ((c.name, c.state, c.title, c.fingerprint or c.problem) for c in checks)
    out.table(("name", "state", "title", "fingerprint"), rows, empty)


def _plain(value: Any) -> Any:
    return msgspec.to_builtins(value, enc_hook=str)
