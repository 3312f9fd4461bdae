"""The console over real HTTP: signing in, host and origin, escaping, headers."""

from __future__ import annotations

import re

import aiohttp
import pytest

from bascule.core.errors import StorageError
from bascule.core.principals import Principal
from bascule.server.console import words
from bascule.server.console.guard import CONTENT_SECURITY_POLICY, host_name
from bascule.server.console.sessions import IDLE_S, LIFETIME_S, Attempts, Here, Sessions
from bascule.testing.server import ADMIN, CHATTER, CHUNK, READER, FakeApp, an_answer, serving


@pytest.fixture
async def fake():
    app = FakeApp(server={"allowed_hosts": ["docs.example"]})
    async with serving(app) as (url, _):
        # An address is no cookie domain to the client unless it is told so.
        jar = aiohttp.CookieJar(unsafe=True)
        async with aiohttp.ClientSession(url, cookie_jar=jar, headers={"origin": url}) as http:
            yield app, http


async def sign_in(http: aiohttp.ClientSession, key: str = ADMIN) -> aiohttp.ClientResponse:
    return await http.post("/console/login", data={"key": key}, allow_redirects=False)


async def page(http: aiohttp.ClientSession, path: str = "/", status: int = 200) -> str:
    async with http.get(path, allow_redirects=False) as reply:
        assert reply.status == status, await reply.text()
        return await reply.text()


async def signed(http: aiohttp.ClientSession, form: dict[str, str]) -> dict[str, str]:
    """With the token of the session's page."""
    found = re.search(r'name="csrf" value="([^"]*)"', await page(http))
    return form | {"csrf": found[1] if found else ""}


async def test_a_key_opens_a_session_in_a_cookie_that_script_and_other_sites_cannot_use(fake):
    _, http = fake
    assert 'name="key"' in await page(http)
    reply = await sign_in(http)
    cookie = reply.headers["set-cookie"]
    assert (reply.status, reply.headers["location"]) == (303, "/")
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and "Path=/" in cookie and "Secure" not in cookie
    assert ADMIN not in cookie
    assert 'id="question"' in await page(http)


async def test_the_cookie_is_secure_when_the_browser_came_by_https(fake):
    _, http = fake
    headers = {"host": "docs.example", "origin": "https://docs.example"}
    async with http.post("/console/login", data={"key": ADMIN}, headers=headers, allow_redirects=False) as reply:
        assert reply.status == 303
        cookie = reply.headers["set-cookie"]
        assert cookie.startswith("__Host-bascule_session=") and "; Secure" in cookie


async def test_a_wrong_key_is_refused_and_after_ten_the_address_waits(fake):
    _, http = fake
    for _ in range(10):
        assert (await sign_in(http, "bsk_wrong")).status == 401
    reply = await sign_in(http, ADMIN)
    assert reply.status == 429
    assert 0 < int(reply.headers["retry-after"]) <= 301


async def test_a_revoked_key_ends_its_session_at_once(fake):
    app, http = fake
    await sign_in(http)
    assert 'id="question"' in await page(http)
    app.authenticator.revoked.add(ADMIN)
    assert 'name="key"' in await page(http)
    async with http.get("/console/documents", headers={"hx-request": "true"}) as reply:
        assert (reply.status, reply.headers["hx-redirect"]) == (401, "/")


async def test_signing_out_ends_the_session_for_every_copy_of_the_cookie(fake):
    _, http = fake
    reply = await sign_in(http)
    stolen = reply.headers["set-cookie"].partition(";")[0]
    async with http.post("/console/logout", data=await signed(http, {}), allow_redirects=False) as reply:
        assert reply.status == 303
    async with http.get("/", headers={"cookie": stolen}) as reply:
        assert 'name="key"' in await reply.text()


@pytest.mark.parametrize("path", ["/console/login", "/console/logout", "/console/answer"])
async def test_a_change_that_does_not_come_from_our_page_is_refused(fake, path):
    app, http = fake
    await sign_in(http)
    for headers in (
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "", "sec-fetch-site": "cross-site"},
    ):
        async with http.post(path, data={"key": ADMIN, "question": "a"}, headers=headers) as reply:
            assert reply.status == 403
    assert app.questions.asked == []


@pytest.mark.parametrize("path", ["/console/logout", "/console/answer"])
async def test_a_change_without_the_sessions_own_token_is_refused(fake, path):
    app, http = fake
    await sign_in(http)
    right = (await signed(http, {}))["csrf"]
    for sent in ({}, {"csrf": ""}, {"csrf": right[:-1]}, {"csrf": "é"}):
        async with http.post(path, data=sent | {"question": "a"}) as reply:
            assert reply.status == 403
    await sign_in(http)
    async with http.post(path, data={"csrf": right, "question": "a"}) as reply:
        assert reply.status == 403, "a token of the session before"
    assert app.questions.asked == [] and 'id="question"' in await page(http)


