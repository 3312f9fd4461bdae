"""The leak audit: it finds nothing here, it covers every route, and it finds what it must when Bascule is made to leak."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from sqlalchemy import make_url

import bascule.gateway.cache_key
from bascule.bootstrap import App
from bascule.core.errors import NotFound
from bascule.core.principals import Principal, system_principal
from bascule.db.wall import ROLE
from bascule.evals.leaks.audit import Plan, Run, audit
from bascule.evals.leaks.client import Client
from bascule.evals.leaks.judge import Finding
from bascule.evals.leaks.probes import COVERED, EXCUSED
from bascule.plugins.vector_stores.qdrant_edge import EdgeVectorStore
from bascule.server.table import HOT, OPEN, ROUTES
from bascule.testing.postgres import server
from bascule.testing.running import running, settings_for

FULL = os.environ.get("BASCULE_TEST_FULL") == "1"
READING_POSTS = ("POST /v1/answers", "POST /v1/search", "POST /v1/answers/{id}/replay")
GATEWAY: dict[str, Any] = {
    "providers": {"echo": {"kind": "echo"}},
    "models": {"echo": {"targets": [{"provider": "echo", "model": "echo"}]}},
}


# Every change is built into a generation of the engine, and every search asks it first.
EDGE: dict[str, Any] = {"kind": "qdrant_edge", "build_at": 1, "build_share": 1e-9, "scan_below": 0}


@asynccontextmanager
async def served(
    folder: Path, store: Mapping[str, Any] = {"kind": "sqlite"}, catalogue: str = "", embedder: str | None = None
) -> AsyncIterator[tuple[str, App, dict[str, str]]]:
    """A server whose model returns its whole prompt, and an administrator's key for each of two tenants."""
    sections = {"rag": {"embedding_model": embedder, "chat_model": "echo", "vector_store": dict(store)}}
    if catalogue:
        sections["catalogue"] = {"url": catalogue}
    async with running(settings_for(folder / "data", **GATEWAY, **sections)) as (url, app, _):
        keys = {}
        for tenant in ("acme", "rival"):
            scopes = ["admin", "ingest", "ask", "chat"]
            _, keys[tenant] = await app.keys.create(
                system_principal(tenant), name="audit", tenant=tenant, scopes=scopes
            )
        await app.authenticator.refresh()
        yield url, app, keys


@pytest.fixture
def logged() -> Iterator[Callable[[], bytes]]:
    """Everything that Bascule logs, at its most talkative."""
    lines: list[str] = []

    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    logger, handler = logging.getLogger("bascule"), Keeping()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield lambda: "\n".join(lines).encode()
    logger.removeHandler(handler)
    logger.setLevel(before)


def nothing(_what: str, _done: float) -> None: ...


async def nothing_is_left(app: App, keys: Mapping[str, str]) -> None:
    """What an audit made is gone."""
    for tenant in keys:
        assert not await app.catalogue.documents(system_principal(tenant), "leak-audit", 100, None)
        left = [k.name for k in await app.keys.list(system_principal(tenant)) if not k.revoked_at]
        assert not [name for name in left if name.startswith("leak audit")]


@pytest.mark.timeout(7200)
async def test_A5_nobody_is_shown_what_they_may_not_read(tmp_path: Path, logged: Callable[[], bytes]) -> None:
    async with served(tmp_path) as (url, app, keys):
        plan = Plan(acts=1, reads=100 if FULL else 30, replies=100_000 if FULL else 0, model="echo", seed=7)
        report = await audit(url, keys, plan, nothing, logged)
        assert report.findings == ()
        assert report.replies > (100_000 if FULL else 1_500)
        await nothing_is_left(app, keys)


