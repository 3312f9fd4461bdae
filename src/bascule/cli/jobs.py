"""jobs list and show."""

from __future__ import annotations

from typing import Annotated

import typer

from bascule.cli.backend import DEFAULT_TENANT, use
from bascule.cli.options import Config, Data, Json, Key, Tenant, target
from bascule.cli.output import Output

jobs_app = typer.Typer(help="Ingestion jobs, and why a document failed.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    app.add_typer(jobs_app, name="jobs")


@jobs_app.command("list")
def list_jobs(
    limit: Annotated[int, typer.Option(min=1, max=200, help="Most jobs.")] = 20,
    key: Key = None,
    data: Data = None,
    config: Config = None,
    tenant: Tenant = DEFAULT_TENANT,
    json_mode: Json = False,
) -> None:
    """List jobs, newest first."""
    found = use(target(data, config, key, tenant), lambda backend: backend.jobs(limit))
    out = Output(json_mode)
    if json_mode:
        out.document({"data": found})
        return
    rows = ((j["id"], j["collection"], j["state"], j["created_at"], j["counts"]) for j in found)
    out.table(("id", "collection", "state", "created", "documents"), rows, "No jobs.")


@jobs_app.command("show")
def show_job(
    id: Annotated[str, typer.Argument(metavar="ID", help="A job's id.")],
    key: Key = None,
    data: Data = None,
    config: Config = None,
    tenant: Tenant = DEFAULT_TENANT,
    json_mode: Json = False,
) -> None:
    """Show one job and each of its documents."""
    found = use(target(data, config, key, tenant), lambda backend: backend.job(id))
    out = Output(json_mode)
    if json_mode:
        out.document(found)
        return
    out.fields((name, value) for name, value in found.items() if not isinstance(value, list))
    out.say("")
    rows = ((i["state"], i["name"], i["reason"], i["document_id"]) for i in found["items"])
    out.table(("state", "name", "reason", "document"), rows, "None of its documents are yours to see.")
