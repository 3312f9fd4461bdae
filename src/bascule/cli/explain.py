"""explain, replay and diff: an answer looked at again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer

from bascule.cli.backend import DEFAULT_TENANT, use
from bascule.cli.options import Config, Data, Json, Key, Tenant, target
from bascule.cli.output import Output
from bascule.cli.questions import answer_lines, shorten

Plain = Mapping[str, Any]
AnswerId = Annotated[str, typer.Argument(metavar="ID", help="An answer's id.")]


def register(app: typer.Typer) -> None:
    app.command()(explain)
    app.command()(replay)
    app.command()(diff)


def explain(
    id: AnswerId,
    expect: Annotated[
        str | None,
        typer.Option(help="A document (id, name or title) or a text: why is it not in the answer?", show_default=False),
    ] = None,
    truth: Annotated[
        bool, typer.Option("--truth", help="Also what the asker may not read (scope audit; goes into the audit log).")
    ] = False,
    key: Key = None,
    data: Data = None,
    config: Config = None,
    tenant: Tenant = DEFAULT_TENANT,
    json_mode: Json = False,
) -> None:
    """Why an answer came out as it did: every stage, what it did, what was left out, and the diagnosis."""
    found = use(target(data, config, key, tenant), lambda backend: backend.explain(id, expect, truth))
    out = Output(json_mode)
    if json_mode:
        out.document(found)
        return
    out.fields((name, value) for name, value in found.items() if not isinstance(value, (list, dict)))
    for stage in found.get("stages") or ():
        out.say(f"\n{stage['name']}  {1000 * stage.get('took_s', 0):.1f} ms")
        for line in _facts(stage.get("facts") or {}):
            out.say("  " + line)
    for line in _after(found):
        out.say(line)


def _after(found: Plain) -> Iterator[str]:
    prompt = found.get("prompt") or {}
    if prompt.get("parts"):
        yield f"\nprompt  about {prompt['tokens']} tokens" + _reported(prompt)
        yield from (f"  {row['tokens']:>6}  {row['part']}" for row in prompt["parts"])
    if found.get("missed"):
        yield "\nnearest passages that were not read"
        for row in found["missed"]:
            lacks = f"; lacks {', '.join(row['lacks'])}" if row["lacks"] else ""
            yield f"  {row['place'] or '-':>3}  {row['title']}: {row['why']}, covers {row['covers']:.2f}{lacks}"
    if "expected" in found:
        yield from _verdict("expected", found["expected"])
    if "truth" in found:
        yield f"\nthe truth: {found['truth']['diagnosis']}; {len(found['truth']['hidden'])} hidden passages"
        yield from (
            f"  {row['place']:>3}  {row['title'] or row['document_id']}{', holds it' if row['holds_it'] else ''}"
            for row in found["truth"]["hidden"]
        )
        if "expected" in found["truth"]:
            yield from _verdict("expected, in truth", found["truth"]["expected"])


def _reported(prompt: Plain) -> str:
    known = [f"{prompt['reported']} reported"] if prompt.get("reported") else []
    known += [f"{prompt['cost_usd']:.6f} USD"] if prompt.get("cost_usd") is not None else []
    known += [f"cache {prompt['cache']}"] if prompt.get("cache") else []
    return f" ({', '.join(known)})" if known else ""


def _verdict(title: str, verdict: Plain) -> Iterator[str]:
    yield f"\n{title}: {verdict['diagnosis']}"
    yield f"  {verdict['why']}"
    for row in verdict["documents"]:
        yield f"  {row['title'] or row['document_id']} ({row['state']})"
    for place in verdict["places"][:5]:
        lacks = f"; lacks {', '.join(place['lacks'])}" if place["lacks"] else ""
        yield (
            f"  {place['chunk_id']}: {place['by_words'] or '-'} by words, {place['by_meaning'] or '-'} by meaning, "
            f"{place['ranked'] or '-'} in all{lacks}"
        )


def replay(
    id: AnswerId,
    key: Key = None,
    data: Data = None,
    config: Config = None,
    tenant: Tenant = DEFAULT_TENANT,
    json_mode: Json = False,
) -> None:
    """Ask the same again on today's index, under the asker's rights, and show what is different."""
    found = use(target(data, config, key, tenant), lambda backend: backend.replay(id))
    out = Output(json_mode)
    if json_mode:
        out.document(found)
        return
    for line in (*answer_lines(found["answer"]), "", *_differences(found["diff"])):
        out.say(line)
    out.note(f"\nWhy this answer: bascule explain {found['answer']['id']}")


def diff(
    one: Annotated[str, typer.Argument(metavar="A", help="An answer's id.")],
    other: Annotated[str, typer.Argument(metavar="B", help="Another's.")],
    key: Key = None,
    data: Data = None,
    config: Config = None,
    tenant: Tenant = DEFAULT_TENANT,
    json_mode: Json = False,
) -> None:
    """What two answers have apart, stage by stage."""
    found = use(target(data, config, key, tenant), lambda backend: backend.diff(one, other))
    out = Output(json_mode)
    if json_mode:
        out.document(found)
        return
    for line in _differences(found):
        out.say(line)


def _differences(found: Plain) -> list[str]:
    if found["same"]:
        return ["Nothing is different."]
    lines = [f"{name}: {_short(one)} -> {_short(other)}" for name, (one, other) in found["changed"].items()]
    lines += [f"prompt {name}: {_short(one)} -> {_short(other)}" for name, (one, other) in found["prompt"].items()]
    for stage, facts in found["stages"].items():
        for name, value in facts.items():
            told = ", ".join(f"{k} {_short(v)}" for k, v in value.items()) if isinstance(value, dict) else _arrow(value)
            lines.append(f"{stage}, {name}: {told}")
    return lines


def _arrow(pair: Sequence[object]) -> str:
    return f"{_short(pair[0])} -> {_short(pair[1])}"


def _facts(facts: Plain) -> Sequence[str]:
    lines = []
    for name, value in facts.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            lines.append(f"{name}:")
            lines += ["  " + ", ".join(f"{k} {_short(v)}" for k, v in row.items()) for row in value]
        else:
            lines.append(f"{name}: {_short(value)}")
    return lines


def _short(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else shorten(str(value), 200)
