"""Two answers side by side, made of their views: what each stage has that the other's has not."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, Final

View = Mapping[str, Any]
_SAME_OR_NOT: Final = ("status", "reason", "model", "diagnosis", "question", "answer")


def compare(one: View, other: View) -> dict[str, Any]:
    """`changed`: fields and facts with both values. `stages`: per stage, chunks that came, went or moved, and facts that differ.

    `answer`: words taken out (-) and put in (+), in their order.
    """
    fields = {name: [one.get(name), other.get(name)] for name in _SAME_OR_NOT if one.get(name) != other.get(name)}
    cost = {
        name: [one["prompt"].get(name), other["prompt"].get(name)]
        for name in ("tokens", "reported", "cost_usd", "cache")
        if one["prompt"].get(name) != other["prompt"].get(name)
    }
    stages = {name: _stage(_facts(one, name), _facts(other, name)) for name in _names(one, other)}
    return {
        "one": one["id"],
        "other": other["id"],
        "same": not fields and not any(stages.values()),
        "changed": fields,
        "prompt": cost,
        "stages": {name: found for name, found in stages.items() if found},
        "answer": _words(str(one.get("answer") or ""), str(other.get("answer") or "")),
    }


def _names(one: View, other: View) -> list[str]:
    return list(dict.fromkeys(stage["name"] for view in (one, other) for stage in view["stages"]))


def _facts(view: View, name: str) -> View:
    return next((stage["facts"] for stage in view["stages"] if stage["name"] == name), {})


def _stage(one: View, other: View) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in dict.fromkeys((*one, *other)):
        mine, theirs = one.get(name), other.get(name)
        if mine == theirs:
            continue
        if name == "hits" or name.endswith("chunk_ids"):
            found[name] = _ranking(_ids(mine or ()), _ids(theirs or ()))
        else:
            found[name] = [mine, theirs]
    return {name: value for name, value in found.items() if value}


def _ids(rows: Sequence[Any]) -> list[str]:
    return [row["chunk_id"] if isinstance(row, Mapping) else row for row in rows]


def _ranking(one: Sequence[str], other: Sequence[str]) -> dict[str, Any]:
    """Only what differs; scores alone may move every time the index grows, and say nothing by themselves."""
    moved = [
        {"chunk_id": i, "from": one.index(i) + 1, "to": other.index(i) + 1}
        for i in other
        if i in one and one.index(i) != other.index(i)
    ]
    parts = {"came": [i for i in other if i not in one], "went": [i for i in one if i not in other], "moved": moved}
    return {name: rows for name, rows in parts.items() if rows}


def _words(one: str, other: str) -> list[str]:
    if one == other:
        return []
    return [line for line in difflib.ndiff(one.split(), other.split()) if line[:1] in "+-"]
