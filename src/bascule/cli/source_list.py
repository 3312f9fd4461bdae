"""sources: how each source of the configuration stands."""

from __future__ import annotations

import typer

from bascule.cli.backend import DEFAULT_TENANT, Plain, use
from bascule.cli.options import Config, Data, Json, Key, Tenant, target
from bascule.cli.output import Output


def register(app: typer.Typer) -> None:
    app.command("sources")(sources)


def sources(
    key: Key = None,
    data: Data = None,
    config: Config = None,
    tenant: Tenant = DEFAULT_TENANT,
    json_mode: Json = False,
) -> None:
    """List the sources of the configuration: when each ran last and runs next, what it did, and what went wrong."""
    found = use(target(data, config, key, tenant), lambda backend: backend.sources())
    out = Output(json_mode)
    if json_mode:
        out.document({"data": found})
        return
    rows = (
        (s["name"], s["kind"], s["collection"], s["state"], s["finished_at"], s["next_at"], _did(s["last"]))
        for s in found
    )
    out.table(("name", "kind", "collection", "state", "last run", "next run", "what it did"), rows, "No sources.")


def _did(last: Plain | None) -> str:
    if last is None:
        return ""
    counts = ("taken", "unchanged", "deleted", "rights_changed", "held_back")
    said = [f"{last[name]} {name.replace('_', ' ')}" for name in counts if last[name]]
    said += [f"{number} skipped: {reason}" for reason, number in last["skipped"].items()]
    said += [why for why in (last["reason"], last["stopped"], *last["partial"], last["error"]) if why]
    return "; ".join(said)
