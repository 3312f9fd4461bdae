"""sync: the sources of the configuration, read now; what came, what went, what was held back and why."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from bascule.cli.backend import DEFAULT_TENANT
from bascule.cli.ingest import report_of, watch
from bascule.cli.options import Config, Data, Json, Key, target
from bascule.cli.output import Output
from bascule.core.errors import ConfigError, StorageError

if TYPE_CHECKING:
    from bascule.cli.local import LocalBackend


def register(app: typer.Typer) -> None:
    app.command()(sync)


def sync(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[SOURCE]...", help="Names under [sources]; all by default.")
    ] = None,
    confirm_deletions: Annotated[
        bool, typer.Option("--confirm-deletions", help="Delete what has gone from the source, however much it is.")
    ] = False,
    key: Key = None,
    data: Data = None,
    config: Config = None,
    json_mode: Json = False,
) -> None:
    """Read sources now: take in what is new or changed, delete what has gone. Only on the machine of the data folder.

    Nothing is deleted when a source does not answer or was not seen whole, nor when more than its `max_deleted_share` has
    gone at once. Exit code 1 when documents failed or deletions were held back, 5 when a source did not answer.
    """
    from bascule.cli.local import open_local

    where = target(data, config, key)
    if where.is_remote:
        raise ConfigError("Sources are read where the data folder is. Run this there, or give them `every_s`.")
    out = Output(json_mode)

    async def go() -> list[dict[str, Any]]:
        async with open_local(where, work=True) as backend:
            return [await _one(backend, name, confirm_deletions, out) for name in _wanted(backend, names)]

    reports = asyncio.run(go())
    if json_mode:
        out.document(reports)
    for report in reports:
        _print(report, out)
    if any(report["stopped"] for report in reports):
        raise StorageError("A source did not answer; nothing of it was deleted.")
    if any(report["failed"] or report["held_back"] for report in reports):
        raise typer.Exit(1)


def _wanted(backend: LocalBackend, names: list[str] | None) -> list[str]:
    sources = backend.app.sources
    if sources is None:
        raise ConfigError("The configuration has no [sources].")
    return names or sources.names()


async def _one(backend: LocalBackend, name: str, confirm_deletions: bool, out: Output) -> dict[str, Any]:
    started_s = time.monotonic()
    sources, given = backend.app.sources, backend.app.settings.sources.get(name)
    assert sources is not None
    backend = backend.operator(given.tenant if given else DEFAULT_TENANT)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=out.err, disable=not out.err.is_terminal, transient=True) as bar:
        task = bar.add_task(f"{name}: reading")
        report = await sources.run(
            name,
            confirm_deletions=confirm_deletions,
            progress=lambda seen: bar.update(task, description=f"{name}: {seen} seen"),
        )
    jobs = [await backend.job(job_id) for job_id in report.jobs]
    finished = backend.works() or not jobs
    if backend.works():
        jobs = await watch(backend, report.jobs, out)
    facts: dict[str, Any] = msgspec.to_builtins(report)
    skipped = [{"external_id": item.external_id, "reason": item.reason} for item in report.skipped]
    return facts | report_of(report.collection, jobs, skipped, time.monotonic() - started_s, finished)


def _print(report: dict[str, Any], out: Output) -> None:
    states = ", ".join(f"{count} {state}" for state, count in sorted(report["counts"].items())) or "nothing taken"
    facts = [states, f"{report['unchanged']} not asked for again", f"{report['deleted']} deleted"]
    out.say(f"{report['source']} into {report['collection']}: {', '.join(facts)} in {report['took_s']:.1f} s")
    for failure in report["failed"]:
        out.say(f"  failed   {failure['name']}: {failure['reason']}")
    for item in report["skipped"]:
        out.say(f"  skipped  {item['external_id']}: {item['reason']}")
    for reason in report["partial"]:
        out.say(f"  not seen whole: {reason}")
    if report["held_back"]:
        out.say(f"  {report['held_back']} deletions held back: {report['reason']}")
    if report["stopped"]:
        out.say(f"  stopped: {report['stopped']}")
