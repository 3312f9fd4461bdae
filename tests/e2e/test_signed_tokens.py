"""Signed tokens and act-as at a real server: who reads what, and what a plain header is worth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from joserfc import jwt
from joserfc.jwk import RSAKey

from bascule.access.act_as import mint
from bascule.testing.running import running, settings_for, until

SIGNING = RSAKey.generate_key(2048)


async def keys(_: web.Request) -> web.Response:
    return web.json_response({"keys": [SIGNING.as_dict(private=False) | {"kid": "k1", "use": "sig"}]})


async def published() -> tuple[web.AppRunner, str]:
    app = web.Application()
    app.router.add_get("/keys", keys)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}"


def token(issuer: str, subject: str, *groups: str) -> str:
    claims = {"iss": issuer, "aud": "bascule", "sub": subject, "exp": 4_000_000_000, "groups": list(groups)}
    return jwt.encode({"alg": "RS256", "kid": "k1"}, claims, SIGNING)


async def test_tokens_and_end_users_read_what_is_theirs_and_a_plain_header_names_nobody(tmp_path: Path) -> None:
    runner, issuer = await published()
    tokens = {"corp": {"issuer": issuer, "audience": "bascule", "jwks_url": f"{issuer}/keys", "longest_s": 1e10}}
    async with (
        running(settings_for(tmp_path / "data", tokens=tokens)) as (url, app, admin),
        aiohttp.ClientSession(url) as http,
    ):

        async def ask(method: str, path: str, key: str, body: Any = None, act_as: str = "") -> tuple[int, Any]:
            headers = {"authorization": f"Bearer {key}"} | ({"Bascule-Act-As": act_as} if act_as else {})
            async with http.request(method, path, json=body, headers=headers) as reply:
                return reply.status, await reply.json()

        async def reads(key: str, act_as: str = "") -> list[str] | int:
            status, found = await ask("GET", "/v1/documents", key, act_as=act_as)
            return [document["external_id"] for document in found["data"]] if status == 200 else status

        for name, mark in (("a", "user:ann"), ("b", "group:hr")):
            documents = [{"external_id": name, "text": f"text of {name}", "allow": [mark]}]
            assert (await ask("POST", "/v1/documents", admin, {"collection": "c", "documents": documents}))[0] == 202
        await ask("PUT", "/v1/directory/groups", admin, {"name": "hr", "users": ["ben"]})
        wanted = {"name": "app", "scopes": ["ask", "act_as"]}
        service = (await ask("POST", "/v1/keys", admin, wanted))[1]["key"]

        assert await reads(token(issuer, "ann")) == ["a"]
        assert await reads(token(issuer, "zoe", "hr")) == ["b"]
        assert await reads(token(issuer, "zoe") + "x") == 401
        assert await reads(service) == []
        assert await reads(service, mint(service, "ann")) == ["a"]
        assert await reads(service, mint(service, "ben")) == ["b"]
        assert [await reads(service, plain) for plain in ("ann", "user:ann", mint(admin, "ann"))] == [401, 401, 401]
        assert await reads(admin, mint(admin, "ann")) == 403
        assert await reads(token(issuer, "zoe"), mint(token(issuer, "zoe"), "ann")) == 403
        closed = [{"external_id": "c", "text": "text of c", "allow": ["group:hr"], "deny": ["group:visitors"]}]
        assert (await ask("POST", "/v1/documents", admin, {"collection": "c", "documents": closed}))[0] == 202
        assert [await reads(token(issuer, "zoe", "hr")), await reads(service, mint(service, "ben"))] == [["b", "c"]] * 2
        narrow = (await ask("POST", "/v1/keys", admin, wanted | {"name": "narrow", "groups": ["hr"]}))[1]["key"]
        await ask("PUT", "/v1/directory/groups", admin, {"name": "visitors", "users": ["ben", "zoe"]})
        for credential, who in ((token(issuer, "zoe", "hr"), ""), (narrow, mint(narrow, "ben"))):
            assert await reads(credential, who) == ["b"], (
                "a group that the credential leaves out shuts out all the same"
            )
        await ask("PUT", "/v1/directory/users", admin, {"name": "ann", "active": False})
        assert [await reads(token(issuer, "ann")), await reads(service, mint(service, "ann"))] == [401, 401]
        await until(lambda: app.jobs.state == "worker", 10)
    await runner.cleanup()
