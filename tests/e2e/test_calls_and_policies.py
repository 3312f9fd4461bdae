"""From the configuration to the API: policies on a model, call records over HTTP, kept texts, and how long records stay."""

from __future__ import annotations

import time
from pathlib import Path

import aiohttp
import msgspec

from bascule.core.calls import CallRecord
from bascule.core.principals import system_principal
from bascule.testing.otlp import collector
from bascule.testing.running import running, settings_for, until
from bascule.testing.upstream import fake_upstream

MAIL = "canary@acme.example"


def auth(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


async def test_policies_records_and_spans_work_from_the_configuration(tmp_path: Path) -> None:
    async with fake_upstream() as up, collector() as spans:
        settings = settings_for(
            tmp_path,
            providers={"main": {"kind": "openai", "base_url": up.url}},
            models={
                "fast": {"targets": [{"provider": "main", "model": "m"}], "keep_text": True},
                "bare": {"targets": [{"provider": "main", "model": "m"}], "policies": []},
                "strict": {"targets": [{"provider": "main", "model": "m"}], "policies": ["no_pii"]},
            },
            policies={"pii": {"kind": "pii"}, "no_pii": {"kind": "pii", "action": "refuse"}},
            gateway={"policies": ["pii"], "retention_days": 1},
            telemetry={"otlp_endpoint": spans.url},
        )
        async with running(settings) as (url, app, admin), aiohttp.ClientSession(url) as http:
            operator = system_principal("default")
            keys = {}
            for name, scopes in (("ann", ["chat"]), ("eve", ["chat", "audit"])):
                options = {"groups": (), "roles": (), "scopes": scopes}
                _, keys[name] = await app.keys.create(operator, name=name, tenant="default", subject="", **options)
            await app.authenticator.refresh()

            async def ask(model: str) -> tuple[int, dict]:
                body = {"model": model, "messages": [{"role": "user", "content": f"Greet {MAIL}"}]}
                trace = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
                async with http.post("/v1/chat/completions", json=body, headers=auth(keys["ann"]) | trace) as reply:
                    return reply.status, await reply.json()

            status, answer = await ask("fast")
            assert status == 200 and answer["choices"][0]["message"]["content"] == f"answer 1 to Greet {MAIL}"
            assert up.calls[0].body["messages"][0]["content"] == "Greet <EMAIL_1>"
            status, error = await ask("strict")
            assert (status, error["error"]["code"]) == (403, "policy_refused") and "no_pii" in error["error"]["message"]
            await ask("bare")
            assert MAIL.encode() in up.calls[1].raw

            async def get(path: str, key: str) -> tuple[int, dict]:
                async with http.get(path, headers=auth(key)) as reply:
                    return reply.status, await reply.json()

            await until(lambda: not app.calls.waiting, 5)
            _, found = await get("/v1/calls", keys["ann"])
            assert [c["model"] for c in found["data"]] == ["bare", "strict", "fast"]
            first = found["data"][2]
            assert first["policies"] == [{"policy": "pii", "direction": "in", "action": "mask", "counts": {"email": 1}}]
            assert 0 < first["parts"]["before_provider_s"] < first["latency_s"]
            assert 0 < first["parts"]["provider_s"] < first["latency_s"] and first["finish"] == "stop"
            assert (await get("/v1/calls", keys["eve"]))[1]["data"] == []
            assert (await get("/v1/calls?model=fast&limit=1", admin))[1]["data"] == [first]
            path = "/v1/calls/" + first["id"]
            assert (await get(path, keys["ann"]))[1]["text"] is None
            assert (await get(path, keys["eve"]))[0] == 404
            kept = (await get(path, admin))[1]["text"]
            assert kept == {"prompt": "Greet [email]", "answer": "answer 1 to Greet [email]"}
            acts = [row.act for row in await app.catalogue.audit_rows(operator, 50)]
            assert acts.count("calls.read_text") == 1
            await until(lambda: any(s.name == "chat fast" for s in spans.spans()), 10)
            assert b"canary" not in b"".join(spans.raw)
            assert {s.trace_id.hex() for s in spans.spans() if s.name == "chat fast"} == {
                "0af7651916cd43dd8448eb211c80319c"
            }

            records = await app.catalogue.calls(operator, 1)
            old = msgspec.structs.replace(records[0], id="old", started_at_s=time.time() - 2 * 86_400)
            await app.catalogue.add_calls([old])
        async with running(settings) as (_, app, _admin):

            async def forgotten() -> bool:
                left: list[CallRecord] = await app.catalogue.calls(system_principal("default"), 50)
                return "old" not in {record.id for record in left} and len(left) == 3

            await until(forgotten, 5)
