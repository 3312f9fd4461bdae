"""What people say of answers, and the questions for golden sets that come of it, looked through by a person."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from bascule.core.errors import InvalidRequest, NotFound
from bascule.core.evaluations import case_key
from bascule.server.console.guard import PAGE_HEADERS
from bascule.server.console.visit import Visit
from bascule.server.exchange import Reply

_MOST: Final = 200
_SET: Final = b"application/x-ndjson; charset=utf-8"


async def give(visit: Visit) -> Reply:
    """POST /console/feedback/{id}: a thumb, then perhaps what would have been right."""
    said = {"rating": -1 if visit.asked.get("rating") == "-1" else 1}
    texts = {name: visit.asked.get(name, "").strip() for name in ("correction", "note")}
    try:
        given = await visit.desk.ask("give_feedback", visit.rest, body={**said, **texts})
    except NotFound:
        raise NotFound("Only whoever asked a question can say how good its answer is.") from None
    return visit.part("feedback.html", answer_id=visit.rest, given=given, whole=any(texts.values()))


async def show(visit: Visit) -> Reply:
    """GET /console/review, and GET /console/review/set for the chosen ones as a file."""
    found = (await visit.desk.ask("list_candidates", asked={"limit": _MOST}))["data"]
    keyed = {_key(candidate): candidate for candidate in found}
    if visit.rest == "set":
        return _as_file([each for key, each in keyed.items() if visit.asked.get(f"q-{key}") == "on"])
    if visit.rest:
        raise NotFound("There is no such page.")
    named = [id for each in found for id in each["documents"]]
    titles = await visit.desk.app.catalogue.titles(visit.desk.principal, named)
    known = (await visit.desk.ask("collections"))["data"]
    return visit.page(
        "review.html",
        candidates=keyed,
        titles=titles,
        collections=[each["name"] for each in known],
        everybody=visit.desk.principal.is_admin,
    )


def _key(candidate: Mapping[str, Any]) -> str:
    return case_key(candidate["question"], *candidate["collections"], *candidate["answer"])


def _as_file(chosen: Iterable[Mapping[str, Any]]) -> Reply:
    """Lines of a golden set. ASCII: no terminal sequence can be in it."""
    lines = [json.dumps({name: value for name, value in each.items() if value}) + "\n" for each in chosen]
    if not lines:
        raise InvalidRequest("No question was chosen.")
    as_file = (b"content-disposition", b'attachment; filename="golden-set.jsonl"')
    return Reply(200, "".join(lines).encode(), _SET, (as_file, *PAGE_HEADERS))
