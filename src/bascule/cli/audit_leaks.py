"""audit leaks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from bascule.cli.options import Json
from bascule.cli.output import Output

if TYPE_CHECKING:
    from bascule.evals.leaks.audit import Plan, Report


def add(audit: typer.Typer) -> None:
    audit.command("leaks")(leaks)


def leaks(
    url: Annotated[
        str | None, typer.Option("--url", help="The running server (BASCULE_URL).", show_default=False)
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            "--key", help="An administrator's key (BASCULE_KEY), with admin, ingest, ask, chat.", show_default=False
        ),
    ] = None,
    other_key: Annotated[
        str | None,
        typer.Option(
            "--other-key", help="The same of another tenant, to try the wall between the two.", show_default=False
        ),
    ] = None,
    acts: Annotated[int, typer.Option("--acts", min=1, max=1000, help="Changes made one after another.")] = 12,
    reads: Annotated[int, typer.Option("--reads", min=0, max=10_000, help="Reads beside each of them.")] = 40,
    replies: Annotated[
        int, typer.Option("--replies", min=0, help="Go on with changes until so many replies were judged.")
    ] = 0,
    model: Annotated[
        str, typer.Option("--model", help="A model that is called as well, to try its cache; best one of kind echo.")
    ] = "",
    answers: Annotated[
        bool, typer.Option("--answers/--no-answers", help="Ask for answers: the model configured for them is called.")
    ] = True,
    log: Annotated[
        list[Path] | None,
        typer.Option(
            "--log", exists=True, dir_okay=False, help="A log of the server, searched as well; may be repeated."
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="The same number makes the same acts.")] = 0,
    tries: Annotated[
        int, typer.Option("--tries", min=0, max=1000, help="Runs to shorten a list of changes that brought a finding.")
    ] = 12,
    json_mode: Json = False,
) -> None:
    """Try whether anybody is shown what they may not read: people and documents made for it, changed and read by everybody in every
    way while they change. Everything that comes back is searched. What was made is removed at the end.

    The documents go into the collection leak-audit and can be read by the audit's own people only. Exit code 1 when something
    was shown.
    """
    import asyncio

    from bascule.core.errors import ConfigError
    from bascule.evals.leaks.audit import Plan

    where, credential = url or os.environ.get("BASCULE_URL"), key or os.environ.get("BASCULE_KEY")
    if not where or not credential:
        raise ConfigError("The audit needs a running server and an administrator's key: --url URL --key KEY.")
    out = Output(json_mode)
    plan = Plan(acts=acts, reads=reads, replies=replies, model=model, answers=answers, seed=seed, tries=tries)
    report = asyncio.run(_run(where, [credential, *([other_key] if other_key else [])], plan, log or [], out))
    _print(report, out)
    if not report.clean:
        raise typer.Exit(1)


async def _run(url: str, keys: list[str], plan: Plan, logs: list[Path], out: Output) -> Report:
    from rich.progress import Progress

    from bascule.core.errors import ConfigError
    from bascule.evals.leaks.audit import audit
    from bascule.evals.leaks.client import Client

    async with Client(url) as client:
        admins = {await _tenant(client, key): key for key in keys}
    if len(admins) < len(keys):
        raise ConfigError("Both keys are of the same tenant: --other-key is for another one.")
    with Progress(console=out.err, disable=not out.err.is_terminal, transient=True) as bar:
        task = bar.add_task("begin", total=1.0)
        return await audit(
            url,
            admins,
            plan,
            lambda what, done: bar.update(task, description=what, completed=done),
            lambda: b"\n".join(path.read_bytes() for path in logs),
        )


async def _tenant(client: Any, key: str) -> str:
    """Whose key it is. Raises ConfigError for one that may not do what the audit does."""
    from bascule.core.errors import ConfigError

    reply = await client.send("GET", "/v1/keys", key)
    listed = (reply.json() or {}).get("data") or []
    own = next((one for one in listed if key.startswith(one["prefix"])), None)
    lacking = sorted({"admin", "ingest", "ask", "chat"} - set(own["scopes"] if own else ()))
    if reply.status != 200 or own is None or lacking:
        raise ConfigError(f"The key of an administrator is needed; this one lacks: {', '.join(lacking)}.")
    return str(own["tenant"])


def _print(report: Report, out: Output) -> None:
    if out.json_mode:
        out.document({"clean": report.clean, **msgspec.to_builtins(report)})
        return
    rows = ((f.kind, f.who, f.where, f.what, f.after) for f in report.findings)
    if report.findings:
        out.table(("kind", "who", "where", "what", "after"), rows, "")
    if report.shortest:
        out.say(f"These changes are enough ({report.tries} runs tried):")
        for act in report.shortest:
            out.say(f"  {act}")
    result = "nobody was shown what they may not read." if report.clean else f"{len(report.findings)} findings."
    out.say(
        f"{report.replies} replies to {report.people} people of {report.tenants} tenants, over {report.acts} acts"
        f" on {report.papers} documents: {result}"
    )
