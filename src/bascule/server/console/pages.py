"""The console: one page, its fragments and its files. Everything it shows is asked for with the signed-in key's own rights."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from functools import cached_property
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
from bascule.server.console.guard import PAGE_HEADERS, check_host, check_origin, is_secure
from bascule.server.console.sections import SECTIONS
from bascule.server.console.sessions import Attempts, Sessions, cookie_value, set_cookie
from bascule.server.console.visit import Visit, place_of, places
from bascule.server.console.why import METHODS
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
_FORM_BYTES: Final = 64_000
_PAGE: Final = 25
_JOBS: Final = 8
_MOST_FIELDS: Final = 250

Fragment = Callable[[Exchange, Principal, str], Awaitable[Reply]]


class Console:
    def __init__(self, app: App, stopping: Callable[[], bool] = bool) -> None:
        self._app = app
        self._stopping = stopping
        self._sessions = Sessions()
        self._attempts = Attempts()
        self._files = {path.name: path.read_bytes() for path in (_HERE / "static").iterdir() if path.suffix in _TYPES}
        self._get: dict[str, Fragment] = {"documents": self._documents, "jobs": self._jobs, "passage": self._passage}

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
        templates.globals["method_words"] = METHODS
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
        except BasculeError as error:
            report(error, exchange.request_id)
            reply = self._error(error, whole=not exchange.header(b"hx-request"))
        await (exchange.send_events(reply) if isinstance(reply, Events) else exchange.reply(reply))

    async def _route(self, exchange: Exchange, path: str, method: str) -> Reply | Events:
        if method == "POST":
            check_origin(exchange)
            if path == "/console/login":
                return await self._login(exchange)
            if path == "/console/logout":
                return self._logout(exchange)
            if path == "/console/answer":
                return await self._answer(exchange, self._principal(exchange))
        elif method == "GET":
            if path == "/":
                return await self._home(exchange)
            kind, _, rest = path.removeprefix("/console/").partition("/")
            if path.startswith("/console/") and kind in self._get:
                return await self._get[kind](exchange, self._principal(exchange), rest)
        kind, _, rest = path.removeprefix("/console/").partition("/")
        if path.startswith("/console/") and (section := SECTIONS.get((method, kind))) is not None:
            return await section(await self._visit(exchange, method, kind, rest))
        raise NotFound("There is no such page.")

    async def _visit(self, exchange: Exchange, method: str, kind: str, rest: str) -> Visit:
        """Raises AuthenticationFailed before anything of the request is read."""
        principal = self._principal(exchange)
        asked = await _form(exchange, _MOST_FIELDS) if method == "POST" else _query(exchange, _MOST_FIELDS)
        desk = Desk(self._app, exchange, principal, self._stopping)
        return Visit(desk, rest, asked, self._page, self._who(principal), place_of(kind))

    def _who(self, principal: Principal) -> str:
        record = self._app.authenticator.record(principal)
        return record.name if record is not None else (principal.subject or "key")

    def _principal(self, exchange: Exchange) -> Principal:
        """Raises AuthenticationFailed; also when the session's key has been revoked meanwhile."""
        session_id = cookie_value(exchange.header(b"cookie"))
        authorization = self._sessions.authorization(session_id) if session_id else None
        if authorization is None:
            raise AuthenticationFailed("Sign in first.")
        return self._app.authenticator.principal(authorization)

    # ------------------------------------------------------------ signing in and out

    async def _login(self, exchange: Exchange) -> Reply:
        wait_s = self._attempts.wait_s(exchange.client_host)
        if wait_s > 0:
            words_ = f"Too many attempts. Try again in {int(wait_s // 60) + 1} minutes."
            return self._page("login.html", 429, ((b"retry-after", b"%d" % (int(wait_s) + 1)),), problem=words_)
        key = (await _form(exchange)).get("key", "").strip()
        authorization = f"Bearer {key}"
        try:
            self._app.authenticator.principal(authorization)
        except AuthenticationFailed:
            self._attempts.failed(exchange.client_host)
            return self._page("login.html", 401, problem="This key is not valid, or it has been revoked.")
        session_id = self._sessions.begin(authorization)
        return _redirect((b"set-cookie", set_cookie(session_id, secure=is_secure(exchange))))

    def _logout(self, exchange: Exchange) -> Reply:
        self._sessions.end(cookie_value(exchange.header(b"cookie")))
        return _redirect((b"set-cookie", set_cookie("", secure=is_secure(exchange))))

    def _signed_out(self, exchange: Exchange) -> Reply:
        if exchange.header(b"hx-request"):
            return Reply(401, b"", _HTML, ((b"hx-redirect", b"/"), *PAGE_HEADERS))
        return _redirect()

    # ------------------------------------------------------------ the page and its parts

    async def _home(self, exchange: Exchange) -> Reply:
        try:
            principal = self._principal(exchange)
        except AuthenticationFailed:
            return self._page("login.html", problem="")
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
        )

    async def _answer(self, exchange: Exchange, principal: Principal) -> Reply:
        require(principal, SCOPE_ASK)
        form = await _form(exchange)
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
            reason=words.REASONS.get(found.reason or "", (found.reason or "").replace("_", " ")),
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

    async def _jobs(self, exchange: Exchange, principal: Principal, rest: str) -> Reply:
        require(principal, SCOPE_INGEST)
        rows = [words.JobRow.of(job) for job in await self._app.catalogue.jobs(principal, _JOBS)]
        return self._page(
            "jobs.html", rows=rows, busy=any(row.state in ("queued", "running", "paused") for row in rows)
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
        return self._page("error_page.html" if whole else "error.html", status, message=told.message, code=told.code)

    def _file(self, name: str) -> Reply:
        body = self._files.get(name)
        if body is None:
            raise NotFound("There is no such file.")
        return Reply(200, body, _TYPES[Path(name).suffix], PAGE_HEADERS)


def _redirect(*headers: Header) -> Reply:
    return Reply(303, b"", _HTML, ((b"location", b"/"), *headers, *PAGE_HEADERS))


async def _form(exchange: Exchange, fields: int = 10) -> dict[str, str]:
    """Raises InvalidRequest for what is not a small form."""
    body = await exchange.body(_FORM_BYTES)
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
