"""ingest: documents from files and folders, with a progress bar, and in the end what failed and why."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bascule.cli.backend import DEFAULT_TENANT, Backend, Plain, connect
from bascule.cli.options import Allow, Config, Data, Deny, Json, Key, Tenant, target
from bascule.cli.output import Output
from bascule.core.connectors import SkippedItem, SourceItem
from bascule.core.rights import Rights

ENDED: Final = ("indexed", "unchanged", "failed", "superseded", "cancelled")
POLL_S: Final = 0.25


def register(app: typer.Typer) -> None:
    app.command()(ingest)


def ingest(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", exists=True, help="Files and folders.")],
    collection: Annotated[str, typer.Option("--collection", "-c", help="Where they go; made on first use.")],
    allow: Allow = None,
    deny: Deny = None,
    rights: Annotated[
        Path | None,
        typer.Option(
            "--rights", help="A TOML map of file patterns to allow and deny lists.", show_default=False, dir_okay=False
        ),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Stay until a running server has done the work.")] = False,
    key: Key = None,
    data: Data = None,
    config: Config = None,
    tenant: Tenant = DEFAULT_TENANT,
    json_mode: Json = False,
) -> None:
    """Take documents in. Each is safe on disk when this says so, and survives a crash from then on.

    Without a running server this process does the work and stays until it is done. One bad file never stops the others:
    it ends as failed, with the reason (exit code 1). Unchanged files are not embedded again.
    """
    from bascule.cli.sources import read_sources

    base = None if allow is None and deny is None else Rights.of(allow or (), deny or ())
    sources = read_sources(paths, rights, base)
    out = Output(json_mode)
    if base is None and rights is None:
        out.note("Without --allow or --rights only administrators may read new documents.")

    async def go() -> dict[str, Any]:
        async with connect(target(data, config, key, tenant), work=True) as backend:
            return await take_in(backend, collection, sources.items(), base, out, wait=wait)

    report = asyncio.run(go())
    for pattern in sources.unused():
        out.note(f"{pattern!r} in the rights map matches no file that was read.")
    if json_mode:
        out.document(report)
    else:
        _print(report, out)
    if report["failed"]:
        raise typer.Exit(1)


async def take_in(
    backend: Backend,
    collection: str,
    items: AsyncIterator[SourceItem | SkippedItem],
    rights: Rights | None,
    out: Output,
    *,
    wait: bool,
) -> dict[str, Any]:
    """Hand over, watch until done where asked or needed, and report in plain data."""
    started_s = time.monotonic()
    jobs, skipped = await backend.take(collection, items, rights)
    finished = wait or backend.works()
    if finished:
        jobs = await watch(backend, [job["id"] for job in jobs], out)
    took_s = time.monotonic() - started_s
    return report_of(collection, jobs, skipped, took_s, finished)


async def watch(backend: Backend, job_ids: Sequence[str], out: Output) -> list[Plain]:
    """Poll until every job has ended, with a progress bar on a terminal; the jobs as they ended."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
    )
    started_s = time.monotonic()
    with Progress(*columns, console=out.err, disable=not out.err.is_terminal) as bar:
        task = bar.add_task("documents", total=None, rate="")
        while True:
            jobs = [await backend.progress(job_id) for job_id in job_ids]
            counts = tally(jobs)
            done = sum(counts[state] for state in ENDED)
            rate = f"{done / max(time.monotonic() - started_s, 0.001):.1f}/s"
            failed = f", {counts['failed']} failed" if counts["failed"] else ""
            bar.update(task, total=sum(counts.values()), completed=done, rate=rate + failed)
            if all(job["state"] not in ("queued", "running") for job in jobs):
                return [await backend.job(job_id) for job_id in job_ids]
            await asyncio.sleep(POLL_S)


def tally(jobs: Iterable[Plain]) -> Counter[str]:
    """Documents by state over all jobs."""
    counts: Counter[str] = Counter()
    for job in jobs:
        counts.update(job["counts"])
    return counts


def report_of(
    collection: str, jobs: Sequence[Plain], skipped: Sequence[Plain], took_s: float, finished: bool
) -> dict[str, Any]:
    counts = tally(jobs)
    total = sum(counts.values())
    return {
        "collection": collection,
        "jobs": [job["id"] for job in jobs],
        "finished": finished,
        "documents": total,
        "counts": dict(counts),
        "took_s": round(took_s, 3),
        "documents_per_s": round(total / took_s, 2) if finished and took_s > 0 else None,
        "failed": [
            {"document_id": item["document_id"], "name": item["name"], "reason": item["reason"]}
            for job in jobs
            for item in job["items"]
            if item["state"] == "failed"
        ],
        "skipped": list(skipped),
    }


def _print(report: dict[str, Any], out: Output) -> None:
    total, collection = report["documents"], report["collection"]
    if report["finished"]:
        states = ", ".join(f"{count} {state}" for state, count in sorted(report["counts"].items())) or "nothing to do"
        out.say(f"{collection}: {states} in {report['took_s']:.1f} s ({report['documents_per_s']} documents/s)")
    else:
        out.say(f"{collection}: {total} documents accepted; the server is working on them. Watch: bascule jobs list")
    for failure in report["failed"]:
        out.say(f"  failed   {failure['name']}: {failure['reason']}")
    for item in report["skipped"]:
        out.say(f"  skipped  {item['external_id']}: {item['reason']}")