def owned_by_a_plain_login() -> str:
    """A database whose owner is bound by row-level security once it gives up its role, as one in production should be."""
    url = make_url(server().new_database())
    with psycopg.connect(host=str(url.query["host"]), user="postgres", dbname="postgres", autocommit=True) as root:
        for role in ("leak_login LOGIN", f"{ROLE} NOLOGIN"):
            root.execute(f"DO $$ BEGIN CREATE ROLE {role}; EXCEPTION WHEN duplicate_object THEN NULL; END $$".encode())
        root.execute(f"GRANT {ROLE} TO leak_login; ALTER DATABASE {url.database} OWNER TO leak_login".encode())
    return url.set(username="leak_login").render_as_string()


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "where",
    ["sqlite on postgres", "qdrant_edge", pytest.param("memory", marks=() if FULL else pytest.mark.skip("full form"))],
)
async def test_A4_on_every_store_and_catalogue(tmp_path: Path, logged: Callable[[], bytes], where: str) -> None:
    """With vectors, too. The short form asks for no answers: they read as searches do."""
    store = EDGE if where == "qdrant_edge" else {"kind": where.partition(" ")[0]}
    catalogue = owned_by_a_plain_login() if where.endswith("postgres") else ""
    async with served(tmp_path, store, catalogue, "echo") as (url, app, keys):
        assert app.store is not None
        if where == "qdrant_edge":
            assert isinstance(app.store, EdgeVectorStore)
        assert await app.catalogue.wall() == ("stands" if catalogue else "none")
        plan = Plan(acts=40 if FULL else 1, reads=100 if FULL else 20, model="echo", answers=FULL, seed=8)
        report = await audit(url, keys, plan, nothing, logged)
        assert report.findings == ()
        assert report.replies > (30_000 if FULL else 1_000)
        await nothing_is_left(app, keys)


def test_A5_every_route_that_reads_is_tried_or_excused() -> None:
    routes = {f"{r.method} {r.path}" for r in (*ROUTES, *HOT, *OPEN) if r.method == "GET"}
    routes |= {f"{r.method} {r.path}" for r in HOT} | set(READING_POSTS)
    assert routes == COVERED | set(EXCUSED), "a new route needs a probe in evals/leaks/probes.py, or a reason there"


# ---------------------------------------------------------------- planted bugs

Patch = Callable[[App, pytest.MonkeyPatch], None]


def as_system(name: str) -> Patch:
    """The catalogue's read `name` forgets who asks, within the tenant."""

    def plant(app: App, patch: pytest.MonkeyPatch) -> None:
        real = getattr(app.catalogue, name)

        async def forgetful(principal: Principal, *rest: Any, **named: Any) -> Any:
            return await real(system_principal(principal.tenant), *rest, **named)

        patch.setattr(app.catalogue, name, forgetful)

    return plant


