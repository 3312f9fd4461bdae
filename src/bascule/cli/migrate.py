"""migrate: to another database, data folder or vector store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from bascule.cli.backend import DEFAULT_TENANT
from bascule.cli.options import Config, Data, Json, Tenant
from bascule.cli.output import Output

if TYPE_CHECKING:
    from bascule.ops.migrate import Check
    from bascule.settings import Settings


def register(app: typer.Typer) -> None:
    app.command()(migrate)


def migrate(
    target: Annotated[
        Path, typer.Argument(help="The TOML file of the installation to move to.", exists=True, dir_okay=False)
    ],
    to_data: Annotated[
        Path | None,
        typer.Option("--to-data", help="Its data folder; this one's by default.", show_default=False, file_okay=False),
    ] = None,
    collection: Annotated[
        list[str] | None,
        typer.Option(
            "--collection", "-c", help="Move this one only; may be repeated. All by default.", show_default=False
        ),
    ] = None,
    data: Data = None,
    config: Config = None,
    tenant: Tenant = DEFAULT_TENANT,
    json_mode: Json = False,
) -> None:
    """Move everything, or some collections, to another catalogue, data folder or vector store, and compare.

    Stop the server first. What is moved stays where it was too. Broken off, it goes on when called again. Documents with their
    rights and passages, deletions, people, keys, jobs, traces, records and the audit log are copied as they are; vectors are not
    made anew. Exit code 1 when something did not arrive.
    """
    import asyncio

    from bascule.core.errors import ConfigError
    from bascule.settings import load

    source = load(config, data=data)
    if not source.data.is_dir():
        raise ConfigError(f"There is no data folder at {source.data}. Name it with --data.")
    out = Output(json_mode)
    checks = asyncio.run(_run(source, load(target, data=to_data or source.data), tenant, collection or [], out))
    wrong = [check for check in checks if check.note]
    if json_mode:
        out.document({"whole": not wrong, "checks": msgspec.to_builtins(checks)})
    else:
        rows = ((check.what, check.here, check.there, check.note) for check in checks)
        out.table(("what", "here", "there", "note"), rows, "")
        out.say("Something did not arrive: move to a new, empty place." if wrong else "Everything arrived.")
    if wrong:
        raise typer.Exit(1)


async def _run(source: Settings, target: Settings, tenant: str, collections: list[str], out: Output) -> list[Check]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from bascule.bootstrap.moving import move

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=out.err, disable=not out.err.is_terminal, transient=True) as bar:
        task = bar.add_task("begin", total=1)

        def tell(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total or 1)

        return await move(source, target, tenant, collections, tell)
