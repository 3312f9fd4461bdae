"""keys create, list, revoke and act-as."""

from __future__ import annotations

from typing import Annotated

import typer

from bascule.cli.backend import DEFAULT_TENANT, KeyRequest, use
from bascule.cli.options import Config, Data, Json, Key, target
from bascule.cli.output import Output

keys_app = typer.Typer(help="API keys.", no_args_is_help=True)
Tenant = Annotated[
    str | None, typer.Option("--tenant", help="Whose key it is; 'default' by default.", show_default=False)
]


def register(app: typer.Typer) -> None:
    app.add_typer(keys_app, name="keys")


@keys_app.command("create")
def create(
    name: Annotated[str, typer.Option(help="What the key is for; shown in lists.")],
    tenant: Tenant = None,
    user: Annotated[str, typer.Option(help="Whom it speaks for.", show_default=False)] = "",
    group: Annotated[list[str] | None, typer.Option(help="May be repeated.", show_default=False)] = None,
    role: Annotated[list[str] | None, typer.Option(help="May be repeated.", show_default=False)] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="chat, ask (both by default), ingest, admin, audit, metrics, act_as or scim; may be repeated.",
            show_default=False,
        ),
    ] = None,
    rpm: Annotated[int | None, typer.Option(min=1, help="Most requests per minute.", show_default=False)] = None,
    tpm: Annotated[int | None, typer.Option(min=1, help="Most tokens per minute.", show_default=False)] = None,
    usd_per_day: Annotated[
        float | None, typer.Option(min=0.000001, help="Budget per day (UTC).", show_default=False)
    ] = None,
    usd_per_month: Annotated[
        float | None, typer.Option(min=0.000001, help="Budget per calendar month (UTC).", show_default=False)
    ] = None,
    concurrent: Annotated[int | None, typer.Option(min=1, help="Most calls at once.", show_default=False)] = None,
    expires_at: Annotated[
        str | None, typer.Option(help="An instant like 2030-01-31T12:00:00Z.", show_default=False)
    ] = None,
    key: Key = None,
    data: Data = None,
    config: Config = None,
    json_mode: Json = False,
) -> None:
    """Make an API key and print it, once: only its hash is kept."""
    wanted = KeyRequest(
        name=name,
        tenant=tenant or "",
        subject=user,
        groups=tuple(group or ()),
        roles=tuple(role or ()),
        scopes=tuple(scope or ()),
        expires_at=expires_at,
        requests_per_min=rpm,
        tokens_per_min=tpm,
        usd_per_day=usd_per_day,
        concurrent=concurrent,
        usd_per_month=usd_per_month,
    )
    made = use(target(data, config, key, tenant or DEFAULT_TENANT), lambda backend: backend.create_key(wanted))
    out = Output(json_mode)
    if json_mode:
        out.document(made)
        return
    out.say(made["key"])
    out.note(f"Key {made['id']} ({made['name']}). It is shown this once: only its hash is kept.")


@keys_app.command("list")
def list_keys(
    tenant: Tenant = None, key: Key = None, data: Data = None, config: Config = None, json_mode: Json = False
) -> None:
    """List keys, revoked ones too; never the keys themselves."""
    found = use(target(data, config, key, tenant or DEFAULT_TENANT), lambda backend: backend.keys())
    out = Output(json_mode)
    if json_mode:
        out.document({"data": found})
        return
    rows = (
        (
            k["id"],
            k["name"],
            k["prefix"],
            k["subject"],
            k["groups"],
            k["scopes"],
            "revoked" if k["revoked_at"] else k["expires_at"] or "active",
        )
        for k in found
    )
    out.table(("id", "name", "prefix", "user", "groups", "scopes", "state"), rows, "No keys.")


@keys_app.command("revoke")
def revoke(
    id: Annotated[str, typer.Argument(metavar="ID", help="A key's id.")],
    tenant: Tenant = None,
    key: Key = None,
    data: Data = None,
    config: Config = None,
    json_mode: Json = False,
) -> None:
    """Revoke a key; a running server refuses it within a second."""
    found = use(target(data, config, key, tenant or DEFAULT_TENANT), lambda backend: backend.revoke_key(id))
    out = Output(json_mode)
    if json_mode:
        out.document(found)
    out.say(f"Revoked {found['name']} ({found['prefix']}…).")


@keys_app.command("act-as")
def act_as(
    user: Annotated[str, typer.Option("--user", help="Whom the key is to speak for.")],
    lasts_s: Annotated[float, typer.Option("--lasts", help="Seconds until it expires, at most 300.")] = 120.0,
    key: Key = None,
    json_mode: Json = False,
) -> None:
    """Sign a token by which a key with the scope act_as speaks for a user; it goes in the header Bascule-Act-As beside the key.

    Signed here, with the key of --key or BASCULE_KEY: nothing is sent.
    """
    from bascule.access.act_as import mint

    if not key:
        raise typer.BadParameter("give the service key with --key or BASCULE_KEY")
    token = mint(key, user, lasts_s)
    out = Output(json_mode)
    if json_mode:
        out.document({"header": "Bascule-Act-As", "token": token})
    else:
        out.say(token)
