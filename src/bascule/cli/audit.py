"""audit deletions, verify and export."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import msgspec
import typer

from bascule.cli.options import Config, Data, Json
from bascule.cli.output import Output
from bascule.cli.terminal import json_safe

if TYPE_CHECKING:
    from bascule.db.catalogue import SqlCatalogue
    from bascule.ops.deletions import DeletionAudit
    from bascule.settings import Settings

T = TypeVar("T")
_PAGE = 500
audit_app = typer.Typer(help="Proofs for auditors.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    app.add_typer(audit_app, name="audit")


@audit_app.command("deletions")
def deletions(data: Data = None, config: Config = None, json_mode: Json = False) -> None:
    """Look for anything left of deleted documents: texts, vectors, index, stored bytes, traces, records, cached answers.

    Documents that a restored backup brought back are deleted again first, and counted. Exit code 1 when something is left.
    """
    import asyncio

    from bascule.core.errors import ConfigError
    from bascule.settings import load

    settings = load(config, data=data)
    if not settings.data.is_dir():
        raise ConfigError(f"There is no data folder at {settings.data}. Run: bascule init --data {settings.data}")
    found = asyncio.run(_audit(settings))
    out = Output(json_mode)
    if json_mode:
        out.document({"clean": found.clean, **msgspec.to_builtins(found)})
    else:
        out.table(("place", "left", "note"), ((p.place, p.found, p.note) for p in found.places), "")
        again = f", {found.deleted_again} of them deleted again after a restore" if found.deleted_again else ""
        waiting = f" The index owes a purge for {found.oldest_unpurged_s:.0f} s." if found.oldest_unpurged_s else ""
        out.say(
            f"{found.deletions} deletions{again}: {'nothing is left.' if found.clean else 'something is left.'}{waiting}"
        )
    if not found.clean:
        raise typer.Exit(1)


@audit_app.command("verify")
def verify(
    expect: Annotated[str, typer.Option("--expect", help="A head that was noted earlier.", show_default=False)] = "",
    data: Data = None,
    config: Config = None,
    json_mode: Json = False,
) -> None:
    """Check that no row of the audit log was changed, left out or put in, and print the head of its chain.

    Rows cut off at the end leave a chain that is whole: note the head elsewhere, and name it here later with --expect.
    Exit code 1 when something is wrong.
    """
    import asyncio

    found = asyncio.run(_with_catalogue(_folder(config, data), lambda catalogue: catalogue.audit_chain(expect)))
    out = Output(json_mode)
    if json_mode:
        out.document({"whole": found.whole, **msgspec.to_builtins(found)})
    else:
        state = "whole" if found.broken_at is None else f"broken at row {found.broken_at}"
        missing = (
            " The head you named is not in it: rows were cut off or written anew."
            if found.holds_expected is False
            else ""
        )
        out.say(f"{found.rows} rows, {state}.{missing}\nhead {found.head}")
    if not found.whole:
        raise typer.Exit(1)


@audit_app.command("export")
def export(data: Data = None, config: Config = None) -> None:
    """Print the audit log, a JSON object a line, with the hashes that chain its rows. It holds every tenant's acts."""
    import asyncio

    async def write(catalogue: SqlCatalogue) -> None:
        after, more = 0, True
        while more:
            rows = await catalogue.audit_export(after, _PAGE)
            for row in rows:
                typer.echo(json_safe(msgspec.json.encode(row).decode()))
                after = row["seq"]
            more = len(rows) == _PAGE

    asyncio.run(_with_catalogue(_folder(config, data), write))


def _folder(config: Path | None, data: Path | None) -> Settings:
    from bascule.core.errors import ConfigError
    from bascule.settings import load

    settings = load(config, data=data)
    if not settings.data.is_dir():
        raise ConfigError(f"There is no data folder at {settings.data}. Run: bascule init --data {settings.data}")
    return settings


async def _with_catalogue(settings: Settings, work: Callable[[SqlCatalogue], Awaitable[T]]) -> T:
    from bascule.bootstrap import open_app

    async with open_app(settings, work=False) as app:
        return await work(app.catalogue)


async def _audit(settings: Settings) -> DeletionAudit:
    from bascule.bootstrap import open_app
    from bascule.db.blobs import FolderBlobs
    from bascule.ops.deletions import audit_deletions

    async with open_app(settings, work=False) as app:
        if app.ingest is not None:
            await app.ingest.settle()
        await app.catalogue.scrub_dead_texts()
        blobs = FolderBlobs(settings.data.resolve() / "blobs")
        return await audit_deletions(app.catalogue, app.state, app.store, blobs, app.deleted_again)