def cache_without_tenant(app: App, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(bascule.gateway.cache_key, "_scope", lambda route, principal: [])


def answers_kept_by_question(app: App, patch: pytest.MonkeyPatch) -> None:
    assert app.questions is not None
    real, kept = app.questions.answer, dict[str, Any]()

    async def answer(principal: Principal, question: str, **rest: Any) -> Any:
        if question not in kept:
            kept[question] = await real(principal, question, **rest)
        return kept[question]

    patch.setattr(app.questions, "answer", answer)


def title_in_404(app: App, patch: pytest.MonkeyPatch) -> None:
    real = app.catalogue.document

    async def document(principal: Principal, document_id: str) -> Any:
        try:
            return await real(principal, document_id)
        except NotFound:
            hidden = await real(system_principal(principal.tenant), document_id)
            raise NotFound(f"You may not read {hidden.title!r}.") from None

    patch.setattr(app.catalogue, "document", document)


def other_words_for_hidden(app: App, patch: pytest.MonkeyPatch) -> None:
    real = app.catalogue.document

    async def document(principal: Principal, document_id: str) -> Any:
        try:
            return await real(principal, document_id)
        except NotFound:
            await real(system_principal(principal.tenant), document_id)
            raise NotFound("You may not read it.") from None

    patch.setattr(app.catalogue, "document", document)


def hits_in_the_log(app: App, patch: pytest.MonkeyPatch) -> None:
    assert app.questions is not None
    real = app.questions.search

    async def search(*given: Any, **named: Any) -> Any:
        hits = await real(*given, **named)
        logging.getLogger("bascule.rag").debug("best hit: %s", hits[0].chunk.text if hits else "none")
        return hits

    patch.setattr(app.questions, "search", search)


def both_walls_down(app: App, patch: pytest.MonkeyPatch) -> None:
    """The index proposes for the whole tenant, and the catalogue checks for the whole tenant."""
    as_system("readable_acl_ids")(app, patch)
    as_system("check")(app, patch)


def groups_for_ever(app: App, patch: pytest.MonkeyPatch) -> None:
    """Whoever was in a group once stays in it."""
    real, seen = app.authenticator.principal, dict[tuple[str, str], frozenset[str]]()

    def principal(authorization: str | None) -> Principal:
        found = real(authorization)
        who = (found.tenant, found.subject)
        seen[who] = seen.get(who, frozenset()) | found.groups
        return msgspec.structs.replace(found, groups=seen[who])

    patch.setattr(app.authenticator, "principal", principal)


def groups_left_out_are_forgotten(app: App, patch: pytest.MonkeyPatch) -> None:
    """A key that leaves a group out opens what is closed to the group."""
    real = app.authenticator.principal
    patch.setattr(
        app.authenticator,
        "principal",
        lambda given: msgspec.structs.replace(real(given), unused_groups=frozenset()),
    )


def deleted_in_name_only(app: App, patch: pytest.MonkeyPatch) -> None:
    async def delete_document(principal: Principal, document_id: str) -> None:
        await app.catalogue.document(principal, document_id)

    patch.setattr(app.catalogue, "delete_document", delete_document)


async def regroup(run: Run) -> None:
    ann = run.world.people["ann"]
    await run.office.regroup(ann, {group for group in ann.groups if not group.endswith("-hr")})


async def leave_out(run: Run) -> None:
    """Ben's key no longer has the group that acme-staff is closed to; Ben is in it still."""
    ben = run.world.people["ben"]
    await run.office.regroup(ben, {group for group in ben.groups if not group.endswith("-interns")})


async def delete(run: Run) -> None:
    await run.office.delete(next(p for p in run.world.papers.values() if p.external_id.endswith("acme-all")))


MUTANTS: dict[
    str, tuple[Patch, str, Any]
] = {  # planted bug -> (how, the kind of finding that must come, the act it needs)
    "cache key without tenant": (cache_without_tenant, "cache", None),
    "answers kept by their question": (answers_kept_by_question, "canary", None),
    "passage without the reader": (as_system("passage"), "canary", None),
    "list of documents without the reader": (as_system("documents"), "canary", None),
    "document without the reader": (as_system("document"), "canary", None),
    "passages of a document without the reader": (as_system("document_chunks"), "canary", None),
    "title in the 404": (title_in_404, "canary", None),
    "hidden told from missing": (other_words_for_hidden, "told apart", None),
    "hits in the log": (hits_in_the_log, "log", None),
    "both walls down": (both_walls_down, "canary", None),
    "groups for ever": (groups_for_ever, "canary", regroup),
    "groups left out forgotten": (groups_left_out_are_forgotten, "canary", leave_out),
    "deleted in name only": (deleted_in_name_only, "canary", delete),
    "collections counted before the filter": (as_system("collections"), "count", None),
}
SHORT = ("hidden told from missing",)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "name", [m if FULL or m in SHORT else pytest.param(m, marks=pytest.mark.skip("full form")) for m in MUTANTS]
)
async def test_A4_a_planted_bug_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: Callable[[], bytes], name: str
) -> None:
    plant, kind, act = MUTANTS[name]
    async with served(tmp_path) as (url, app, keys), Client(url) as client:
        run = Run(client, keys, Plan(model="echo", answers=FULL))
        await run.begin()
        plant(app, monkeypatch)
        found: list[Finding] = await run.sweep.caches()
        if act is not None:
            await act(run)
        found += await run.sweep.quiet() + run.in_logs(logged())
    assert kind in {finding.kind for finding in found}, found[:5]


@pytest.mark.timeout(1200)
@pytest.mark.skipif(not FULL, reason="full form")
async def test_A4_the_acts_of_a_finding_are_shortened_to_those_that_bring_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(tmp_path) as (url, app, keys):
        deleted_in_name_only(app, monkeypatch)
        plan = Plan(acts=12, reads=0, answers=False, seed=3, tries=40)
        report = await audit(url, keys, plan, nothing, lambda: b"")
    assert [act.partition(" ")[0] for act in report.shortest] == ["delete"], (report.shortest, report.tries)


HELD = {"index proposes all": "readable_acl_ids", "catalogue checks for all": "check"}


@pytest.mark.timeout(300)
@pytest.mark.skipif(not FULL, reason="full form")
@pytest.mark.parametrize("name", HELD)
async def test_A4_one_wall_holds_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Law 1: with either the index's filter or the catalogue's check gone, nothing is shown while the index is up to date."""
    async with served(tmp_path) as (url, app, keys), Client(url) as client:
        run = Run(client, keys, Plan())
        await run.begin()
        as_system(HELD[name])(app, monkeypatch)
        searched = [f for f in await run.sweep.quiet() if f.where.startswith(("search", "answer", "rag"))]
    assert searched == []
