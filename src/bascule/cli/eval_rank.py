"""eval rank: a public test collection in the BEIR layout, searched on this Bascule."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.progress import Progress

from bascule.cli.backend import DEFAULT_TENANT, Backend, use
from bascule.cli.options import Config, Data, Json, Key, Tenant, target
from bascule.cli.output import Output
from bascule.core.connectors import SkippedItem, SourceItem
from bascule.core.rights import Rights

if TYPE_CHECKING:
    from bascule.core.evaluations import EvalCase
    from bascule.evals import beir

_HITS = 30  # passages: of them 10 different documents


def add(app: typer.Typer) -> None:
    app.command("rank")(rank)


def rank(
    folder: Annotated[
        Path,
        typer.Argument(exists=True, file_okay=False, help="With corpus.jsonl, queries.jsonl and qrels."),
    ],
    collection: Annotated[str, typer.Option("--collection", "-c", help="Where its corpus is, or goes with --take.")],
    take: Annotated[
        bool, typer.Option("--take", help="Take the corpus in first, readable for administrators.")
    ] = False,
    sample: Annotated[
        int | None, typer.Option("--sample", min=1, help="Ask so many of the queries only.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="The same number draws the same sample.")] = 0,
    fail_under: Annotated[
        list[str] | None,
        typer.Option("--fail-under", help="METRIC=VALUE; exit code 1 when it is lower.", show_default=False),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep/--no-keep", help="Keep what came of it in the history.")] = True,
    key: Key = None,
    data: Data = None,
    config: Config = None,
    tenant: Tenant = DEFAULT_TENANT,
    json_mode: Json = False,
) -> None:
    """Search every query of a test collection in the BEIR layout and print nDCG, recall and MRR of the documents found."""
    from bascule.cli.evaluate import floor_of, kept, shown, under
    from bascule.evals import beir

    found = beir.read(folder)
    names = ("ndcg_at_10", "recall_at_10", "mrr")
    floors = [floor_of(text, names) for text in fail_under or ()]
    asked, out = beir.chosen(found, sample, seed), Output(json_mode)
    if found.warning:
        out.note(f"warning: {found.warning}")
    cases: list[EvalCase] = []

    async def measure(backend: Backend) -> str | None:
        if take:
            await _take(backend, collection, found, out)
        with Progress(console=out.err, disable=not out.err.is_terminal, transient=True) as bar:
            for query in bar.track(asked, description="queries"):
                cases.append(await _case(backend, collection, found, query))
        figures = _figures(cases)
        notes = {"collection": collection, "sample": str(sample or ""), "seed": str(seed)}
        made = kept("ranking", folder.name, figures, cases, **notes)
        return str((await backend.save_eval_run(made))["id"]) if keep else None

    run_id = use(target(data, config, key, tenant), measure, work=take)
    figures = _figures(cases)
    failed = [f"{name} is {shown(figures[name])}, under {low}" for name, low in floors if under(figures[name], low)]
    if json_mode:
        out.document({"id": run_id, "set": folder.name, "figures": figures, "failed": failed})
    else:
        out.fields((name, shown(value)) for name, value in figures.items())
    for line in failed:
        out.problem(line)
    if failed:
        raise typer.Exit(1)


async def _case(backend: Backend, collection: str, found: beir.Collection, query: str) -> EvalCase:
    from bascule.core.evaluations import EvalCase, case_key
    from bascule.evals import beir
    from bascule.evals.golden import Names

    text = found.queries[query]
    hits = await backend.search(text, [collection], _HITS)
    names = Names(backend)
    ranked = [await names.match(hit["document_id"], found.relevant[query]) for hit in hits]
    ids = tuple(dict.fromkeys(hit["document_id"] for hit in hits))[: beir.K]
    return EvalCase(
        key=case_key(text, query), question=text[:4000], figures=beir.judge(found, query, ranked), document_ids=ids
    )


def _figures(cases: list[EvalCase]) -> dict[str, float | int | None]:
    from bascule.evals import beir

    judged = [{name: float(value or 0) for name, value in case.figures.items()} for case in cases]
    return dict(msgspec.structs.asdict(beir.report(judged)))


async def _take(backend: Backend, collection: str, found: beir.Collection, out: Output) -> None:
    from bascule.cli.ingest import watch

    async def items() -> AsyncIterator[SourceItem | SkippedItem]:
        for passage in found.passages:
            text = passage.text.encode("utf-8", "replace")
            yield SourceItem(
                external_id=passage.id,
                name=f"{passage.id}.txt",
                data=text,
                title=passage.title,
                media_type="text/plain",
            )

    jobs, _ = await backend.take(collection, items(), Rights())
    await watch(backend, [job["id"] for job in jobs], out)
