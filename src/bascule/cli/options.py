"""Options that many commands share, written once, and how they name a target."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from bascule.cli.backend import DEFAULT_TENANT, Target

Data = Annotated[
    Path | None,
    typer.Option(
        "--data", help="The data folder (BASCULE_DATA; bascule-data by default).", show_default=False, file_okay=False
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="A TOML file (BASCULE_CONFIG; bascule.toml in the data folder by default).",
        show_default=False,
        dir_okay=False,
    ),
]
Key = Annotated[
    str | None,
    typer.Option(
        "--key", help="Act with this API key's rights (BASCULE_KEY) instead of the operator's.", show_default=False
    ),
]
Tenant = Annotated[str, typer.Option("--tenant", help="The tenant the operator acts for; a key brings its own.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else there.")]
Collections = Annotated[
    list[str] | None,
    typer.Option("--collection", "-c", help="Search here only; may be repeated. All by default.", show_default=False),
]
Allow = Annotated[
    list[str] | None,
    typer.Option(
        "--allow", help="Who may read: public, user:U, group:G or role:R; may be repeated.", show_default=False
    ),
]
Deny = Annotated[
    list[str] | None,
    typer.Option("--deny", help="Who may not, whatever else allows it; may be repeated.", show_default=False),
]


def target(
    data: Path | None = None, config: Path | None = None, key: str | None = None, tenant: str = DEFAULT_TENANT
) -> Target:
    """From the options given and the environment. `--data` or `--config` always mean this machine's folder."""
    url = os.environ.get("BASCULE_URL") if data is None and config is None else None
    return Target(
        data=data,
        config=config,
        key=key or os.environ.get("BASCULE_KEY") or None,
        url=url or None,
        tenant=tenant,
    )
