"""doctor: what proves that an installation is in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import typer

from bascule.cli.backend import DEFAULT_TENANT
from bascule.cli.options import Config, Data, Json, Tenant
from bascule.cli.output import Output

if TYPE_CHECKING:
    from bascule.ops.doctor import Finding
    from bascule.settings import Settings


def register(app: typer.Typer) -> None:
    app.command()(doctor)


def doctor(data: Data = None, config: Config = None, tenant: Tenant = DEFAULT_TENANT, json_mode: Json = False) -> None:
    """Check the data folder: rights, catalogue and index, stored bytes, model, confinement of parsers, disk.

    Reads only and calls no provider. Exit code 0 (warnings too) or 1 when something needs repair.
    """
    import asyncio

    from bascule.bootstrap.sealing import open_seal
    from bascule.core.errors import BasculeError, ConfigError
    from bascule.ops import doctor as checks
    from bascule.settings import load

    settings = load(config, data=data)
    if not settings.data.is_dir():
        raise ConfigError(f"There is no data folder at {settings.data}. Run: bascule init --data {settings.data}")
    findings = [
        *checks.folder(settings.data),
        checks.sealed(settings.data, open_seal(settings)),
        checks.model(settings),
        checks.confinement(),
        checks.recognition(settings),
    ]
    try:
        findings += asyncio.run(_stores(settings, tenant))
    except BasculeError as error:
        fix = "correct it and run doctor again" if isinstance(error, ConfigError) else "see the message"
        findings.append(checks.Finding(name="catalogue", state="fail", text=str(error), fix=fix))
    _print(findings, checks.worst(findings), Output(json_mode))
    if checks.worst(findings) == "fail":
        raise typer.Exit(1)


async def _stores(settings: Settings, tenant: str) -> list[Finding]:
    from bascule.bootstrap import open_app
    from bascule.db.blobs import FolderBlobs
    from bascule.ops import doctor as checks

    async with open_app(settings, work=False) as app:
        findings = [checks.Finding(name="catalogue", state="ok", text="it opens, and its schema is this version's")]
        findings += [checks.Finding(name="degraded", state="warn", text=note) for note in app.degraded]
        findings += await checks.shared_state(app.state)
        findings += checks.wall(await app.catalogue.wall())
        tenants = {tenant, *(owner for owner, _ in await app.catalogue.live_documents())}
        if app.store is not None:
            findings += await checks.agreement(app.catalogue, app.store, tenants)
            findings.append(await checks.orphans(app.catalogue, FolderBlobs(settings.data.resolve() / "blobs")))
        return findings


def _print(findings: list[Finding], worst: str, out: Output) -> None:
    if out.json_mode:
        out.document({"state": worst, "findings": [msgspec.to_builtins(finding) for finding in findings]})
        return
    colours = {"ok": "green", "warn": "yellow", "fail": "red"}
    for finding in findings:
        out.out.print(f"[{colours[finding.state]}]{finding.state:<5}[/]", end="")
        out.say(f"{finding.name:<10} {finding.text}")
        if finding.fix:
            out.say(f"     {'':<10} -> {finding.fix}")