async def test_a_foreign_host_name_gets_nothing_of_the_console_and_the_api_stays(fake):
    _, http = fake
    await sign_in(http)
    for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example", ""):
        for path in ("/", "/console/documents", "/console/static/console.css"):
            async with http.get(path, headers={"host": host}) as reply:
                assert reply.status == 421, (host, path)
    for host in ("localhost:80", "docs.example", "[::1]:8400", "192.168.1.5", "DOCS.EXAMPLE:8400"):
        async with http.get("/", headers={"host": host}) as reply:
            assert reply.status == 200, host
    async with http.get("/v1/models", headers={"host": "evil.example", "x-api-key": ADMIN}) as reply:
        assert reply.status == 200


async def test_every_page_has_the_strict_policy_and_no_inline_script_or_style(fake):
    _, http = fake
    paths = ["/", "/console/documents", "/console/jobs", f"/console/passage/{CHUNK}?start=0&end=10"]
    bodies = []
    for signed_in in (False, True):
        if signed_in:
            await sign_in(http)
        for path in paths if signed_in else paths[:1]:
            async with http.get(path) as reply:
                bodies.append(await reply.text())
                assert reply.headers["content-security-policy"].encode() == CONTENT_SECURITY_POLICY
                assert reply.headers["cache-control"] == "private, no-store"
                assert reply.headers["x-frame-options"] == "DENY"
    async with http.post("/console/answer", data=await signed(http, {"question": "a"})) as reply:
        bodies.append(await reply.text())
    for body in bodies:
        assert not re.search(
            r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=(?!&)|hx-on|javascript:", strip_escaped(body)
        )
        assert not re.search(r"""(?:src|href|action)\s*=\s*["']?(?:https?:)?//""", body)
    assert b"unsafe" not in CONTENT_SECURITY_POLICY


def strip_escaped(body: str) -> str:
    return re.sub(r"&lt;.*?&gt;", "", body)


async def test_everything_from_documents_and_answers_is_escaped_text(fake):
    _, http = fake
    await sign_in(http)
    shown = [
        await page(http, "/console/documents"),
        await page(http, "/console/jobs"),
        await page(http, f"/console/passage/{CHUNK}?start=0&end=37"),
    ]
    async with http.post("/console/answer", data=await signed(http, {"question": "<b>bold</b>?"})) as reply:
        shown.append(await reply.text())
    for body in shown:
        assert "<img" not in body and "<script" not in body and "<b>" not in body
        assert all(link == "/console/answers/a1" for link in re.findall(r'<a [^>]*href="([^"]*)"', body))
        assert body.count("<a ") == body.count('<a href="/console/answers/')
    assert "&lt;script&gt;" in shown[3] and "&lt;b&gt;" in shown[3]


async def test_an_answers_marks_open_their_passage_with_the_cited_span(fake):
    _, http = fake
    await sign_in(http)
    async with http.post(
        "/console/answer", data=await signed(http, {"question": "May I?", "collection": "handbook"})
    ) as reply:
        answer = await reply.text()
    found = re.search(r'class="cite" hx-get="([^"]+)"', answer)
    assert found, answer
    assert answer.count('class="cite"') == 1  # [7] names no citation
    passage = await page(http, found.group(1).replace("&amp;", "&"))
    assert "<mark>Goods may be returned within 30 days</mark>" in passage.replace(".</mark>", "</mark>")
    assert "handbook › Policies › Returns › page 2" in passage


async def test_a_span_outside_its_passage_marks_nothing(fake):
    _, http = fake
    await sign_in(http)
    for span in ("start=5&end=5000", "start=9&end=3", "start=-1&end=4", "start=%C2%B2&end=4"):
        assert "<mark>" not in await page(http, f"/console/passage/{CHUNK}?{span}")


async def test_a_refusal_gives_its_reason_and_no_sources(fake):
    import msgspec

    app, http = fake
    app.questions.found = msgspec.structs.replace(an_answer(), status="refused", answer="", reason="no_evidence")
    await sign_in(http)
    async with http.post("/console/answer", data=await signed(http, {"question": "a"})) as reply:
        body = await reply.text()
    assert words.REASONS["no_evidence"] in body
    assert "Sources" not in body


async def test_what_is_missing_is_said_on_the_page_and_in_the_answer(fake):
    _, http = fake
    await sign_in(http)
    home = await page(http)
    assert words.LACKS["lexical_only"] in home and words.LACKS["no_model"] in home
    async with http.post("/console/answer", data=await signed(http, {"question": "a"})) as reply:
        assert words.LACKS["lexical_only"] in await reply.text()


