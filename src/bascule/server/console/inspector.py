"""The page of one answer: why it came out as it did, why something expected is not in it, and the same question again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bascule.core.principals import SCOPE_AUDIT
from bascule.rag.expect import MAX_CHARS
from bascule.server.console import words
from bascule.server.console.visit import Visit
from bascule.server.console.why import DIAGNOSES, LEFT_OUT, Why
from bascule.server.exchange import Reply


async def show(visit: Visit) -> Reply:
    """GET /console/answers/{id}, or without an id a field for one. What is missing and what is somebody else's look the same."""
    answer_id = visit.rest or visit.asked.get("id", "").strip()
    if not answer_id:
        return visit.page("inspector_door.html")
    expect = visit.asked.get("expect", "").strip()
    wanted: dict[str, Any] = {"expect": expect[:MAX_CHARS]} if expect else {}
    if visit.asked.get("truth") == "on":
        wanted["truth"] = "true"
    found = await visit.desk.ask("explain", answer_id, asked=wanted)
    return visit.page(
        "inspector.html",
        found=found,
        why=Why.of(found),
        expect=expect,
        most_expected=MAX_CHARS,
        auditor=visit.desk.principal.can(SCOPE_AUDIT),
        reason=words.reason(found["reason"]),
        verdicts=_verdicts(found),
        diagnoses=DIAGNOSES,
        left_out=LEFT_OUT,
    )


def _verdicts(found: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """What became of what was expected: as the asker may know it, and as it is."""
    told = [("What you expected", found["expected"])] if "expected" in found else []
    if "expected" in found.get("truth", {}):
        told.append(("In truth, whatever the asker may read", found["truth"]["expected"]))
    return told


async def replay(visit: Visit) -> Reply:
    """POST /console/replay/{id}."""
    found = await visit.desk.ask("replay", visit.rest)
    return visit.part("replay.html", answer=found["answer"], lines=list(_differences(found["diff"])))


def _differences(diff: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """What has changed: its name, what it was, what it is."""
    lines = [(name.replace("_", " "), _plain(pair[0]), _plain(pair[1])) for name, pair in diff["changed"].items()]
    lines += [(f"prompt: {name}", _plain(pair[0]), _plain(pair[1])) for name, pair in diff["prompt"].items()]
    return lines


def _plain(value: object) -> str:
    return "none" if value in (None, "", []) else str(value)
