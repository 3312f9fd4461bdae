"""The demo's chapters. Everything goes through the running server's HTTP interface, with real keys."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from bascule.cli.backend import KeyRequest
from bascule.cli.demo.python_docs import python_docs
from bascule.cli.demo.show import Show
from bascule.cli.demo.upstream import THINKING_S, StandIn
from bascule.cli.http_peer import HttpPeer, failure
from bascule.cli.ingest import take_in
from bascule.cli.output import Output
from bascule.cli.remote import RemoteBackend
from bascule.cli.sources import read_sources
from bascule.core.connectors import SkippedItem, SourceItem
from bascule.core.errors import ConfigError
from bascule.core.rights import Rights

MODEL: Final = "demo"
DELETED: Final = "warranty.html"
WARRANTY_QUESTION: Final = "For how many years are steel frames covered by the warranty?"


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """A principal of the demo and its key."""

    name: str
    groups: tuple[str, ...]
    key: str = ""

    @property
    def label(self) -> str:
        return f"{self.name} ({', '.join(self.groups)})"


PEOPLE: Final = (
    Person(name="Ann", groups=("staff", "hr")),
    Person(name="Ben", groups=("staff", "finance")),
    Person(name="Ivy", groups=("staff", "interns")),
)


def ingest(show: Show, admin: RemoteBackend) -> None:
    out = Output()
    public = Rights.of(["public"])
    items = list(python_docs())
    size = sum(len(item.data) for item in items) / 1e6
    show.say(
        f"python    {len(items)} documents, {size:.1f} MB: the language reference and module help of this interpreter"
    )
    report = asyncio.run(take_in(admin, "python", _each(items), public, out, wait=True))
    show.say(_summary(report))
    folder = handbook()
    if folder is None:
        raise ConfigError("examples/handbook is not here. Run the demo in a checkout of Bascule.")
    show.say(f"\nhandbook  {folder.name}: md, html, docx, pdf and csv, each for its own readers")
    sources = read_sources([folder], folder / "rights.toml", None)
    report = asyncio.run(take_in(admin, "handbook", sources.items(), None, out, wait=True))
    show.say(_summary(report))
    found = asyncio.run(admin.documents("handbook", 100, None))
    show.table(
        ("document", "may read", "may not", "passages"),
        [
            (d["title"], *_marks(d["rights"]), str(d["chunk_count"]))
            for d in sorted(found, key=lambda d: str(d["title"]))
        ],
    )


def _marks(rights: Mapping[str, Any]) -> tuple[str, str]:
    return ", ".join(rights["allow"]), ", ".join(rights["deny"])


async def _each(items: Iterable[SourceItem]) -> AsyncIterator[SourceItem | SkippedItem]:
    for item in items:
        yield item


def _summary(report: Mapping[str, Any]) -> str:
    states = ", ".join(f"{count} {state}" for state, count in sorted(report["counts"].items()))
    lines = [f"          {states} in {report['took_s']:.1f} s ({report['documents_per_s']} documents/s)"]
    lines += [f"          failed  {item['name']}: {item['reason']}" for item in report["failed"]]
    lines += [f"          skipped {item['external_id']}: {item['reason']}" for item in report["skipped"]]
    return "\n".join(lines)


def handbook() -> Path | None:
    """examples/handbook: beside the package's source, in the package, or in the current directory."""
    here = Path(__file__).resolve()
    places = (here.parents[4] / "examples" / "handbook", here.parent / "handbook", Path("examples") / "handbook")
    return next((place for place in places if (place / "rights.toml").is_file()), None)


async def people(admin: RemoteBackend) -> list[Person]:
    made = []
    for person in PEOPLE:
        wanted = KeyRequest(
            name=f"demo {person.name}",
            tenant="",
            subject=person.name.lower(),
            groups=person.groups,
            scopes=("ask", "chat"),
        )
        key = (await admin.create_key(wanted))["key"]
        made.append(msgspec.structs.replace(person, key=key))
    return made


def ask(show: Show, address: str, person: Person, question: str, collection: str) -> dict[str, Any]:
    started_s = time.monotonic()
    found = asyncio.run(RemoteBackend(address, person.key).ask(question, [collection], None))
    show.answer(person.label, question, found, time.monotonic() - started_s)
    return found


def call_twice(show: Show, address: str, person: Person, upstream: StandIn | None) -> None:
    peer = HttpPeer(address, person.key)
    body = {"model": MODEL, "messages": [{"role": "user", "content": "In one sentence: what is a bascule bridge?"}]}
    if upstream is None:
        show.say("POST /v1/chat/completions, to the model provider of your OPENAI_API_KEY:")
    else:
        show.say(
            "POST /v1/chat/completions. No OPENAI_API_KEY is set, so a stand-in for a model vendor, inside this demo, "
            f"is called over HTTP; it waits {1000 * THINKING_S:.0f} ms as a vendor would."
        )
    rows = []
    for ordinal in ("first", "second"):
        started_s = time.monotonic()
        reply = peer.send("POST", "/v1/chat/completions", body)
        took_ms = 1000 * (time.monotonic() - started_s)
        if reply.status != 200:
            show.say(f"The provider did not answer: {failure(reply)}")
            return
        text = reply.json()["choices"][0]["message"]["content"]
        rows.append((ordinal, reply.headers.get("x-bascule-cache", ""), f"{took_ms:.1f} ms", str(text)))
    show.table(("call", "x-bascule-cache", "time", "reply"), rows)
    if upstream is not None:
        show.say(f"Calls that reached the upstream: {upstream.calls}")


def delete(show: Show, address: str, admin: RemoteBackend, reader: Person) -> None:
    before = ask(show, address, reader, WARRANTY_QUESTION, "handbook")
    cited: Sequence[Mapping[str, Any]] = before["citations"]
    documents = asyncio.run(admin.documents("handbook", 100, None))
    wanted = next(d for d in documents if d["name"] == DELETED)
    started_s = time.monotonic()
    asyncio.run(admin.delete(wanted["id"]))
    show.say(
        f"\nDELETE /v1/documents/{wanted['id']}  ({wanted['title']}): {1000 * (time.monotonic() - started_s):.0f} ms\n"
    )
    ask(show, address, reader, WARRANTY_QUESTION, "handbook")
    peer = HttpPeer(address, reader.key)
    for chunk_id in dict.fromkeys(c["chunk_id"] for c in cited if c["document_id"] == wanted["id"]):
        status = peer.send("GET", f"/v1/passages/{chunk_id}").status
        show.say(f"The passage it cited before, GET /v1/passages/{chunk_id}: {status}")
