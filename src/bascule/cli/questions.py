"""ask and search."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
import typer

from bascule.cli.backend import DEFAULT_TENANT, use
from bascule.cli.options import Collections, Config, Data, Json, Key, Tenant, target
from bascule.cli.output import Output
from bascule.core.errors import InvalidRequest

Plain = Mapping[str, Any]
Filter = Annotated[
    str | None,
    typer.Option(
        "--filter",
        metavar="JSON",
        help='Only documents of which this is true, as {"lang": "de", "year": {"gte": 2024}}.',
        show_default=False,
    ),
]

REASONS: Mapping[str, str] = {
    "no_evidence": "nothing you may read supports an answer",
    "not_said": "the passages are about it, but do not seem to say what is asked",
    "unsupported": "the model's answer was not supported by the passages",
    "empty_collection": "there is nothing to search yet",
    "upstream_error": "the model did not answer",
}


def register(app: typer.Typer) -> None:
    app.command()(ask)
    app.command()(search)


def ask(
    question: Annotated[str, typer.Argument(help="The question, in quotes.")],
    collection: Collections = None,
    filter_json: Filter = None,
    model: Annotated[str | None, typer.Option(help="A name under [models].", show_default=False)] = None,
    key: Key = None,
    data: Data = None,
    config: Config = None,
    tenant: Tenant = DEFAULT_TENANT,
    json_mode: Json = False,
) -> None:
    """Answer a question from the documents one may read, with citations, or refuse and say why."""
    where = _filter(filter_json)
    found = use(target(data, config, key, tenant), lambda backend: backend.ask(question, collection, model, where))
    out = Output(json_mode)
    if json_mode:
        out.document(found)
        return
    for line in answer_lines(found):
        out.say(line)
    out.note(f"\nWhy this answer: bascule explain {found['id']}")


def _filter(given: str | None) -> Plain:
    """Raises InvalidRequest for what is no JSON object; what is in it the question path judges."""
    try:
        found = msgspec.json.decode(given or "{}")
    except msgspec.DecodeError:
        found = None
    if not isinstance(found, dict):
        raise InvalidRequest("--filter is a JSON object.", param="filter")
    return found


def answer_lines(found: Plain) -> list[str]:
    """An answer for reading: text, then numbered citations with title, headings and quote."""
    lines = [str(found["answer"])] if found["answer"] else []
    if found["status"] != "answered":
        reason = str(found.get("reason") or "")
        lines.append(f"({found['status']}: {REASONS.get(reason, reason or 'no reason given')})")
    if found.get("citations"):
        lines.append("")
    for citation in found.get("citations", ()):
        lines.append(f"[{citation['number']}] {place(citation)}")
        lines.append(f'    "{shorten(str(citation["quote"]), 300)}"')
    if found.get("degraded"):
        lines.append(f"\nwithout: {', '.join(found['degraded'])}")
    return lines


def place(citation: Plain) -> str:
    """Title, headings (the title itself not repeated) and page."""
    title = str(citation["title"])
    path = [part for part in citation.get("heading_path") or () if part != title]
    page = f", page {citation['page']}" if citation.get("page") else ""
    return " > ".join([title, *path]) + page


def shorten(text: str, most: int) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= most else flat[: most - 1].rsplit(" ", 1)[0] + " …"


def search(
    query: Annotated[str, typer.Argument(help="What to look for, in quotes.")],
    collection: Collections = None,
    limit: Annotated[int, typer.Option(min=1, max=50, help="Most passages.")] = 10,
    filter_json: Filter = None,
    key: Key = None,
    data: Data = None,
    config: Config = None,
    tenant: Tenant = DEFAULT_TENANT,
    json_mode: Json = False,
) -> None:
    """Find passages one may read, best first."""
    where = _filter(filter_json)
    hits = use(target(data, config, key, tenant), lambda backend: backend.search(query, collection, limit, where))
    out = Output(json_mode)
    if json_mode:
        out.document({"hits": hits})
        return
    if not hits:
        out.note("Nothing you may read matches.")
    for number, hit in enumerate(hits, 1):
        parts = ", ".join(f"{name} {score:.2f}" for name, score in hit["parts"].items())
        out.say(f"{number}. {place(hit)}  ({hit['score']:.2f}: {parts})")
        out.say(f"   {shorten(hit['text'], 240)}")
