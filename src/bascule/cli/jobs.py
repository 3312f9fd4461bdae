"""jobs: list, show, watch, cancel, pause, resume, retry, pauses and quarantine."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from bascule.cli.backend import DEFAULT_TENANT, Backend, JobAct, Plain, use
from bascule.cli.options import Config, Data, Json, Key, Tenant, target
from bascule.cli.output import Output
from bascule.core.errors import InvalidRequest
from bascule.core.jobs import JobFilter, PauseKind

jobs_app = typer.Typer(help="Ingestion jobs, and why a document failed.", no_args_is_help=True)

JobId = Annotated[str, typer.Argument(metavar="ID", help="A job's id.")]
MaybeJobId = Annotated[str, typer.Argument(metavar="[ID]", help="A job's id.", show_default=False)]
OfCollection = Annotated[str, typer.Option("--collection", "-c", help="Of this collection.", show_default=False)]
OfSource = Annotated[
    str, typer.Option("--source", "-s", help="Of this source: upload, folder or source:NAME.", show_default=False)
]
Limit = Annotated[int, typer.Option(min=1, max=200, help="Most of them.")]


def register(app: typer.Typer) -> None:
    app.add_typer(jobs_app, name="jobs")


@jobs_app.command("list")
def list_jobs(
    limit: Limit = 20,
    state: Annotated[
        str, typer.Option(help="queued, running, paused, done, failed or cancelled.", show_default=False)
    ] = "",
    collection: OfCollection = "",
    source: OfSource = "",
    key: Key = None,
    data: Data = None,
    config: Config = None,
    tenant: Tenant = DEFAULT_TENANT,
    json_mode: Json = False,
) -> None:
    """List jobs, newest first."""
    wanted = JobFilter(state=state, source=source, collection=collection)
    found = use(target(data, config, key, tenant), lambda backend: backend.jobs(limit, wanted))
    out = Output(json_mode)
    if json_mode:
        out.document({"data": found})
        return
    rows = ((j["id"], j["collection"], j["source"], j["state"], j["created_at"], j["counts"]) for j in found)
    out.table(("id", "collection", "source", "state", "created", "documents"), rows, "No jobs.")


@jobs_app.command("show")
def show_job(
    id: JobId,
    key: Key = None,
    data: Data = None,
    config: Config = None,
    tenant: Tenant = DEFAULT_TENANT,
    json_mode: Json = False,
) -> None:
    """Show one job and each of its documents."""
    _print(use(target(data, config, key, tenant), lambda backend: backend.job(id)), Output(json_mode))


@jobs_app.command("watch")
def watch_job(
    id: JobId,
    key: Key = None,
    data: Data = None,
    config: Config = None,
    tenant: Tenant = DEFAULT_TENANT,
    json_mode: Json = False,
) -> None:
    """Stay until a job has ended or is paused, with its progress on a terminal. Exit code 1 when a document failed."""
    from bascule.cli.ingest import watch

    out = Output(json_mode)

    async def go(backend: Backend) -> Plain:
        return (await watch(backend, [id], out))[0]

    found = use(target(data, config, key, tenant), go, work=True)
    _print(found, out)
    if found["counts"].get("failed"):
        raise typer.Exit(1)


@jobs_app.command("cancel")
def cancel(
    id: JobId,
    key: Key = None,
    data: Data = None,
    config: Config = None,
    tenant: Tenant = DEFAULT_TENANT,
    json_mode: Json = False,
) -> None:
    """Give up what of a job is not indexed yet. What is stays."""
    _act("cancel", id, target(data, config, key, tenant), Output(json_mode))


@jobs_app.command("pause")
def pause(
    id: MaybeJobId = "",
    collection: OfCollection = "",
    source: OfSource = "",
    key: Key = None,
    data: Data = None,
    config: Config = None,
    tenant: Tenant = DEFAULT_TENANT,
    json_mode: Json = False,
) -> None:
    """Begin no further document: of a job, or of a collection or source with all that is to come. Those under way end."""
    _hold("pause", id, collection, source, target(data, config, key, tenant), Output(json_mode))


@jobs_app.command("resume")
def resume(
    id: MaybeJobId = "",
    collection: OfCollection = "",
    source: OfSource = "",
    key: Key = None,
    data: Data = None,
    config: Config = None,
    tenant: Tenant = DEFAULT_TENANT,
    json_mode: Json = False,
) -> None:
    """Go on with what was paused: a job, a collection or a source."""
    _hold("resume", id, collection, source, target(data, config, key, tenant), Output(json_mode))


@jobs_app.command("pauses")
def pauses(
    key: Key = None,
    data: Data = None,
    config: Config = None,
    tenant: Tenant = DEFAULT_TENANT,
    json_mode: Json = False,
) -> None:
    """List the collections and sources that are paused."""
    _print_pauses(use(target(data, config, key, tenant), lambda backend: backend.pauses()), Output(json_mode))


@jobs_app.command("retry")
def retry(
    id: MaybeJobId = "",
    quarantined: Annotated[bool, typer.Option("--quarantined", help="Every document that was given up.")] = False,
    collection: OfCollection = "",
    source: OfSource = "",
    key: Key = None,
    data: Data = None,
    config: Config = None,
    tenant: Tenant = DEFAULT_TENANT,
    json_mode: Json = False,
) -> None:
    """Try failed and cancelled documents of a job again, or with --quarantined every document that was given up."""
    if bool(id) == quarantined:
        raise InvalidRequest("Name one job by its id, or give --quarantined (with --collection or --source to narrow).")
    out, where = Output(json_mode), target(data, config, key, tenant)
    if id:
        _act("retry", id, where, out)
        return
    wanted = JobFilter(source=source, collection=collection)
    number = use(where, lambda backend: backend.retry_quarantine(wanted))
    if json_mode:
        out.document({"documents": number})
    else:
        out.say(f"{number} documents are tried again.")


@jobs_app.command("quarantine")
def quarantine(
    limit: Limit = 50,
    collection: OfCollection = "",
    source: OfSource = "",
    key: Key = None,
    data: Data = None,
    config: Config = None,
    tenant: Tenant = DEFAULT_TENANT,
    json_mode: Json = False,
) -> None:
    """List the documents that were given up, and why. Newest first."""
    wanted = JobFilter(source=source, collection=collection)
    found = use(target(data, config, key, tenant), lambda backend: backend.quarantine(limit, wanted))
    out = Output(json_mode)
    if json_mode:
        out.document({"data": found})
        return
    rows = ((d["name"], d["collection"], d["reason"], d["attempts"], d["document_id"], d["job_id"]) for d in found)
    out.table(("name", "collection", "reason", "tries", "document", "job"), rows, "No document was given up.")


def _act(act: JobAct, job_id: str, where: Any, out: Output) -> None:
    found = use(where, lambda backend: backend.act_on_job(act, job_id))
    if out.json_mode:
        out.document(found)
    else:
        counts = ", ".join(f"{number} {state}" for state, number in found["counts"].items())
        out.say(f"{found['id']}: {found['state']} ({counts})")


def _hold(act: JobAct, job_id: str, collection: str, source: str, where: Any, out: Output) -> None:
    if sum(map(bool, (job_id, collection, source))) != 1:
        raise InvalidRequest("Name one: a job by its id, --collection or --source.")
    if job_id:
        _act(act, job_id, where, out)
        return
    kind: PauseKind = "collection" if collection else "source"

    async def go(backend: Backend) -> list[Plain]:
        await (backend.pause_jobs if act == "pause" else backend.resume_jobs)(kind, collection or source)
        return await backend.pauses()

    _print_pauses(use(where, go), out)


def _print_pauses(found: list[Plain], out: Output) -> None:
    if out.json_mode:
        out.document({"data": found})
        return
    out.table(("kind", "name", "since"), ((p["kind"], p["name"], p["paused_at"]) for p in found), "Nothing is paused.")


def _print(found: Plain, out: Output) -> None:
    if out.json_mode:
        out.document(found)
        return
    out.fields((name, value) for name, value in found.items() if not isinstance(value, list))
    out.say("")
    rows = ((i["state"], i["name"], i["reason"], i["document_id"]) for i in found["items"])
    out.table(("state", "name", "reason", "document"), rows, "None of its documents are yours to see.")
