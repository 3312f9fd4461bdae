"""documents list, show, delete, grant and revoke."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from bascule.cli.backend import DEFAULT_TENANT, Backend, use
from bascule.cli.options import Allow, Config, Data, Deny, Json, Key, Tenant, target
from bascule.cli.output import Output

documents_app = typer.Typer(help="Documents, and who may read them.", no_args_is_help=True)
DocumentId = Annotated[str, typer.Argument(metavar="ID", help="A document's id.")]
Plain = Mapping[str, Any]


def register(app: typer.Typer) -> None:
    app.add_typer(documents_app, name="documents")


@documents_app.command("list")
def list_documents(
    collection: Annotated[
        str | None, typer.Option("--collection", "-c", help="Of this one only.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Most documents.")] = 50,
    after: Annotated[str | None, typer.Option(help="Start after this id.", show_default=False)] = None,
    key: Key = None,
    data: Data = None,
    config: Config = None,
    tenant: Tenant = DEFAULT_TENANT,
    json_mode: Json = False,
) -> None:
    """List documents by id."""
    found = use(target(data, config, key, tenant), lambda backend: backend.documents(collection, limit, after))
    out = Output(json_mode)
    if json_mode:
        out.document({"data": found})
        return
    rows = (
        (
            d["id"],
            d["collection"],
            d["state"],
            d["title"] or d["name"],
            d["chunk_count"],
            rights(d),
            len(d["alike"]) or "",
        )
        for d in found
    )
    out.table(("id", "collection", "state", "title", "chunks", "rights", "alike"), rows, "No documents.")


@documents_app.command("show")
def show_document(
    id: DocumentId,
    chunks: Annotated[bool, typer.Option("--chunks", help="Its passages too.")] = False,
    key: Key = None,
    data: Data = None,
    config: Config = None,
    tenant: Tenant = DEFAULT_TENANT,
    json_mode: Json = False,
) -> None:
    """Show one document: its state, rights, and what cleaning and redaction removed."""

    async def read(backend: Backend) -> dict[str, Any]:
        found = dict(await backend.document(id))
        return {**found, "chunks": await backend.chunks(id)} if chunks else found

    found = use(target(data, config, key, tenant), read)
    out = Output(json_mode)
    if json_mode:
        out.document(found)
        return
    out.fields(
        (name, rights(found) if name == "rights" else value) for name, value in found.items() if name != "chunks"
    )
    for chunk in found.get("chunks", ()):
        out.say(f"\n{chunk['chunk_id']}  {' > '.join(chunk['heading_path'])}\n{chunk['text']}")


@documents_app.command("reveal")
def reveal(
    id: DocumentId,
    pseudonym: Annotated[str, typer.Argument(metavar="PSEUDONYM", help="As it stands in the text: [email:...].")],
    key: Key = None,
    data: Data = None,
    config: Config = None,
    tenant: Tenant = DEFAULT_TENANT,
    json_mode: Json = False,
) -> None:
    """Tell the value behind a pseudonym of a document. Needs the scope audit, and is written in the audit log."""
    value = use(target(data, config, key, tenant), lambda backend: backend.reveal(id, pseudonym))
    out = Output(json_mode)
    if json_mode:
        out.document({"value": value})
    else:
        out.say(value)


@documents_app.command("delete")
def delete_document(
    id: DocumentId,
    key: Key = None,
    data: Data = None,
    config: Config = None,
    tenant: Tenant = DEFAULT_TENANT,
    json_mode: Json = False,
) -> None:
    """Delete a document: it is gone from search, citations and every stored text when this returns."""
    use(target(data, config, key, tenant), lambda backend: backend.delete(id))
    out = Output(json_mode)
    if json_mode:
        out.document({"id": id, "deleted": True})
    out.say(f"Deleted {id}.")


@documents_app.command("grant")
def grant(
    id: DocumentId,
    allow: Allow = None,
    deny: Deny = None,
    key: Key = None,
    data: Data = None,
    config: Config = None,
    tenant: Tenant = DEFAULT_TENANT,
    json_mode: Json = False,
) -> None:
    """Add to a document's allow and deny lists; in force when this returns, and nothing is embedded again.

    What is named with --allow leaves the deny list, and the other way round.
    """
    if not allow and not deny:
        raise typer.BadParameter("give at least one --allow or --deny")
    found = use(target(data, config, key, tenant), lambda backend: backend.grant(id, allow or (), deny or ()))
    _show_rights(found, json_mode)


@documents_app.command("revoke")
def revoke(
    id: DocumentId,
    mark: Annotated[list[str], typer.Option("--mark", help="public, user:U, group:G or role:R; may be repeated.")],
    key: Key = None,
    data: Data = None,
    config: Config = None,
    tenant: Tenant = DEFAULT_TENANT,
    json_mode: Json = False,
) -> None:
    """Take marks off a document's allow list; in force when this returns. Never off its deny list: this opens nothing."""
    found = use(target(data, config, key, tenant), lambda backend: backend.revoke(id, mark))
    _show_rights(found, json_mode)


def rights(document: Plain) -> str:
    """`public, not group:interns`; "" where they are not the reader's to know."""
    held = document.get("rights") or {}
    words = list(held.get("allow", ())) + [f"not {mark}" for mark in held.get("deny", ())]
    return ", ".join(words) or ("admins only" if held else "")


def _show_rights(found: Plain, json_mode: bool) -> None:
    out = Output(json_mode)
    if json_mode:
        out.document(found)
    out.say(f"{found['title'] or found['name']}: {rights(found)}")
