"""The demo's steps, in order. Everything goes through the running server's HTTP interface, with real keys."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import threading
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final

import msgspec

from bascule.cli.backend import KeyRequest
from bascule.cli.demo.python_docs import python_docs
from bascule.cli.demo.server import fresh_folder, serving
from bascule.cli.demo.show import Show
from bascule.cli.demo.upstream import StandIn, stand_in
from bascule.cli.http_peer import HttpPeer, failure
from bascule.cli.ingest import take_in
from bascule.cli.output import Output
from bascule.cli.remote import RemoteBackend
from bascule.cli.sources import read_sources
from bascule.core.connectors import SkippedItem, SourceItem
from bascule.core.errors import BasculeError, ConfigError
from bascule.core.rights import Rights

MODEL: Final = "demo"
VENDOR_MODEL: Final = "gpt-4o-mini"
PYTHON_QUESTIONS: Final = (
    "What does the with statement do?",
    "How do I read a file as text with pathlib?",
)
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
# One question, and who asks it in turn: the documents' rights decide who is answered.
SHARED_QUESTIONS: Final = (
    ("What is the highest salary of a senior mechanic?", ("Ann", "Ivy")),
    ("What was the operating profit in the third quarter?", ("Ben", "Ann")),
    ("Which extension does the duty officer have?", ("Ann", "Ivy")),
)


def run(data: Path, *, port: int, once: bool) -> int:
    """Run the demo; the exit code. Raises ConfigError and StorageError before anything was shown."""
    started_s = time.monotonic()
    show = Show()
    fresh_folder(data)
    vendor = bool(os.environ.get("OPENAI_API_KEY"))
    with _terminable(), nullcontext(None) if vendor else stand_in() as upstream:
        admin_key = _prepare(data, upstream, show)
        given = {} if vendor else {"BASCULE_DEMO_UPSTREAM_KEY": secrets.token_urlsafe(16)}
        launched_s = time.monotonic()
        with serving(data, port, given) as address:
            people = _tell(show, address, admin_key, upstream, time.monotonic() - launched_s)
            _close(show, time.monotonic() - started_s)
            if once:
                show.say("The server stops now. Without --once it stays, with its console, until Ctrl-C.")
            else:
                _stay(show, address, admin_key, people)
    return 0


def _prepare(data: Path, upstream: StandIn | None, show: Show) -> str:
    """The embedding model where it can be had, a configuration, the folder's secrets and the admin key."""
    from bascule import bootstrap
    from bascule.ops import models
    from bascule.settings import Exact

    models_dir = Path(os.environ.get("BASCULE_MODELS_DIR") or data.parent / "models").resolve()
    os.environ["BASCULE_MODELS_DIR"] = str(models_dir)
    try:
        models.pull(models_dir)
    except BasculeError as error:
        show.say(f"No embedding model, so search is by words only.\n{error}")
    (data / "bascule.toml").write_text(_configuration(upstream), encoding="utf-8")
    key = asyncio.run(bootstrap.init(Exact(data=data)))
    if key is None:
        raise ConfigError(f"{data} holds keys already. Remove it and run the demo again.")
    return key


def _configuration(upstream: StandIn | None) -> str:
    if upstream is None:
        base_url = os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1"
        name, key, rag = os.environ.get("BASCULE_DEMO_MODEL") or VENDOR_MODEL, "env:OPENAI_API_KEY", MODEL
    else:
        base_url, name, key, rag = upstream.base_url, "stand-in", "env:BASCULE_DEMO_UPSTREAM_KEY", ""
    lines = [
        "# Written by `bascule demo`.",
        "[providers.main]",
        'kind = "openai"',
        f'base_url = "{base_url}"',
        f'api_key = "{key}"',
        f"[models.{MODEL}]",
        f'targets = [{{ provider = "main", model = "{name}" }}]',
    ]
    return "\n".join([*lines, *(["[rag]", f'chat_model = "{rag}"'] if rag else [])]) + "\n"


