"""init, serve and config: the folder and the server themselves."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bascule.cli.options import Config, Data, Json
from bascule.cli.output import Output

if TYPE_CHECKING:
    from bascule.settings import Settings

config_app = typer.Typer(help="The configuration.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    app.command()(init)
    app.command()(serve)
    app.add_typer(config_app, name="config")


def init(data: Data = None, config: Config = None, json_mode: Json = False) -> None:
    """Create the data folder and print the admin key, once."""
    import asyncio

    from bascule import bootstrap
    from bascule.settings import load

    settings = load(config, data=data)
    key = asyncio.run(bootstrap.init(settings))
    out = Output(json_mode)
    if json_mode:
        out.document({"data": str(settings.data), "created": key is not None, "key": key})
        return
    if key is None:
        out.say(f"{settings.data} was there already, with its keys. Nothing has changed.")
        return
    out.say(f"Created {settings.data}. The admin key, shown this once (only its hash is kept):\n")
    out.say(f"    {key}\n")
    out.say(f"Next:  bascule serve --data {settings.data}")


def serve(
    data: Data = None,
    config: Config = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on (127.0.0.1).", show_default=False)] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on (8400); 0 picks a free one.", show_default=False)
    ] = None,
    local_model: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="A GGUF file that answers on this machine (rag.local_model).", show_default=False
        ),
    ] = None,
) -> None:
    """Run the server until Ctrl-C or SIGTERM, then let running requests finish. SIGHUP reads the configuration again."""
    import gc

    gc.disable()  # until the server is ready: what is loaded now stays, and walking it again and again is a tenth of the start
    import logging

    from bascule.server.run import serve as run
    from bascule.settings import load

    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}

    def source() -> Settings:
        rag = None if local_model is None else {"local_model": local_model}
        return load(config, data=data, server=given or None, rag=rag)

    settings = source()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for chatty in ("dbos", "alembic", "sqlalchemy", "uvicorn.access"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    run(settings, announce=lambda address: print(f"Bascule listens on {address}", flush=True), source=source)


@config_app.command("check")
def check(data: Data = None, config: Config = None, json_mode: Json = False) -> None:
    """Read the configuration as the server would and print the effective tree, secrets masked.

    Exit code 2 and the key's path when it is not valid. A reference such as env:NAME is checked to resolve, never printed.
    """
    from bascule.settings import load

    settings = load(config, data=data)
    tree = masked(settings)
    missing = list(unresolved(settings))
    out = Output(json_mode)
    if json_mode:
        out.document({"valid": not missing, "problems": missing, "settings": tree})
    else:
        for line in _lines("", tree):
            out.say(line)
    for problem in missing:
        out.problem(problem)
    if missing:
        raise typer.Exit(2)


def masked(settings: Settings) -> dict[str, Any]:
    """The tree as plain data: the password of a URL and anything that looks like a literal secret replaced by ***."""
    tree: dict[str, Any] = json.loads(settings.model_dump_json())
    return {key: _mask(value, key) for key, value in tree.items()}


def _mask(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _mask(inner, key) for key, inner in value.items()}
    if isinstance(value, list):
        return [_mask(inner, name) for inner in value]
    if isinstance(value, str) and value:
        secret = any(part in name.lower() for part in ("key", "secret", "token", "password"))
        if secret and not value.startswith(("env:", "file:")):
            return "***"
        return _without_password(value)
    return value


def _without_password(text: str) -> str:
    scheme, sign, rest = text.partition("://")
    user, at, host = rest.rpartition("@")
    if not sign or not at:
        return text
    return f"{scheme}://{user.partition(':')[0]}{':***' if ':' in user else ''}@{host}"


def unresolved(settings: Settings) -> list[str]:
    """References of providers that lead nowhere, in words."""
    from bascule.bootstrap import secret
    from bascule.core.errors import ConfigError

    problems = []
    for name, provider in settings.providers.items():
        for field, value in (provider.model_extra or {}).items():
            if isinstance(value, str) and value.startswith(("env:", "file:")):
                try:
                    secret(value)
                except ConfigError as error:
                    problems.append(f"providers.{name}.{field}: {error}")
    return problems


def _lines(prefix: str, tree: dict[str, Any]) -> list[str]:
    lines = []
    for key, value in tree.items():
        path = f"{prefix}.{key}" if prefix else key
        if isinstance(value, dict) and value:
            lines += _lines(path, value)
        else:
            name = "BASCULE_" + path.upper().replace(".", "__")
            lines.append(f"{path} = {json.dumps(value)}{'    # from ' + name if os.environ.get(name) else ''}")
    return lines
