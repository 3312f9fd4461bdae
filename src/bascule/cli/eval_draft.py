"""eval draft, accept and reject: questions proposed from documents, and what a person makes of them."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from bascule.cli.backend import DEFAULT_TENANT, Backend, Plain, Target, use
from bascule.cli.options import Collections, Config, Data, Json, Key, Tenant, target
from bascule.cli.output import Output

if TYPE_CHECKING:
    from bascule.evals.drafts import Review
    from bascule.evals.golden import Question

Set = Annotated[
    Path, typer.Argument(metavar="SET", exists=True, dir_okay=False, help="A file that `eval draft` wrote.")
]
Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Of the questions.", show_default=False)]
All = Annotated[bool, typer.Option("--all", help="Every question that is still a draft.")]


def add(eval_app: typer.Typer) -> None:
    eval_app.command("draft")(draft)
    eval_app.command("accept")(accept)
    eval_app.command("reject")(reject)


def draft(
    set_path: Annotated[
        Path | None,
        typer.Option("--set", metavar="FILE", help="Add to this golden set; printed otherwise.", show_default=False),
    ] = None,
    collection: Collections = None,
    document: Annotated[
        list[str] | None,
        typer.Option("--document", help="From this document only; may be repeated.", show_default=False),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Most questions.")] = 20,
    per_document: Annotated[int, typer.Option(min=1, max=100, help="Most questions of one document.")] = 3,
    unanswerable: Annotated[float, typer.Option(min=0, max=1, help="Share of them that nothing answers.")] = 0.2,
    model: Annotated[str, typer.Option("--model", help="A chat model that writes some, too.", show_default=False)] = "",
    seed: Annotated[int, typer.Option("--seed", help="The same number draws the same documents.")] = 0,
    key: Key = None,
    data: Data = None,
    config: Config = None,
    tenant: Tenant = DEFAULT_TENANT,
    json_mode: Json = False,
) -> None:
    """Propose questions for a golden set from documents you may read, for a person to accept or reject."""
    from bascule.evals import drafts, golden

    wanted = drafts.Wanted(
        collections=tuple(collection or ()),
        document_ids=tuple(document or ()),
        most=limit,
        per_document=per_document,
        unanswerable=unanswerable,
        model=model,
        seed=seed,
    )
    known = golden.read_all(set_path) if set_path and set_path.exists() else []
    out = Output(json_mode)

    async def work(backend: Backend) -> tuple[list[Question], list[Question]]:
        kept = await drafts.still_there(backend, known)
        return kept, await drafts.propose(backend, wanted, kept)

    kept, found = use(target(data, config, key, tenant), work)
    if set_path:
        _write(set_path, drafts.lines([*kept, *found]))
        _gone(len(known) - len(kept), out)
    if json_mode:
        out.document({"data": [_told(each) for each in found]})
    elif set_path:
        out.say(f"{len(found)} drafts added. Look through them, then: bascule eval accept {set_path} ID...")
    else:
        sys.stdout.writelines(drafts.lines(found))  # ASCII: no terminal sequence can be in it
    if not found:
        out.note(
            "No statement was found that a question could be made of. Long plain sentences, names and figures give some."
        )


def accept(
    set_path: Set,
    ids: Ids = None,
    every: All = False,
    key: Key = None,
    data: Data = None,
    config: Config = None,
    tenant: Tenant = DEFAULT_TENANT,
    json_mode: Json = False,
) -> None:
    """Drafts become questions that `eval run` asks. Drafts of documents that are gone are taken out of the set."""
    _review("accepted", set_path, ids, every, target(data, config, key, tenant), Output(json_mode))


def reject(
    set_path: Set,
    ids: Ids = None,
    every: All = False,
    key: Key = None,
    data: Data = None,
    config: Config = None,
    tenant: Tenant = DEFAULT_TENANT,
    json_mode: Json = False,
) -> None:
    """Drafts are not asked and not proposed for this set again. Those of documents that are gone are taken out of it."""
    _review("rejected", set_path, ids, every, target(data, config, key, tenant), Output(json_mode))


def _review(
    status: Review,
    set_path: Path,
    ids: list[str] | None,
    every: bool,
    where: Target,
    out: Output,
) -> None:
    from bascule.evals import drafts, golden

    if bool(ids) == every:
        raise typer.BadParameter("Name the questions' ids, or all drafts with --all.")
    known = golden.read_all(set_path)
    kept = use(where, lambda backend: drafts.still_there(backend, known))
    chosen = {each.id for each in kept if each.status == "draft"} if every else set(ids or ())
    done = drafts.review(kept, frozenset(chosen), status)
    _write(set_path, drafts.lines(done))
    _gone(len(known) - len(kept), out)
    counts = {name: sum(each.status == name for each in done) for name in ("accepted", "draft", "rejected")}
    if out.json_mode:
        out.document(counts)
    else:
        out.say(", ".join(f"{count} {name}" for name, count in counts.items()) + ".")


def _told(question: Question) -> Plain:
    return dict(msgspec.to_builtins(question))


def _gone(count: int, out: Output) -> None:
    if count:
        out.note(f"{count} taken out: their document is gone, or not yours to read any more.")


def _write(path: Path, lines: Iterable[str]) -> None:
    """Readable by its owner alone: it repeats documents."""
    from bascule.db.files import write_whole

    write_whole(path, "".join(lines).encode(), fresh=path.with_name(path.name + ".new"))
