"""rights list, set, inherit and why."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer

from bascule.cli.backend import DEFAULT_TENANT, use
from bascule.cli.documents import DocumentId, rights
from bascule.cli.options import Allow, Config, Data, Deny, Json, Key, Tenant, target
from bascule.cli.output import Output

rights_app = typer.Typer(help="Rights that documents inherit, and why somebody may read one.", no_args_is_help=True)


class Kind(StrEnum):
    collection = "collection"
    source = "source"
    folder = "folder"


def register(app: typer.Typer) -> None:
    app.add_typer(rights_app, name="rights")


@rights_app.command("list")
def list_levels(
    key: Key = None,
    data: Data = None,
    config: Config = None,
    tenant: Tenant = DEFAULT_TENANT,
    json_mode: Json = False,
) -> None:
    """List the rights of collections, sources and folders."""
    found = use(target(data, config, key, tenant), lambda backend: backend.levels())
    out = Output(json_mode)
    if json_mode:
        out.document({"data": found})
        return
    rows = ((x["kind"], x["collection"], x["name"], ", ".join(x["allow"]), ", ".join(x["deny"])) for x in found)
    out.table(("kind", "collection", "name", "allow", "deny"), rows, "No rules.")


@rights_app.command("set")
def set_level(
    kind: Annotated[Kind, typer.Argument(metavar="KIND", help="collection, source or folder.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of a folder: its path with a slash at its end.")],
    collection: Annotated[str, typer.Option("--collection", "-c", help="Of a folder.", show_default=False)] = "",
    allow: Allow = None,
    deny: Deny = None,
    key: Key = None,
    data: Data = None,
    config: Config = None,
    tenant: Tenant = DEFAULT_TENANT,
    json_mode: Json = False,
) -> None:
    """Give a collection, a source or a folder its rights anew; in force for all under it when this returns.

    Whoever a level denies is shut out of every document under it. Whom it allows are let into documents that have no allow
    list of their own, unless a narrower level says otherwise. Without --allow and --deny it says nothing.
    """
    found = use(
        target(data, config, key, tenant),
        lambda backend: backend.set_level(kind.value, name, allow or (), deny or (), collection),
    )
    out = Output(json_mode)
    if json_mode:
        out.document(found)
        return
    words = list(found["allow"]) + [f"not {mark}" for mark in found["deny"]]
    out.say(f"{kind.value} {name}: {', '.join(words) or 'says nothing'}")


@rights_app.command("inherit")
def inherit(
    id: DocumentId,
    key: Key = None,
    data: Data = None,
    config: Config = None,
    tenant: Tenant = DEFAULT_TENANT,
    json_mode: Json = False,
) -> None:
    """Drop a document's own lists, so that the levels above it decide again."""
    found = use(target(data, config, key, tenant), lambda backend: backend.inherit(id))
    out = Output(json_mode)
    if json_mode:
        out.document(found)
        return
    out.say(f"{found['title'] or found['name']}: {rights(found)}")


@rights_app.command("why")
def why(
    id: DocumentId,
    principal: Annotated[str, typer.Option("--principal", help="user:U, group:G, role:R or public.")],
    key: Key = None,
    data: Data = None,
    config: Config = None,
    tenant: Tenant = DEFAULT_TENANT,
    json_mode: Json = False,
) -> None:
    """Say whether somebody may read a document, and which rule on which level decides. Needs the scope audit; audited."""
    found = use(target(data, config, key, tenant), lambda backend: backend.why(id, principal))
    out = Output(json_mode)
    if json_mode:
        out.document(found)
        return
    out.say(f"{principal} {'may' if found['allowed'] else 'may not'} read it: {_because(found)}.")


def _because(found: Mapping[str, Any]) -> str:
    if found["effect"] == "none":
        return "no rule on any level lets them in"
    if found["effect"] == "admin":
        return "administrators may read everything of their tenant"
    if found["effect"] == "owner":
        return "it is theirs"
    whose = "the document itself" if found["level"] == "document" else f"the {found['level']} {found['name']}"
    return f"{whose} {'denies' if found['effect'] == 'deny' else 'allows'} {found['mark']}"
