"""Questions for golden sets, proposed from documents that whoever asks may read; a person accepts or rejects each.

Without a model they are made of the documents' own statements (`drafting`); a chat model that is named writes some too, and only
those stay whose answer stands in the passage letter for letter. A share is about what no document here treats, each searched
for first. What is proposed is a line of a golden set with the status `draft`, which no run asks.

A draft repeats its document. It is written to the asker's own file with the document's id; whenever that file is touched, the
lines whose document may no longer be read there are taken out (law 4).
"""

from __future__ import annotations

import hashlib
import json
import random
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, Final, Literal, Protocol

import msgspec

from bascule.core.chat import ChatRequest
from bascule.core.documents import VisibleChunk
from bascule.core.errors import NotFound
from bascule.core.evaluations import case_key
from bascule.evals.drafting import draft
from bascule.evals.drafting_words import ABSENT
from bascule.evals.golden import Question
from bascule.rag import prompt, words

Plain = dict[str, Any]
LOOKED_AT: Final = 2_000  # documents that are drawn from
READ: Final = 40  # passages of one document
ALIKE: Final = 0.8  # of two questions' words that make them one
TREATED: Final = 0.5  # of a question's words in one passage: it may be about that


class Library(Protocol):
    """What is drawn from: the part of a client that reads and searches with somebody's rights."""

    async def documents(self, collection: str | None, limit: int, after: str | None) -> list[Plain]: ...

    async def document(self, document_id: str) -> Plain: ...

    async def chunks(self, document_id: str) -> list[Plain]: ...

    async def search(self, query: str, collections: Sequence[str] | None, limit: int) -> list[Plain]: ...

    async def write(self, request: ChatRequest, document_ids: frozenset[str]) -> str:
        """What the model says; nothing of it is cached."""
        ...


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """`unanswerable`: the share of questions that nothing answers. `model`: who writes too, "" for nobody."""

    collections: tuple[str, ...] = ()
    document_ids: tuple[str, ...] = ()
    most: int = 20
    per_document: int = 3
    unanswerable: float = 0.2
    model: str = ""
    seed: int = 0


async def propose(library: Library, wanted: Wanted, known: Iterable[Question]) -> list[Question]:
    """Up to `most`, none like one of `known` or like another."""
    asked = _Asked(known)
    absent = round(wanted.most * wanted.unanswerable)
    found = await _first(_answerable(library, wanted, asked), wanted.most - absent)
    return found + await _first(_absent(library, wanted, asked), absent)


async def _first(questions: AsyncIterator[Question], most: int) -> list[Question]:
    """No more is read for than is wanted."""
    found: list[Question] = []
    if most > 0:
        async for each in questions:
            found.append(each)
            if len(found) == most:
                break
    return found


async def still_there(library: Library, questions: Iterable[Question]) -> list[Question]:
    """Without those whose document may no longer be read."""
    seen: dict[str, bool] = {}
    kept = []
    for each in questions:
        if each.document_id and each.document_id not in seen:
            try:
                await library.document(each.document_id)
                seen[each.document_id] = True
            except NotFound:
                seen[each.document_id] = False
        if seen.get(each.document_id, True):
            kept.append(each)
    return kept


async def _answerable(library: Library, wanted: Wanted, asked: _Asked) -> AsyncIterator[Question]:
    """Of documents in an order drawn by the seed, so that a large collection is not judged by its oldest ones."""
    ids = list(wanted.document_ids) or [
        document["id"]
        for name in wanted.collections or (None,)
        for document in await library.documents(name, LOOKED_AT, None)
    ]
    random.Random(wanted.seed).shuffle(ids)
    for document_id in ids:
        try:
            chunks = (await library.chunks(document_id))[:READ]
        except NotFound:  # deleted meanwhile
            continue
        taken = 0
        async for each in _of(library, wanted, chunks):
            if taken < wanted.per_document and asked.new(each.question):
                taken += 1
                yield each


async def _of(library: Library, wanted: Wanted, chunks: Sequence[Plain]) -> AsyncIterator[Question]:
    """A model's first, then the patterns', of each kind one before a second of any."""
    if wanted.model and chunks:
        chunk = max(chunks, key=lambda c: len(c["text"]))
        for each in await _written(library, wanted, chunk):
            yield each
    made = [(chunk, each) for chunk in chunks for each in draft(chunk["text"], chunk["kind"], _titled(chunk))]
    kinds: Counter[str] = Counter()
    order = []
    for chunk, found in made:
        kinds[found.kind] += 1
        order.append((kinds[found.kind], chunk, found))
    for _, chunk, found in sorted(order, key=lambda row: row[0]):
        yield _line(chunk, found.question, (found.answer,), found.kind, chunk["text"][found.start : found.end])


