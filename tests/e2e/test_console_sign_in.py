"""Signing in by an identity provider: a real server, a provider built on Authlib, and every known way in that is wrong."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest

from bascule.bootstrap import App
from bascule.bootstrap.login import open_login
from bascule.core.errors import ConfigError
from bascule.core.principals import system_principal
from bascule.plugins.http_clients.aiohttp import Settings as HttpSettings
from bascule.plugins.http_clients.aiohttp import connect as open_http
from bascule.settings import LoginSettings
from bascule.testing.identity_provider import CLIENT, CLIENT_SECRET, IdentityProvider, identity_provider
from bascule.testing.running import running, settings_for

CHROMIUM = shutil.which("chromium")
TOLD = "Signing in did not work. Try again."


class World:
    """A server that people sign in to, its provider, and browsers as far as HTTP goes."""

    def __init__(self, url: str, app: App, provider: IdentityProvider, admin: str) -> None:
        self.url, self.app, self.provider, self.admin = url, app, provider, admin

    def browser(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))

    async def begin(self, browser: aiohttp.ClientSession) -> dict[str, str]:
        """As far as the provider: what it was asked."""
        async with browser.get(self.url + "/console/sign-in", allow_redirects=False) as reply:
            assert reply.status == 303
            there = urlsplit(reply.headers["location"])
        assert f"{there.scheme}://{there.netloc}{there.path}" == self.provider.url + "/authorize"
        return {name: value[0] for name, value in parse_qs(there.query).items()}

    async def agree(self, browser: aiohttp.ClientSession, asked: dict[str, str], user: str = "ann") -> str:
        """At the provider: where it sends the browser back."""
        form = asked | {"user": user}
        async with browser.post(self.provider.url + "/authorize", data=form, allow_redirects=False) as reply:
            assert reply.status == 302, await reply.text()
            return reply.headers["location"]

    async def back(self, browser: aiohttp.ClientSession, address: str) -> tuple[int, str]:
        async with browser.get(address, allow_redirects=False) as reply:
            return reply.status, await reply.text()

    async def sign_in(self, browser: aiohttp.ClientSession, user: str = "ann") -> tuple[int, str]:
        return await self.back(browser, await self.agree(browser, await self.begin(browser), user))

    async def home(self, browser: aiohttp.ClientSession) -> str:
        async with browser.get(self.url + "/", allow_redirects=False) as reply:
            return await reply.text()


def within(page: str) -> bool:
    return 'id="question"' in page


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setenv("CONSOLE_SECRET", CLIENT_SECRET)
    async with identity_provider() as provider:
        settings = settings_for(
            tmp_path / "data", tokens={"idp": {"issuer": provider.url, "audience": "bascule", "scopes": ["ask"]}}
        )
        async with running(settings) as (url, app, admin), open_http(HttpSettings()) as http:
            login = LoginSettings(
                issuer="idp", client_id=CLIENT, client_secret="env:CONSOLE_SECRET", public_url=url, label="Acme <b>"
            )
            app.settings = app.settings.model_copy(update={"login": login})
            app.login = open_login(app.settings, http, app.authenticator.is_off)
            provider.client.redirect_uri = url + "/console/signed-in"
            yield World(url, app, provider, admin)


async def test_one_signs_in_sees_what_is_ones_own_and_signs_out(world: World) -> None:
    mine = {"external_id": "a", "text": "The staff bicycle stands in the yard.", "allow": ["group:staff"]}
    headers = {"authorization": f"Bearer {world.admin}"}
    async with world.browser() as browser:
        body = {"collection": "c", "documents": [mine]}
        async with browser.post(world.url + "/v1/documents", json=body, headers=headers) as reply:
            assert reply.status == 202
        asked = await world.begin(browser)
        assert asked["response_type"] == "code" and asked["code_challenge_method"] == "S256"
        assert min(len(asked[name]) for name in ("state", "nonce", "code_challenge")) >= 43
        status, text = await world.back(browser, await world.agree(browser, asked))
        assert status == 200 and 'content="0;url=/"' in text
        page = await world.home(browser)
        assert within(page) and "<strong>ann</strong>" in page and '<option value="c">' in page
        token = re.search(r'name="csrf" value="([^"]+)"', page)
        assert token is not None
        (cookie,) = [c for c in browser.cookie_jar if c.key == "bascule_session"]
        assert cookie["httponly"] and cookie["samesite"] == "Strict" and cookie["path"] == "/"
        for sent in ({}, {"csrf": "x"}, {"csrf": token[1] + "x"}):
            async with browser.post(
                world.url + "/console/logout", data=sent, headers={"origin": world.url}, allow_redirects=False
            ) as reply:
                assert reply.status == 403
        assert within(await world.home(browser)), "a change without the page's token does nothing"
        out = {"data": {"csrf": token[1]}, "headers": {"origin": world.url}, "allow_redirects": False}
        async with browser.post(world.url + "/console/logout", **out) as reply:
            assert reply.status == 303
        assert not within(await world.home(browser))
    async with world.browser() as thief:
        async with thief.get(world.url + "/", headers={"cookie": f"bascule_session={cookie.value}"}) as reply:
            assert not within(await reply.text()), "a copy of the cookie is worth nothing"


async def test_the_login_page_offers_it_and_keys_still_open(world: World) -> None:
    async with world.browser() as browser:
        page = await world.home(browser)
        assert 'href="/console/sign-in"' in page and "Acme &lt;b&gt;" in page and 'name="key"' in page
        data, origin = {"key": world.admin}, {"origin": world.url}
        async with browser.post(
            world.url + "/console/login", data=data, headers=origin, allow_redirects=False
        ) as reply:
            assert reply.status == 303
        assert within(await world.home(browser))


Spoil = Callable[[dict[str, Any]], None]


def changed(**claims: Any) -> Spoil:
    return lambda found: found.update(claims)


WRONG: dict[str, Spoil] = {
    "of another client": changed(aud="another-client"),
    "for the API": changed(aud="bascule"),
    "for two, without azp": changed(aud=[CLIENT, "other"]),
    "asked for by another client": changed(azp="another-client"),
    "without a nonce": changed(nonce=None),
    "with another nonce": changed(nonce="guessed"),
    "with a nonce that is no text": changed(nonce=["x"]),
    "of another issuer": changed(iss="http://evil.example"),
    "expired": changed(exp=1_000_000_000),
    "without an end": changed(exp=None),
    "of nobody": changed(sub=None),
    "groups left out for being many": changed(_claim_names={"groups": "src1"}),
    "a group that is no name": changed(groups=["a b"]),
}


@pytest.mark.parametrize("half", [0, 1])  # more refusals from one address would be slowed
async def test_every_wrong_id_token_is_refused_alike(world: World, half: int) -> None:
    for name in list(WRONG)[half::2]:
        world.provider.spoil = WRONG[name]
        async with world.browser() as browser:
            status, text = await world.sign_in(browser)
            assert (status, TOLD in text) == (401, True), name
            assert not within(await world.home(browser)), name
            assert not [c for c in browser.cookie_jar if c.key == "bascule_session"], name
    world.provider.spoil = changed(groups=None)
    async with world.browser() as browser:
        assert (await world.sign_in(browser))[0] == 200 and within(await world.home(browser)), (
            "no groups: in, and in none"
        )


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


async def test_a_signature_that_is_none_or_made_with_the_public_key_is_refused(world: World) -> None:
    public = world.provider.key.as_pem(private=False)

    def none(claims: dict[str, Any]) -> str:
        return f"{part({'alg': 'none', 'kid': 'k1'})}.{part(claims)}."

    def by_public_key(claims: dict[str, Any]) -> str:
        text = f"{part({'alg': 'HS256', 'kid': 'k1'})}.{part(claims)}"
        mark = hmac.new(public, text.encode(), hashlib.sha256).digest()
        return f"{text}.{base64.urlsafe_b64encode(mark).rstrip(b'=').decode()}"

    def cut(claims: dict[str, Any]) -> str:
        return world.provider.signed(claims).rpartition(".")[0] + "."

    for sign in (none, by_public_key, cut):
        world.provider.sign = sign
        async with world.browser() as browser:
            assert (await world.sign_in(browser))[0] == 401
            assert not within(await world.home(browser))


async def test_a_sign_in_ends_only_in_the_browser_that_began_it_and_once(world: World) -> None:
    async with world.browser() as ann, world.browser() as mallory:
        hers, his = await world.begin(ann), await world.begin(mallory)
        at = await world.agree(ann, hers)
        assert (await world.back(mallory, at))[0] == 401, "somebody else's address, in another browser"
        code = parse_qs(urlsplit(at).query)["code"][0]
        injected = f"{world.url}/console/signed-in?code={code}&state={his['state']}"
        status, _ = await world.back(mallory, injected)
        assert status == 401 and not within(await world.home(mallory)), "a stolen code, in one's own sign-in: PKCE"
        assert world.provider.asked[-1]["code_verifier"], "the provider itself refused it"
        assert (await world.back(ann, at))[0] == 200
        again = world.browser()
        again.cookie_jar.update_cookies({c.key: c.value for c in ann.cookie_jar if c.key == "bascule_sign_in"})
        assert (await world.back(again, at))[0] == 401, "the same address again"
        await again.close()
        for wrong in ("", "?state=x", f"?state={hers['state']}", "?code=a&code=b", "?error=access_denied&state=x"):
            status, text = await world.back(mallory, f"{world.url}/console/signed-in{wrong}")
            assert status in (400, 401) and "Traceback" not in text
        asked = await world.begin(mallory)
        denied = f"?error=access_denied&error_description=%3Cscript%3E&state={asked['state']}"
        status, text = await world.back(mallory, f"{world.url}/console/signed-in{denied}")
        assert status == 401 and "script%" not in text and "<script>" not in text
        asked = await world.begin(mallory)
        mixed = (await world.agree(mallory, asked)) + "&iss=http%3A%2F%2Fevil.example"
        assert (await world.back(mallory, mixed))[0] == 401, "an answer of another provider"


async def test_a_sign_in_never_keeps_the_session_that_was_there_and_leads_nowhere_else(world: World) -> None:
    async with world.browser() as browser:
        data, origin = {"key": world.admin}, {"origin": world.url}
        async with browser.post(
            world.url + "/console/login", data=data, headers=origin, allow_redirects=False
        ) as reply:
            laid = reply.cookies["bascule_session"].value
        asked = await world.begin(browser)
        at = await world.agree(browser, asked)
        for more in ("&next=https://evil.example", "&redirect_uri=//evil.example", "&return_to=/%5Cevil.example"):
            at += more
        status, text = await world.back(browser, at)
        assert status == 200 and "evil" not in text and 'content="0;url=/"' in text
        (cookie,) = [c for c in browser.cookie_jar if c.key == "bascule_session"]
        assert cookie.value != laid
    async with world.browser() as other:
        async with other.get(world.url + "/", headers={"cookie": f"bascule_session={laid}"}) as reply:
            assert not within(await reply.text()), "the session from before is over"


async def test_a_session_ends_at_once_when_its_user_is_switched_off(world: World) -> None:
    async with world.browser() as ann, world.browser() as bob:
        assert (await world.sign_in(ann))[0] == 200
        await world.app.catalogue.set_active(system_principal("default"), "ann", False)
        await world.app.authenticator.refresh()
        assert not within(await world.home(ann)), "switched off in the directory: at once"
        assert (await world.sign_in(ann))[0] == 401, "and not in again"
        world.provider.groups["bob"] = ["staff"]
        assert (await world.sign_in(bob, "bob"))[0] == 200
        assert within(await world.home(bob))


async def test_a_provider_that_is_down_or_a_cookie_of_https_is_handled(world: World) -> None:
    async with world.browser() as browser:
        asked = await world.begin(browser)
        at = await world.agree(browser, asked)
        world.provider.status = 503
        status, text = await world.back(browser, at)
        assert status == 503 and world.provider.url not in text
        for code, status in ((400, 401), (403, 401), (404, 401), (429, 503)):
            world.provider.status = code
            at = await world.agree(browser, await world.begin(browser))
            told, text = await world.back(browser, at)
            assert told == status and "Traceback" not in text and "<html>no" not in text
        world.provider.status = 0
        login = world.app.settings.login.model_copy(update={"public_url": "https://127.0.0.1"})
        world.app.settings = world.app.settings.model_copy(update={"login": login})
        async with browser.get(world.url + "/console/sign-in", allow_redirects=False) as reply:
            cookie = reply.headers["set-cookie"]
        assert cookie.startswith("__Host-bascule_sign_in=") and "; Secure" in cookie and "SameSite=Lax" in cookie
        async with browser.post(
            world.url + "/console/login",
            data={"key": world.admin},
            headers={"origin": world.url},
            allow_redirects=False,
        ) as reply:
            name, _, value = reply.headers["set-cookie"].partition(";")[0].partition("=")
        assert name == "__Host-bascule_session"
    for sent, inside in ((f"{name}={value}", True), (f"bascule_session={value}", False)):
        async with world.browser() as other:
            async with other.get(world.url + "/", headers={"cookie": sent}) as reply:
                assert within(await reply.text()) is inside


async def test_refused_sign_ins_are_slowed_as_wrong_keys_are_and_foreign_pages_shut_nobody_out(world: World) -> None:
    async with world.browser() as browser:
        for _ in range(12):
            assert (await world.back(browser, world.url + "/console/signed-in?state=x&code=y"))[0] == 401
        for _ in range(10):
            asked = await world.begin(browser)
            wrong = f"{world.url}/console/signed-in?code=guess&state={asked['state']}"
            assert (await world.back(browser, wrong))[0] == 401
        status, text = await world.back(browser, world.url + "/console/sign-in")
        assert status == 429 and "Too many attempts" in text


def test_a_configuration_that_cannot_work_names_its_key(tmp_path: Path) -> None:
    tokens = {"idp": {"issuer": "http://127.0.0.1:1", "audience": "b"}}
    whole = {"issuer": "idp", "client_id": "c", "public_url": "https://x.example"}
    for wrong, told in (
        ({"issuer": "other"}, "login.issuer"),
        ({"client_id": ""}, "login.client_id"),
        ({"public_url": ""}, "login.public_url"),
        ({"asks": ("profile",)}, "login.asks"),
        ({"client_secret": "env:NOT_SET_ANYWHERE"}, "NOT_SET_ANYWHERE"),
    ):
        settings = settings_for(tmp_path, tokens=tokens, login=whole | wrong)
        with pytest.raises(ConfigError, match=told):
            open_login(settings, None, lambda *_: False)  # type: ignore[arg-type]


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: signing in is NOT tested in a browser")
async def test_in_a_real_browser_the_button_leads_to_the_provider_and_back_into_the_console(world: World) -> None:
    from playwright.async_api import async_playwright

    async with async_playwright() as play:
        browser = await play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = await browser.new_page()
        problems: list[str] = []
        own = lambda said: said.type == "error" and said.location.get("url", "").startswith(world.url)  # noqa: E731
        page.on("console", lambda said: problems.append(said.text) if own(said) else None)
        await page.goto(world.url)
        await page.get_by_role("link", name="Sign in with").click()
        await page.get_by_role("button", name="Go on").click()
        await page.wait_for_selector("#question")
        assert urlsplit(page.url).path == "/" and "code=" not in page.url
        await page.fill("#question", "Where does the bicycle stand?")
        await page.click("#ask-button")
        await page.wait_for_selector("#answer > *")
        await page.get_by_role("button", name="Sign out").click()
        await page.get_by_role("link", name="Sign in with").wait_for()
        assert problems == []
        await browser.close()
