"""feedback, and eval candidates: what people said of answers becomes questions to evaluate with."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from bascule.cli.backend import DEFAULT_TENANT, use
from bascule.cli.options import Config, Data, Json, Key, Tenant, target
from bascule.cli.output import Output
from bascule.core.feedback import Rating


def register(app: typer.Typer) -> None:
    app.command()(feedback)


def add(eval_app: typer.Typer) -> None:
    eval_app.command("candidates")(candidates)


def feedback(
    answer_id: Annotated[str, typer.Argument(help="The id of an answer you got.")],
    good: Annotated[bool, typer.Option("--good/--bad", help="Whether it was a good answer.")],
    correction: Annotated[
        str, typer.Option("--correction", help="What would have been right, in few words.", show_default=False)
    ] = "",
    note: Annotated[str, typer.Option("--note", help="Anything else.", show_default=False)] = "",
    key: Key = None,
    data: Data = None,
    config: Config = None,
    tenant: Tenant = DEFAULT_TENANT,
    json_mode: Json = False,
) -> None:
    """Say whether an answer of yours was good. Its texts go when a document of the answer is deleted."""
    rating: Rating = 1 if good else -1
    found = use(
        target(data, config, key, tenant), lambda backend: backend.give_feedback(answer_id, rating, correction, note)
    )
    out = Output(json_mode)
    if json_mode:
        out.document(found)
    else:
        out.say(
            "Kept, without its texts: a document of the answer is gone." if found["scrubbed"] else "Kept. Thank you."
        )


def candidates(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Most questions.")] = 200,
    key: Key = None,
    data: Data = None,
    config: Config = None,
    tenant: Tenant = DEFAULT_TENANT,
    json_mode: Json = False,
) -> None:
    """Print questions made from feedback as JSON lines, in the form of golden sets, for a person to look through."""
    found = use(target(data, config, key, tenant), lambda backend: backend.candidates(limit))
    out = Output(json_mode)
    if json_mode:
        out.document({"data": found})
        return
    for each in found:
        line = {name: value for name, value in each.items() if value}
        sys.stdout.write(json.dumps(line) + "\n")  # ASCII: no terminal sequence can be in it
    if not found:
        out.note("No feedback yet. Give some: bascule feedback ANSWER_ID --good")
