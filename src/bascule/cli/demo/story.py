"""The demo from beginning to end: a server made ready and started, the chapters told, and the server left running."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Final

from bascule.cli.demo import chapters
from bascule.cli.demo.chapters import MODEL, Person
from bascule.cli.demo.server import fresh_folder, serving
from bascule.cli.demo.show import Show
from bascule.cli.demo.upstream import StandIn, stand_in
from bascule.cli.remote import RemoteBackend
from bascule.core.errors import BasculeError, ConfigError

VENDOR_MODEL: Final = "gpt-4o-mini"
PYTHON_QUESTIONS: Final = (
    "What does the with statement do?",
    "How do I read a file as text with pathlib?",
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
        launched_s = time.monotonic()
        with serving(data, port) as address:
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
    key = asyncio.run(bootstrap.init(Exact(data=data)))
    upstream_key = data.resolve() / "secrets" / "upstream.key"
    upstream_key.touch(mode=0o600)
    upstream_key.write_text(secrets.token_urlsafe(16))
    (data / "bascule.toml").write_text(_configuration(upstream, f"file:{upstream_key}"), encoding="utf-8")
    if key is None:
        raise ConfigError(f"{data} holds keys already. Remove it and run the demo again.")
    return key


def _configuration(upstream: StandIn | None, key: str) -> str:
    if upstream is None:
        base_url = os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1"
        name, key, rag = os.environ.get("BASCULE_DEMO_MODEL") or VENDOR_MODEL, "env:OPENAI_API_KEY", MODEL
    else:
        base_url, name, rag = upstream.base_url, "stand-in", ""
    lines = [
        "# Written by `bascule demo`.",
        "[providers.main]",
        'kind = "openai"',
        f"base_url = {json.dumps(base_url)}",
        f"api_key = {json.dumps(key)}",
        f"[models.{MODEL}]",
        f'targets = [{{ provider = "main", model = {json.dumps(name)} }}]',
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
        chapters.ingest(show, admin)
    people = asyncio.run(chapters.people(admin))
    with show.step("Questions about the Python language"):
        for question in PYTHON_QUESTIONS:
            chapters.ask(show, address, people[0], question, "python")
    with show.step("The same question, asked by two people"):
        show.say("Each of them has a key of their own. The papers of hr, finance and security have different readers.")
        for question, names in SHARED_QUESTIONS:
            for person in (next(p for p in people if p.name == name) for name in names):
                chapters.ask(show, address, person, question, "handbook")
    with show.step("The same model call, made twice"):
        chapters.call_twice(show, address, people[0], upstream)
    with show.step("A document, deleted"):
        chapters.delete(show, address, admin, people[2])
    return people


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
