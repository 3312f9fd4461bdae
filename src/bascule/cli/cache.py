"""cache purge."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated
from urllib.parse import urlencode

import typer

from bascule.cli.options import Json, Key, target
from bascule.cli.output import Output

cache_app = typer.Typer(help="Kept answers of a running server.", no_args_is_help=True)


class Scope(StrEnum):
    TENANT = "tenant"
    MODEL = "model"
    KEY = "key"
    USER = "user"
    DOCUMENT = "document"


def register(app: typer.Typer) -> None:
    app.add_typer(cache_app, name="cache")


@cache_app.command("purge")
def purge(
    scope: Annotated[Scope, typer.Argument(help="Whose kept answers to remove.")],
    id: Annotated[
        str, typer.Argument(metavar="[ID]", help="The model, key, user or document; none for the whole tenant.")
    ] = "",
    key: Key = None,
    json_mode: Json = False,
) -> None:
    """Remove kept answers of the key's tenant from the server at BASCULE_URL. Needs an administrator's key."""
    from bascule.cli.http_peer import HttpPeer
    from bascule.core.errors import ConfigError

    server = target(key=key)
    if not server.url:
        raise ConfigError("Kept answers are a running server's: set BASCULE_URL to its address.")
    found = HttpPeer(server.url, server.key or "").call(
        "DELETE", f"/v1/cache?{urlencode({'scope': scope.value, 'id': id})}"
    )
    out = Output(json_mode)
    if json_mode:
        out.document(found)
    else:
        out.say(f"Removed {found['removed']} kept answers.")
