"""audit deletions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import typer

from bascule.cli.options import Config, Data, Json
from bascule.cli.output import Output

if TYPE_CHECKING:
    from bascule.ops.deletions import DeletionAudit
    from bascule.settings import Settings

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