async def test_missing_passages_and_failing_storage_are_pages_with_words(fake):
    app, http = fake
    await sign_in(http)
    for unknown in ("unknown", "a%00b", ""):
        assert "no such thing" in await page(http, f"/console/passage/{unknown}", 404)
    await page(http, "/console/documents?collection=a%00b")
    app.catalogue.fails = StorageError("The catalogue does not answer.")
    assert "does not answer" in await page(http, "/", 503)


async def test_a_key_sees_only_the_parts_its_scopes_allow(fake):
    _, http = fake
    await sign_in(http, READER)
    home = await page(http)
    assert 'id="question"' in home and 'id="jobs"' not in home
    await page(http, "/console/jobs", 403)
    await sign_in(http, CHATTER)
    assert "no scope" in await page(http)
    await page(http, "/console/documents", 403)
    async with http.post("/console/answer", data=await signed(http, {"question": "a"})) as reply:
        assert reply.status == 403


async def test_rights_are_shown_to_the_keeper_only(fake):
    _, http = fake
    await sign_in(http, ADMIN)
    assert "group:hr" in await page(http, "/console/documents")
    await sign_in(http, READER)
    assert "group:hr" not in await page(http, "/console/documents")


async def test_files_are_served_by_name_and_nothing_else_is(fake):
    _, http = fake
    for name, kind in (("console.css", "text/css"), ("htmx.min.js", "text/javascript"), ("icon.svg", "image/svg+xml")):
        async with http.get(f"/console/static/{name}") as reply:
            assert (reply.status, reply.headers["content-type"].partition(";")[0]) == (200, kind)
    for name in ("..%2fpages.py", "%2e%2e/pages.py", "", "htmx.LICENSE.txt"):
        async with http.get(f"/console/static/{name}") as reply:
            assert reply.status == 404


async def test_sessions_end_by_age_and_by_idleness():
    now = [0.0]
    sessions = Sessions(Here(), clock=lambda: now[0])
    idle, used = await sessions.begin(b"a"), await sessions.begin(b"b")
    while now[0] < LIFETIME_S:
        assert (await sessions.find(used)).key_hash == b"b"
        now[0] += IDLE_S - 1
    assert await sessions.find(used) is None
    assert await sessions.find(idle) is None
    assert await sessions.find("guess") is None and await sessions.find("x" * 1_000) is None


async def test_what_a_provider_said_counts_for_as_long_as_a_sign_in_lasts_and_no_use_prolongs_it():
    now = [0.0]
    sessions = Sessions(Here(), clock=lambda: now[0])
    opened = await sessions.begin(
        principal=Principal(tenant="t", subject="ann", groups=frozenset({"hr"})), lasts_s=3600
    )
    for _ in range(6):
        assert (await sessions.find(opened)).principal.groups == {"hr"}
        now[0] += 600
    now[0] += 1
    assert await sessions.find(opened) is None, "groups that were taken away meanwhile are gone with it"


async def test_whoever_writes_to_the_store_makes_nobody_somebody_else():
    """A key's session names its hash; what a provider said is marked by servers that know its client secret."""
    keeper = Here()
    theirs, ours = Sessions(keeper, b"their own"), Sessions(keeper, b"the deployment's")
    root = Principal(tenant="t", subject="root", scopes=frozenset({"admin"}))
    forged = await theirs.begin(principal=root)
    assert await ours.find(forged) is None
    real = await ours.begin(principal=Principal(tenant="t", subject="ann"))
    assert (await Sessions(keeper, b"the deployment's").find(real)).principal.subject == "ann", "another server's"
    (place,) = (key for key in keeper._held if key != next(iter(keeper._held)))
    raw = await keeper.get(place)
    assert real.encode() not in raw and real not in place
    await keeper.put(place, raw.replace(b"ann", b"eve"), 60)
    assert await ours.find(real) is None


def test_failed_attempts_are_forgotten_after_their_window():
    now = [0.0]
    attempts = Attempts(limit=2, window_s=10, clock=lambda: now[0])
    attempts.failed("a")
    attempts.failed("a")
    assert (attempts.wait_s("a"), attempts.wait_s("b")) == (10.0, 0.0)
    now[0] = 10.1
    assert attempts.wait_s("a") == 0.0


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("localhost:1", "localhost"),
        ("[::1]:80", "::1"),
        ("A.example.", "a.example"),
        ("", ""),
        ("127.0.0.1", "127.0.0.1"),
    ],
)
def test_a_host_header_is_read_without_its_port(header, name):
    assert host_name(header) == name
