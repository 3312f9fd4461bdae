"""The console: one page, its fragments and its files. Everything it shows is asked for with the signed-in key's own rights."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

from bascule.core.documents import Answer
from bascule.core.errors import AuthenticationFailed, BasculeError, InvalidRequest, NotFound, StorageError
from bascule.core.principals import SCOPE_ASK, SCOPE_INGEST, Principal
from bascule.server.answers import lacks as lacks_of
from bascule.server.answers import questions_of
from bascule.server.bodies import MAX_QUESTION
from bascule.server.console import words
from bascule.server.console.desk import Desk
from bascule.server.console.door import FORM_BYTES, Door, TooManyAttempts
from bascule.server.console.guard import PAGE_HEADERS, check_host, check_origin
from bascule.server.console.sections import SECTIONS
from bascule.server.console.visit import Visit, place_of, places
from bascule.server.credentials import require
from bascule.server.exchange import Events, Exchange, Header, Reply, Watch
from bascule.server.failures import report, to_body, to_reply
from bascule.server.route import checked_id

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

    from bascule.bootstrap import App

_HERE: Final = Path(__file__).parent
_HTML: Final = b"text/html; charset=utf-8"
_TYPES: Final = {
    ".css": b"text/css; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
}
_UNNOTED: Final = frozenset({"/", "/console/work", "/console/operations", "/console/keys"})
_PAGE: Final = 25
_MOST_FIELDS: Final = 250

Fragment = Callable[[Exchange, Principal, str], Awaitable[Reply]]


class Console:
    def __init__(self, app: App, stopping: Callable[[], bool] = bool) -> None:
        self._app = app
        self._stopping = stopping
        self._door = Door(app)
        self._files = {path.name: path.read_bytes() for path in (_HERE / "static").iterdir() if path.suffix in _TYPES}
        self._get: dict[str, Fragment] = {"documents": self._documents, "passage": self._passage}
        self._doors: dict[str, Callable[[Exchange], Awaitable[Reply]]] = {
            "/": self._home,
            "/console/sign-in": self._to_provider,
            "/console/signed-in": self._from_provider,
        }

    @cached_property
    def _templates(self) -> Environment:
        """Loaded with the first page: a gateway that nobody looks at never needs it."""
        from jinja2 import Environment, FileSystemLoader, StrictUndefined

        templates = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        # A changed file has another address, so that an upgrade never meets a stale copy.
        templates.globals["version"] = hashlib.sha256(b"".join(self._files.values())).hexdigest()[:12]
        return templates

    async def serve(self, exchange: Exchange, path: str, method: str) -> None:
        """Answer a path that is not of the API. Errors of pages are pages too."""
        check_host(exchange, self._app.settings.server.allowed_hosts)
        if path.startswith("/console/static/"):
            return await exchange.reply(self._file(path.rpartition("/")[2]))
        reply: Reply | Events
        try:
            reply = await self._route(exchange, path, method)
        except AuthenticationFailed:
            reply = self._signed_out(exchange)
        except TooManyAttempts as many:
            reply = self._waiting(many.wait_s)
        except BasculeError as error:
            report(error, exchange.request_id)
            reply = self._error(error, whole=not exchange.header(b"hx-request"))
        await (exchange.send_events(reply) if isinstance(reply, Events) else exchange.reply(reply))

    async def _route(self, exchange: Exchange, path: str, method: str) -> Reply | Events:
        if method == "POST":
            check_origin(exchange)
            return await (self._login(exchange) if path == "/console/login" else self._changed(exchange, path))
        if method == "GET":
            if path in self._doors:
                return await self._doors[path](exchange)
            kind, _, rest = path.removeprefix("/console/").partition("/")
            if path.startswith("/console/") and kind in self._get:
                return await self._get[kind](exchange, await self._door.principal(exchange), rest)
        return await self._section(exchange, path, method, None)

    async def _changed(self, exchange: Exchange, path: str) -> Reply | Events:
        """Raises AuthenticationFailed before anything of the request is read, WrongOrigin without the session's token."""
        principal = await self._door.principal(exchange)
        form = await _form(exchange, _MOST_FIELDS)
        await self._door.check_token(exchange, form)
        if path == "/console/logout":
            return _redirect((b"set-cookie", await self._door.leave(exchange, principal)))
        if path == "/console/answer":
            return await self._answer(exchange, principal, form)
        return await self._section(exchange, path, "POST", form)

    async def _section(self, exchange: Exchange, path: str, method: str, form: dict[str, str] | None) -> Reply | Events:
        kind, _, rest = path.removeprefix("/console/").partition("/")
        section = SECTIONS.get((method, kind)) if path.startswith("/console/") else None
        if section is None:
            raise NotFound("There is no such page.")
        principal = await self._door.principal(exchange)
        asked = _query(exchange, _MOST_FIELDS) if form is None else form
        desk = Desk(self._app, exchange, principal, self._stopping)
        render = partial(self._page, csrf=(await self._door.session(exchange)).csrf)
        return await section(Visit(desk, rest, asked, render, self._who(principal), place_of(kind)))

    def _who(self, principal: Principal) -> str:
        record = self._app.authenticator.record(principal)
        return record.name if record is not None else (principal.subject or "key")

    # ------------------------------------------------------------ signing in and out

    async def _login(self, exchange: Exchange) -> Reply:
        key = (await _form(exchange)).get("key", "").strip()
        try:
            return _redirect((b"set-cookie", await self._door.by_key(exchange, key)))
        except AuthenticationFailed:
            return self._login_page(401, "This key is not valid, or it has been revoked.")

    async def _to_provider(self, exchange: Exchange) -> Reply:
        url, cookie = await self._door.to_provider(exchange)
        return Reply(303, b"", _HTML, ((b"location", url.encode()), (b"set-cookie", cookie), *PAGE_HEADERS))

    async def _from_provider(self, exchange: Exchange) -> Reply:
        """A page that goes on by itself: a redirect would still count as the other site's, and the new cookie stay at home."""
        try:
            session, flow = await self._door.from_provider(exchange)
        except AuthenticationFailed as error:
            return self._login_page(401, error.message)
        return self._page("signed_in.html", 200, ((b"set-cookie", session), (b"set-cookie", flow)))

    def _login_page(self, status: int = 200, problem: str = "", *headers: Header) -> Reply:
        return self._page("login.html", status, headers, problem=problem, label=self._door.label)

    def _waiting(self, wait_s: float) -> Reply:
        told = f"Too many attempts. Try again in {int(wait_s // 60) + 1} minutes."
        return self._login_page(429, told, (b"retry-after", b"%d" % (int(wait_s) + 1)))

    def _signed_out(self, exchange: Exchange) -> Reply:
        if exchange.header(b"hx-request"):
            return Reply(401, b"", _HTML, ((b"hx-redirect", b"/"), *PAGE_HEADERS))
        if exchange.header(b"sec-fetch-site") == "cross-site" and exchange.scope["method"] == "GET":
            # A link from elsewhere, and Strict kept the cookie of whoever is signed in at home: the page asks again itself,
            # but no other site makes somebody read what is written into the audit log.
            return self._page("again.html", by_itself=exchange.scope["path"] in _UNNOTED)
        return _redirect()

    # ------------------------------------------------------------ the page and its parts

    async def _home(self, exchange: Exchange) -> Reply:
        try:
            principal = await self._door.principal(exchange)
        except AuthenticationFailed:
            return self._login_page()
        app = self._app
        asks = app.questions is not None and principal.can(SCOPE_ASK)
        known = await app.catalogue.collections(principal) if asks else []
        codes = lacks_of(app)
        if asks and not app.settings.rag.answers_by:
            codes = [*codes, "no_model"]
        return self._page(
            "home.html",
            asks=asks,
            gateway_only=app.questions is None,
            ingests=app.ingest is not None and principal.can(SCOPE_INGEST),
            collections=[collection.name for collection in known],
            lacks=words.lacks(codes),
            who=self._who(principal),
            here="/",
            places=places(Desk(app, exchange, principal, self._stopping)),
            max_question=MAX_QUESTION,
            csrf=(await self._door.session(exchange)).csrf,
        )

    async def _answer(self, exchange: Exchange, principal: Principal, form: Mapping[str, str]) -> Reply:
        require(principal, SCOPE_ASK)
        question, collection = form.get("question", "").strip(), form.get("collection", "")
        if not question or len(question) > MAX_QUESTION:
            raise InvalidRequest(f"Ask a question of 1 to {MAX_QUESTION:,} characters.", param="question")
        with Watch(exchange):
            found = await questions_of(self._app).answer(
                principal, question, collections=[collection] if collection else None, where={}
            )
        return self._page(
            "answer.html",
            question=question,
            answer=found,
            pieces=words.pieces(found),
            written=self._written(found),
            headings=words.headings,
            reason=words.reason(found.reason),
            lacks=words.lacks(found.degraded),
        )

    def _written(self, found: Answer) -> Markup | None:
        """Markdown of a model; None for a quotation, which is shown letter by letter."""
        if found.model == "extractive":
            return None
        from bascule.server.console.markup import rendered

        return rendered(found, self._app.settings.server.link_hosts)

    async def _documents(self, exchange: Exchange, principal: Principal, rest: str) -> Reply:
        require(principal, SCOPE_ASK)
        asked = _query(exchange)
        collection = asked.get("collection") or None
        found = await self._app.catalogue.documents(principal, collection, _PAGE + 1, asked.get("after") or None)
        alikes = await self._app.catalogue.alikes(principal, [document.id for document in found[:_PAGE]])
        rows = [words.DocumentRow.of(d, principal, len(alikes.get(d.id, ()))) for d in found[:_PAGE]]
        after = rows[-1].id if len(found) > _PAGE else ""
        return self._page(
            "documents.html", rows=rows, after=after, collection=collection or "", first="after" not in asked
        )

    async def _passage(self, exchange: Exchange, principal: Principal, rest: str) -> Reply:
        require(principal, SCOPE_ASK)
        asked = _query(exchange)
        checked_id(rest)
        chunk = await self._app.catalogue.passage(principal, rest)
        around = await self._app.catalogue.neighbours(principal, rest, 1, 1)
        start, end = _number(asked.get("start")), _number(asked.get("end"))
        return self._page("passage.html", passage=words.Passage.of(chunk, around, start, end))

    # ------------------------------------------------------------ replies

    def _page(self, template: str, status: int = 200, headers: tuple[Header, ...] = (), **given: Any) -> Reply:
        body = self._templates.get_template(template).render(given).encode()
        return Reply(status, body, _HTML, (*PAGE_HEADERS, *headers))

    def _error(self, error: BasculeError, *, whole: bool) -> Reply:
        """A page of its own, or a line for the place that htmx fills."""
        told = to_body(error).error
        status = 503 if isinstance(error, StorageError) else to_reply(error).status
        return self._page("error_page.html" if whole else "error.html", status, told=told)

    def _file(self, name: str) -> Reply:
        body = self._files.get(name)
        if body is None:
            raise NotFound("There is no such file.")
        return Reply(200, body, _TYPES[Path(name).suffix], PAGE_HEADERS)


def _redirect(*headers: Header) -> Reply:
    return Reply(303, b"", _HTML, ((b"location", b"/"), *headers, *PAGE_HEADERS))


async def _form(exchange: Exchange, fields: int = 10) -> dict[str, str]:
    """Raises InvalidRequest for what is not a small form."""
    body = await exchange.body(FORM_BYTES)
    try:
        return _plain(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=fields))
    except ValueError:
        raise InvalidRequest("This form cannot be read.") from None


def _query(exchange: Exchange, fields: int = 10) -> dict[str, str]:
    try:
        return _plain(parse_qsl(exchange.scope["query_string"].decode("latin-1"), max_num_fields=fields))
    except ValueError:
        raise InvalidRequest("This query cannot be read.") from None


def _plain(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Without NUL, which no database takes as text."""
    return {name: value.replace("\x00", "") for name, value in pairs}


def _number(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 9 else -1
