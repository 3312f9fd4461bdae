"""routes: the models callers name: list, show, create, change, disable, enable and remove."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from bascule.cli.backend import DEFAULT_TENANT, Plain, use
from bascule.cli.options import Config, Data, Json, Key, Tenant, target
from bascule.cli.output import Output
from bascule.core.errors import InvalidRequest

routes_app = typer.Typer(help="The models callers name, made and changed while the server runs.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="What callers give as `model`.")]
Targets = Annotated[
    list[str] | None,
    typer.Option("--target", "-t", help="PROVIDER/MODEL; may be repeated: tried in order.", show_default=False),
]
SettingsFile = Annotated[
    Path | None,
    typer.Option(
        "--settings",
        help="A JSON file with the keys of [models.NAME]; - for stdin.",
        show_default=False,
        allow_dash=True,
    ),
]


def register(app: typer.Typer) -> None:
    app.add_typer(routes_app, name="routes")


@routes_app.command("list")
def list_routes(
    key: Key = None,
    data: Data = None,
    config: Config = None,
    tenant: Tenant = DEFAULT_TENANT,
    json_mode: Json = False,
) -> None:
    """List every route, the configuration's own and those made here."""
    found = use(target(data, config, key, tenant), lambda backend: backend.routes())
    out = Output(json_mode)
    if json_mode:
        out.document(found)
        return
    rows = ((r["name"], r["origin"], _state(r), _targets(r), r["problem"]) for r in found["data"])
    out.table(("name", "origin", "state", "targets", "problem"), rows, "No routes.")


@routes_app.command("show")
def show(
    name: Name,
    key: Key = None,
    data: Data = None,
    config: Config = None,
    tenant: Tenant = DEFAULT_TENANT,
    json_mode: Json = False,
) -> None:
    """Show one route with its settings."""
    _print(use(target(data, config, key, tenant), lambda backend: backend.route(name)), Output(json_mode))


@routes_app.command("create")
def create(
    name: Name,
    targets: Targets = None,
    settings: SettingsFile = None,
    disabled: Annotated[bool, typer.Option("--disabled", help="Make it, but not for callers yet.")] = False,
    key: Key = None,
    data: Data = None,
    config: Config = None,
    tenant: Tenant = DEFAULT_TENANT,
    json_mode: Json = False,
) -> None:
    """Make a route over providers of the configuration. Running servers serve it within a second."""
    given = _given(targets, settings)
    found = use(target(data, config, key, tenant), lambda backend: backend.create_route(name, given, not disabled))
    _print(found, Output(json_mode))


@routes_app.command("change")
def change(
    name: Name,
    targets: Targets = None,
    settings: SettingsFile = None,
    key: Key = None,
    data: Data = None,
    config: Config = None,
    tenant: Tenant = DEFAULT_TENANT,
    json_mode: Json = False,
) -> None:
    """Replace a route's settings. Calls under way end by the old ones."""
    given = _given(targets, settings)
    _print(
        use(target(data, config, key, tenant), lambda backend: backend.change_route(name, given, None)),
        Output(json_mode),
    )


@routes_app.command("disable")
def disable(
    name: Name,
    key: Key = None,
    data: Data = None,
    config: Config = None,
    tenant: Tenant = DEFAULT_TENANT,
    json_mode: Json = False,
) -> None:
    """Take a route from callers, and keep its settings."""
    _print(
        use(target(data, config, key, tenant), lambda backend: backend.change_route(name, None, False)),
        Output(json_mode),
    )


@routes_app.command("enable")
def enable(
    name: Name,
    key: Key = None,
    data: Data = None,
    config: Config = None,
    tenant: Tenant = DEFAULT_TENANT,
    json_mode: Json = False,
) -> None:
    """Give a disabled route back to callers."""
    _print(
        use(target(data, config, key, tenant), lambda backend: backend.change_route(name, None, True)),
        Output(json_mode),
    )


@routes_app.command("remove")
def remove(
    name: Name,
    key: Key = None,
    data: Data = None,
    config: Config = None,
    tenant: Tenant = DEFAULT_TENANT,
    json_mode: Json = False,
) -> None:
    """Remove a route for good."""
    use(target(data, config, key, tenant), lambda backend: backend.remove_route(name))
    out = Output(json_mode)
    if json_mode:
        out.document({"removed": name})
    else:
        out.say(f"Removed {name}.")


def _given(targets: list[str] | None, settings: Path | None) -> dict[str, Any]:
    found = _read(settings) if settings is not None else {}
    if targets:
        if "targets" in found:
            raise InvalidRequest("Give targets in the file or by --target, not both.")
        found["targets"] = [_target(text) for text in targets]
    return found


def _target(text: str) -> dict[str, str]:
    provider, mark, model = text.partition("/")
    if not (provider and mark and model):
        raise InvalidRequest(f"{text!r} is not PROVIDER/MODEL, e.g. openai/gpt-5-mini.")
    return {"provider": provider, "model": model}


def _read(path: Path) -> dict[str, Any]:
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
        found = json.loads(text)
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise InvalidRequest(f"{path} is not JSON: {error}.") from None
    if not isinstance(found, dict):
        raise InvalidRequest(f"{path} is not a JSON object with the keys of [models.NAME].")
    return found


def _state(route: Plain) -> str:
    if route["problem"]:
        return "unusable"
    return "enabled" if route["enabled"] else "disabled"


def _targets(route: Plain) -> list[str]:
    return [f"{t['provider']}/{t['model']}" for t in route["settings"].get("targets", ())]


def _print(route: Plain, out: Output) -> None:
    if out.json_mode:
        out.document(route)
        return
    out.fields((name, value) for name, value in route.items() if name != "settings")
    out.say(json.dumps(route["settings"], ensure_ascii=False, indent=2))
