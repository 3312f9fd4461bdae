"""collections: list, show, reembed."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from bascule.cli.backend import DEFAULT_TENANT, Backend, Plain, use
from bascule.cli.options import Config, Data, Json, Key, Tenant, target
from bascule.cli.output import Output

collections_app = typer.Typer(help="Collections: what is in them, and embedding them anew.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="A collection's name.")]


def register(app: typer.Typer) -> None:
    app.add_typer(collections_app, name="collections")


@collections_app.command("list")
def list_collections(
    key: Key = None,
    data: Data = None,
    config: Config = None,
    tenant: Tenant = DEFAULT_TENANT,
    json_mode: Json = False,
) -> None:
    """List collections: how much is in each, how it is searched and what embedded it."""
    found = use(target(data, config, key, tenant), lambda backend: backend.collections())
    out = Output(json_mode)
    if json_mode:
        out.document({"data": found})
        return
    out.table(
        ("name", "search", "documents", "chunks", "without vector", "model", "under way"), map(_row, found), "None."
    )


def _row(collection: Plain) -> tuple[Any, ...]:
    facts = collection["facts"]
    if facts is None:
        return collection["name"], collection["search"], "", "", "", "", ""
    numbers = (facts["documents"], facts["chunks"], facts["unembedded"])
    return collection["name"], collection["search"], *numbers, facts["model"], _under_way(facts["building"])


def _under_way(building: Plain | None) -> str:
    if building is None:
        return ""
    return f"{building['model']}: {building['embedded']} of {building['to_embed']}"


@collections_app.command("show")
def show_collection(
    name: Name,
    key: Key = None,
    data: Data = None,
    config: Config = None,
    tenant: Tenant = DEFAULT_TENANT,
    json_mode: Json = False,
) -> None:
    """Show one collection: what is in it, what embedded it, and what is under way."""
    found = use(target(data, config, key, tenant), lambda backend: backend.collection(name))
    out = Output(json_mode)
    if json_mode:
        out.document(found)
        return
    facts = dict(found["facts"] or {})
    building = facts.pop("building", None)
    out.fields({"name": found["name"], "id": found["id"], "search": found["search"], **facts}.items())
    if building:
        out.say(f"\nembedded anew with {_under_way(building)} documents (job {building['job_id']})")
        out.say(building["reason"])


@collections_app.command("reembed")
def reembed(
    name: Name,
    model: Annotated[
        str,
        typer.Option(
            "--model", help="A name under [models], from now on; else the configured one.", show_default=False
        ),
    ] = "",
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Stay until it is done.")] = True,
    key: Key = None,
    data: Data = None,
    config: Config = None,
    tenant: Tenant = DEFAULT_TENANT,
    json_mode: Json = False,
) -> None:
    """Embed all documents of a collection anew, beside the vectors it has, and switch to the new ones when all are there.

    Search and answers go on with the old ones until then. `bascule jobs cancel` gives it up. Exit code 1 when it failed.
    """
    from bascule.cli.ingest import watch

    out = Output(json_mode)

    async def go(backend: Backend) -> Plain:
        job = await backend.reembed(name, model or None)
        return (await watch(backend, [job["id"]], out))[0] if wait or backend.works() else job

    job = use(target(data, config, key, tenant), go, work=True)
    if json_mode:
        out.document(job)
    else:
        out.say(f"{name}: {job['state']} (job {job['id']}) {job['reason']}".rstrip())
    if job["state"] == "failed":
        raise typer.Exit(1)