async def _written(library: Library, wanted: Wanted, chunk: Plain) -> list[Question]:
    """What the model wrote that can be used: an answer that stands in the passage, or a question without one."""
    values = {"passage": "\n".join(prompt.quoted([_visible(chunk)], secrets.token_bytes(32))), "most": "3"}
    request = prompt.fill("draft.v1", values, model=wanted.model, most_tokens=400)
    found = []
    for question, answer in _read(await library.write(request, frozenset({chunk["document_id"]}))):
        place = chunk["text"].find(answer) if answer else 0
        if place >= 0:
            answers = (answer,) if answer else ()
            quote = _around(chunk["text"], place) if answer else ""
            found.append(_line(chunk, question, answers, "model", quote))
    return found


def _read(said: str) -> Iterable[tuple[str, str]]:
    for line in said.splitlines():
        try:
            row = json.loads(line.strip().rstrip(","))
            question, answer = " ".join(str(row["question"]).split()), str(row["answer"]).strip()
        except (ValueError, KeyError, TypeError):
            continue
        if 10 <= len(question) <= 300 and question.endswith("?") and len(answer) <= 200:
            yield question, answer


async def _absent(library: Library, wanted: Wanted, asked: _Asked) -> AsyncIterator[Question]:
    """About everyday things that no passage found for them is about."""
    order = list(ABSENT)
    random.Random(wanted.seed).shuffle(order)
    for question in order:
        hits = await library.search(question, wanted.collections or None, 10)
        about = words.content(question)
        shares = [len(set(about) & set(words.roots(f"{h['title']} {h['text']}"))) / len(about) for h in hits]
        if max(shares, default=0.0) < TREATED and asked.new(question):
            yield Question(
                id=case_key(question)[:8],
                status="draft",
                question=question,
                answerable=False,
                collections=wanted.collections,
                kind="absent",
            )


class _Asked:
    """Questions there are: another one is new when it shares few enough of its words with each."""

    def __init__(self, known: Iterable[Question]) -> None:
        self._words = [_told(question.question) for question in known]

    def new(self, question: str) -> bool:
        told = _told(question)
        if any(len(told & other) > ALIKE * len(told | other) for other in self._words):
            return False
        self._words.append(told)
        return True


def _told(question: str) -> frozenset[str]:
    return frozenset(words.plain(question))


def _line(chunk: Plain, question: str, answer: tuple[str, ...], kind: str, quote: str) -> Question:
    return Question(
        id=hashlib.blake2b(f"{chunk['chunk_id']} {question}".encode(), digest_size=4).hexdigest(),
        status="draft",
        question=question,
        documents=(chunk["document_id"],) if answer else (),
        answer=answer,
        answerable=bool(answer),
        collections=(chunk["collection"],),
        kind=kind,
        title=_titled(chunk),
        quote=" ".join(quote.split()),
        passage=chunk["chunk_id"],
        document_id=chunk["document_id"],
    )


def _titled(chunk: Plain) -> str:
    return str(chunk["title"] or chunk["name"])


def _around(text: str, place: int) -> str:
    return text[max(0, text.rfind(". ", 0, place) + 1) : place + 160]


def _visible(chunk: Mapping[str, Any]) -> VisibleChunk:
    """As the prompt wants it; what a reader is not shown is left empty."""
    unknown = {"collection_id": "", "source": "", "tokens": 0, "metadata": {}, "id": chunk["chunk_id"]}
    known = {name: chunk[name] for name in VisibleChunk.__struct_fields__ if name in chunk}
    return msgspec.convert(unknown | known, VisibleChunk)


Review = Literal["accepted", "rejected"]


def review(questions: Sequence[Question], ids: frozenset[str], status: Review) -> list[Question]:
    """The same with these accepted or rejected. Raises NotFound for an id that no question has."""
    unknown = sorted(ids - {each.id for each in questions})
    if unknown:
        raise NotFound(f"No question of this set has the id {unknown[0]!r}.")
    return [msgspec.structs.replace(each, status=status) if each.id in ids else each for each in questions]


def lines(questions: Iterable[Question]) -> Iterable[str]:
    """As a golden set has them: ASCII, without what is as it is by default."""
    blank = msgspec.to_builtins(Question(question=""))
    for each in questions:
        told = {name: value for name, value in msgspec.to_builtins(each).items() if value != blank[name]}
        yield json.dumps(told) + "\n"
