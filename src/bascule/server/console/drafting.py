"""Drafts for a golden set: proposed from documents that whoever is signed in may read, or out of a set that `bascule eval draft`
wrote; a person accepts or rejects each, and the set leaves as a file. Nothing of it is kept here."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, cast

import msgspec

from bascule.core.chat import ChatRequest
from bascule.core.errors import InvalidRequest, NotFound
from bascule.server.console.desk import Desk
from bascule.server.console.guard import PAGE_HEADERS
from bascule.server.console.visit import Visit
from bascule.server.exchange import Reply

if TYPE_CHECKING:
    from bascule.evals.golden import Question

Plain = dict[str, Any]
Said = Literal["accepted", "draft", "rejected"]
_PROPOSED: Final = 12
_MOST: Final = 100  # of a set: each has two fields in the form
_LOOKED_AT: Final = 100  # documents that one proposal draws from: the command line looks at more
_SET: Final = b"application/x-ndjson; charset=utf-8"


class _Library:
    """Documents and passages by the API's own routes, with the reader's rights; what is read is noted as there."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def documents(self, collection: str | None, limit: int, after: str | None) -> list[Plain]:
        asked = {"limit": min(limit, _LOOKED_AT), **({"collection": collection} if collection else {})}
        return list((await self._desk.ask("list_documents", asked=asked))["data"])

    async def document(self, document_id: str) -> Plain:
        return dict(await self._desk.ask("show_document", document_id))

    async def chunks(self, document_id: str) -> list[Plain]:
        return list((await self._desk.ask("document_chunks", document_id))["data"])

    async def search(self, query: str, collections: Sequence[str] | None, limit: int) -> list[Plain]:
        body = {"query": query, "limit": limit, **({"collections": list(collections)} if collections else {})}
        return list((await self._desk.ask("search", body=body))["hits"])

    async def write(self, request: ChatRequest, document_ids: frozenset[str]) -> str:
        raise NotFound("No model writes drafts here.")


async def drafts(visit: Visit) -> Reply:
    """POST /console/drafts to have some, POST /console/drafts/set for the file with what was said of each."""
    if visit.rest == "set":
        return await _as_file(visit)
    if visit.rest:
        raise NotFound("There is no such page.")
    from bascule.evals import drafts as making

    text, library = visit.asked.get("set", "").strip(), _Library(visit.desk)
    if text:
        known = list(_read(text.splitlines()))
        found = await making.still_there(library, known)
        gone = len(known) - len(found)
    else:
        name = visit.asked.get("collection", "")
        wanted = making.Wanted(
            collections=(name,) if name else (), most=_PROPOSED, seed=secrets.randbelow(2**31), unanswerable=0.25
        )
        found, gone = await making.propose(library, wanted, ()), 0
    lines = list(zip(found, making.lines(found), strict=True))
    return visit.part("drafts.html", lines=lines, gone=gone, brought=bool(text))


def _read(lines: Iterable[str]) -> Iterator[Question]:
    from bascule.evals.golden import Question

    for number, line in enumerate(filter(str.strip, lines), 1):
        if number > _MOST:
            raise InvalidRequest(f"At most {_MOST} questions at a time: `bascule eval accept` takes more.")
        try:
            yield msgspec.json.decode(line, type=Question)
        except msgspec.DecodeError:
            raise InvalidRequest(f"Line {number} is no question of a golden set.") from None


async def _as_file(visit: Visit) -> Reply:
    """Without those whose document may no longer be read."""
    from bascule.evals import drafts as making

    given = [
        (visit.asked[name], visit.asked.get(f"said-{name[5:]}", "")) for name in visit.asked if name[:5] == "line-"
    ]
    questions = list(_read(line for line, _ in given))
    if len(questions) != len(given) or not questions:
        raise InvalidRequest("There is no draft to keep.")
    judged = [_judged(question, said) for question, (_, said) in zip(questions, given, strict=True)]
    body = "".join(making.lines(await making.still_there(_Library(visit.desk), judged))).encode()
    as_file = (b"content-disposition", b'attachment; filename="golden-set.jsonl"')
    return Reply(200, body, _SET, (as_file, *PAGE_HEADERS))


def _judged(question: Question, said: str) -> Question:
    if said not in ("accepted", "draft", "rejected"):
        raise InvalidRequest("A draft is accepted, rejected or left.")
    return msgspec.structs.replace(question, status=cast("Said", said))