def _tell(show: Show, address: str, admin_key: str, upstream: StandIn | None, start_s: float) -> list[Person]:
    admin = RemoteBackend(address, admin_key)
    with show.step("A server, started on its embedded default"):
        show.say(
            f"Bascule listens on {address}, {start_s:.1f} s after it was started. "
            "SQLite catalogue and index, no other service, a folder only you can read."
        )
    with show.step("Documents nobody here wrote, and a shop's handbook"):
        _ingest(show, admin)
    people = asyncio.run(_people(admin))
    with show.step("Questions about the Python language"):
        for question in PYTHON_QUESTIONS:
            _ask(show, address, people[0], question, "python")
    with show.step("The same question, asked by two people"):
        show.say("Each of them has a key of their own. The papers of hr, finance and security have different readers.")
        for question, names in SHARED_QUESTIONS:
            for person in (next(p for p in people if p.name == name) for name in names):
                _ask(show, address, person, question, "handbook")
    with show.step("The same model call, made twice"):
        _call_twice(show, address, people[0], upstream)
    with show.step("A document, deleted"):
        _delete(show, address, admin, people[2])
    return people


def _ingest(show: Show, admin: RemoteBackend) -> None:
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


async def _people(admin: RemoteBackend) -> list[Person]:
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


def _ask(show: Show, address: str, person: Person, question: str, collection: str) -> dict[str, Any]:
    started_s = time.monotonic()
    found = asyncio.run(RemoteBackend(address, person.key).ask(question, [collection], None))
    show.answer(person.label, question, found, time.monotonic() - started_s)
    return found


def _call_twice(show: Show, address: str, person: Person, upstream: StandIn | None) -> None:
    peer = HttpPeer(address, person.key)
    body = {"model": MODEL, "messages": [{"role": "user", "content": "In one sentence: what is a bascule bridge?"}]}
    if upstream is None:
        show.say("POST /v1/chat/completions, to the model provider of your OPENAI_API_KEY:")
    else:
        show.say(
            "POST /v1/chat/completions. No OPENAI_API_KEY is set, so a stand-in for a model vendor, inside this demo, "
            f"is called over HTTP; it waits {1000 * _thinking():.0f} ms as a vendor would."
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


def _thinking() -> float:
    from bascule.cli.demo.upstream import THINKING_S

    return THINKING_S


def _delete(show: Show, address: str, admin: RemoteBackend, reader: Person) -> None:
    before = _ask(show, address, reader, WARRANTY_QUESTION, "handbook")
    cited: Sequence[Mapping[str, Any]] = before["citations"]
    documents = asyncio.run(admin.documents("handbook", 100, None))
    wanted = next(d for d in documents if d["name"] == DELETED)
    started_s = time.monotonic()
    asyncio.run(admin.delete(wanted["id"]))
    show.say(
        f"\nDELETE /v1/documents/{wanted['id']}  ({wanted['title']}): {1000 * (time.monotonic() - started_s):.0f} ms\n"
    )
    _ask(show, address, reader, WARRANTY_QUESTION, "handbook")
    peer = HttpPeer(address, reader.key)
    for chunk_id in dict.fromkeys(c["chunk_id"] for c in cited if c["document_id"] == wanted["id"]):
        status = peer.send("GET", f"/v1/passages/{chunk_id}").status
        show.say(f"The passage it cited before, GET /v1/passages/{chunk_id}: {status}")


def _close(show: Show, took_s: float) -> None:
    show.console.print()
    steps = [(title, f"{step_s:.1f}") for title, step_s in show.took[1:]]
    show.table(("step", "seconds"), [*steps, ("all of it, the start included", f"{took_s:.1f}")])


def _stay(show: Show, address: str, admin_key: str, people: Sequence[Person]) -> None:
    show.say(f"\nThe server is still running. Open {address} and log in with one of these keys:")
    show.table(("who", "key"), [*((p.label, p.key) for p in people), ("admin", admin_key)])
    show.say(f'Or: BASCULE_URL={address} BASCULE_KEY=KEY bascule ask "..."\nCtrl-C stops it.')
    threading.Event().wait()


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends the demo as Ctrl-C does, so that its server is stopped too; the end of it is no error."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        return
    finally:
        signal.signal(signal.SIGTERM, before)
