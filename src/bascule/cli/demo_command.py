"""demo: see `bascule.cli.demo`, imported only when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    app.command()(demo)


def demo(
    once: Annotated[
        bool, typer.Option("--once", help="Exit at the end instead of leaving the server running.")
    ] = False,
    data: Annotated[
        Path, typer.Option("--data", help="A folder of the demo's own; made new each time.", file_okay=False)
    ] = Path(".demo/data"),
    port: Annotated[int, typer.Option(help="The server's port; 0 picks a free one.")] = 8400,
) -> None:
    """The main job on real documents, in about two minutes: ingest, ask under different rights, cache, delete."""
    from bascule.cli.demo import run

    raise typer.Exit(run(data, port=port, once=once))
