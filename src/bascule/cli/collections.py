"""collections: list, show, reembed, reprocess and forget."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import typer

from bascule.cli.backend import DEFAULT_TENANT, Backend, Plain, Target, use
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
        ("name", "search", "documents", "chunks", "without vector", "stale", "model", "under way"),
        map(_row, found),
        "None.",
    )


def _row(collection: Plain) -> tuple[Any, ...]:
    facts = collection["facts"]
    if facts is None:
        return collection["name"], collection["search"], "", "", "", "", "", ""
    numbers = (facts["documents"], facts["chunks"], facts["unembedded"], facts["stale"])
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
    stored = [
        f"{p['documents']} as {p['redact'] or 'unknown'} in {p['chunk_tokens']}" for p in facts.pop("prepared", [])
    ]
    out.fields(
        {"name": found["name"], "id": found["id"], "search": found["search"], **facts, "prepared": stored}.items()
    )
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
    _work(target(data, config, key, tenant), name, lambda b: b.reembed(name, model or None), wait, Output(json_mode))


@collections_app.command("reprocess")
def reprocess(
    name: Name,
    stale: Annotated[bool, typer.Option("--stale", help="Only documents that were prepared by other rules.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Stay until it is done.")] = True,
    key: Key = None,
    data: Data = None,
    config: Config = None,
    tenant: Tenant = DEFAULT_TENANT,
    json_mode: Json = False,
) -> None:
    """Prepare all documents of a collection again from their stored files: after a change of redact, min_quality or chunk_tokens.

    Passages that stay as they are keep their ids and vectors. A document that may not be in the collection by these rules
    leaves search. Exit code 1 when one did.
    """
    _work(target(data, config, key, tenant), name, lambda b: b.reprocess(name, stale), wait, Output(json_mode))


@collections_app.command("forget")
def forget(
    name: Name,
    confirm_deletions: Annotated[
        bool, typer.Option("--confirm-deletions", help="Delete what is too old, however much it is.")
    ] = False,
    key: Key = None,
    data: Data = None,
    config: Config = None,
    tenant: Tenant = DEFAULT_TENANT,
    json_mode: Json = False,
) -> None:
    """Delete now what has not changed for longer than the collection's retention_days. Exit code 1 when it was held back."""
    found = use(target(data, config, key, tenant), lambda backend: backend.expire(name, confirm_deletions))
    out = Output(json_mode)
    if json_mode:
        out.document({"data": found})
    for report in found:
        out.say(
            f"{report['collection']}: {report['deleted']} deleted, {report['held_back']} held back. {report['reason']}"
        )
    if not found:
        out.say(f"{name}: nothing is too old.")
    if any(report["held_back"] for report in found):
        raise typer.Exit(1)


def _work(where: Target, name: str, begin: Callable[[Backend], Awaitable[Plain]], wait: bool, out: Output) -> None:
    from bascule.cli.ingest import watch

    async def go(backend: Backend) -> Plain:
        job = await begin(backend)
        return (await watch(backend, [job["id"]], out))[0] if wait or backend.works() else job

    job = use(where, go, work=True)
    counts = ", ".join(f"{number} {state}" for state, number in sorted(job["counts"].items()))
    if out.json_mode:
        out.document(job)
    else:
        out.say(f"{name}: {job['state']} ({counts}; job {job['id']}) {job['reason']}".rstrip())
        for item in job["items"]:
            if item["state"] == "failed":
                out.say(f"  failed   {item['name']}: {item['reason']}")
    if job["state"] == "failed" or job["counts"].get("failed"):
        raise typer.Exit(1)
