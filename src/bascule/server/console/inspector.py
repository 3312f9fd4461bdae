"""Answers: a list of them, and the page of one: why it came out as it did, why something is not in it, and it once more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from bascule.core.principals import SCOPE_AUDIT
from bascule.rag.expect import MAX_CHARS
from bascule.server.console import words
from bascule.server.console.visit import Visit
from bascule.server.console.why import DIAGNOSES, LEFT_OUT, Why
from bascule.server.exchange import Reply

_LISTED: Final = 50
_STATUSES: Final = ("answered", "partial", "refused")


async def show(visit: Visit) -> Reply:
    """GET /console/answers, /console/answers/{id}. What is missing and what is somebody else's look the same."""
    answer_id = visit.rest or visit.asked.get("id", "").strip()
    return await (_one(visit, answer_id) if answer_id else _all(visit))


async def _all(visit: Visit) -> Reply:
    wanted = {name: visit.asked.get(name, "") for name in ("status", "collection", "before")}
    wanted["status"] = wanted["status"] if wanted["status"] in _STATUSES else ""
    found = await visit.desk.ask("list_answers", asked={"limit": _LISTED, **wanted})
    known = (await visit.desk.ask("collections"))["data"]
    keys = (await visit.desk.ask("list_keys"))["data"] if visit.desk.may("list_keys") else []
    return visit.page(
        "answers.html",
        answers=found["data"],
        further=urlencode(wanted | {"before": found["next"]}) if found["next"] else "",
        wanted=wanted,
        statuses=_STATUSES,
        collections=[each["name"] for each in known],
        names={key["id"]: key["name"] for key in keys},
        reason=words.reason,
        everybody=visit.desk.principal.is_admin,
    )


async def _one(visit: Visit, answer_id: str) -> Reply:
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
