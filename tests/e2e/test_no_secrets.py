"""No key anywhere: planted keys never show up in a log, a record, a table, a metric, a span, an error or an answer.

Every secret this service is given or could meet is planted with a text of its own. Good and failing calls go over every model
route while each place where words could end up is written down; then every byte is searched, in clear, base64 and URL encoding.
"""

from __future__ import annotations

import base64
import itertools
import json
import logging
import urllib.parse
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bascule.core.principals import system_principal
from bascule.testing.otlp import collector
from bascule.testing.running import running, settings_for, until
from bascule.testing.upstream import Fault, fake_upstream

VENDOR = "sk-proj-PlantedVendorKey0123456789abcdef"
BASIC_USER, BASIC_PASSWORD = "planteduser", "PlantedBasicAuth0123456789"
HEADER = "PlantedHeaderSecret0123456789abcdef"
GUARD = "PlantedGuardKey0123456789abcdef"
OTLP = "PlantedCollectorKey0123456789abcdef"
WRONG = "bsk_PlantedWrongCallerKey0123456789abcdef"
IN_ERROR = "sk-ant-PlantedInAnErrorBody0123456789abcdef"
COLD = "http://127.0.0.1:9"

BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "hello"}]},
    "/v1/messages": {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 50},
    "/v1/responses": {"input": "hello"},
    "/v1/embeddings": {"input": "hello"},
}
FAULTS = [
    Fault(),
    Fault(status=400, raw=json.dumps({"error": {"message": f"bad key {VENDOR}", "type": "x"}}).encode()),
    Fault(
        status=401, raw=json.dumps({"error": {"message": f"Incorrect API key provided: {VENDOR} {IN_ERROR}"}}).encode()
    ),
    Fault(status=403, raw=f"forbidden for {IN_ERROR} {VENDOR}".encode()),
    Fault(status=500, raw=f"crash with {VENDOR} {IN_ERROR}".encode()),
    Fault(status=429, retry_after="1", raw=f"slow down {IN_ERROR}".encode()),
    Fault(raw=f"<html>{IN_ERROR} {VENDOR}</html>".encode(), content_type="text/html"),
    Fault(raw=f"not json {VENDOR} {IN_ERROR}".encode()),
    Fault(cut_after=1),
]


def forms(secret: str) -> list[bytes]:
    """The secret as it could be written: in clear, URL encoded, and in base64 at each of the three places it can begin."""
    found = [secret, urllib.parse.quote(secret, safe=""), urllib.parse.quote_plus(secret)]
    raw = secret.encode()
    for lead in range(3):
        encoded = base64.b64encode(b"\0" * lead + raw).decode()
        found.append(encoded[4 if lead else 0 : -4])
    found.append(base64.b64encode(f"{BASIC_USER}:{secret}".encode()).decode().rstrip("="))
    return [text.encode() for text in found]


@pytest.mark.timeout(60)
async def test_planted_keys_are_nowhere_after_good_and_failing_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, value in (("VENDOR", VENDOR), ("GUARD", GUARD), ("OTLP", OTLP)):
        monkeypatch.setenv(f"PLANTED_{name}", value)
    log_file = logging.FileHandler(tmp_path / "everything.log")
    log_file.setFormatter(logging.Formatter("%(name)s %(message)s %(args)s"))
    root = logging.getLogger()
    root.addHandler(log_file)
    caplog.set_level(logging.DEBUG)
    seen: list[bytes] = []
    async with fake_upstream() as up, collector() as spans:
        host = up.url.removeprefix("http://")
        settings = settings_for(
            tmp_path / "data",
            providers={
                "good": {"kind": "openai", "base_url": up.url, "api_key": "env:PLANTED_VENDOR"},
                "basic": {
                    "kind": "openai", "base_url": f"http://{BASIC_USER}:{BASIC_PASSWORD}@{host}",
                    "api_key": "env:PLANTED_VENDOR",
                },
                "anthropic": {"kind": "anthropic", "base_url": up.url, "api_key": "env:PLANTED_VENDOR"},
                "cold": {"kind": "openai", "base_url": f"http://{BASIC_USER}:{BASIC_PASSWORD}@{COLD[7:]}/v1"},
            },
            models={
                name: {"targets": [{"provider": name, "model": "m"}], "keep_text": True, "cache_ttl_s": 0, "timeout_s": 2}
                for name in ("good", "basic", "anthropic", "cold")
            },
            policies={
                "guard": {"kind": "http_guard", "url": f"{COLD}/judge", "api_key": "env:PLANTED_GUARD", "on_failure": "pass"}
            },
            gateway={"policies": ["guard"], "max_attempts": 1},
            telemetry={"otlp_endpoint": spans.url, "otlp_headers": {"x-key": "env:PLANTED_OTLP"}},
        )  # fmt: skip
        async with running(settings) as (url, app, admin), aiohttp.ClientSession(url) as http:
            # A good call after each fault keeps the breakers closed, so that every fault is met.
            faults = [fault for pair in zip(FAULTS, itertools.repeat(Fault())) for fault in pair]
            sent = {"x-secret": HEADER, "cookie": f"session={HEADER}", "traceparent": HEADER}
            for (path, body), model, fault in itertools.product(BODIES.items(), settings.models, faults):
                for stream in (False, True) if path != "/v1/embeddings" else (None,):
                    up.always = fault
                    asked = {**body, "model": model} | ({"stream": stream} if stream is not None else {})
                    key = {"authorization": f"Bearer {admin}", **sent}
                    async with http.post(path, json=asked, headers=key) as reply:
                        seen.append(repr(dict(reply.headers)).encode() + await reply.read())
            for path, body in BODIES.items():
                for header in ({"authorization": f"Bearer {WRONG}"}, {"x-api-key": WRONG}, {"authorization": WRONG}):
                    async with http.post(path, json={**body, "model": "good"}, headers=header) as reply:
                        seen.append(await reply.read())
                async with http.post(path, json={**body, "model": "good", "api_key": WRONG}, headers=key) as reply:
                    seen.append(await reply.read())
            await until(lambda: not app.calls.waiting, 10)
            for path in ("/metrics", "/v1/calls?limit=200", "/openapi.json", "/v1/keys", "/nowhere"):
                async with http.get(path, headers={"authorization": f"Bearer {admin}"}) as reply:
                    seen.append(await reply.read())
                    assert reply.status == (404 if path == "/nowhere" else 200)
            records = await app.catalogue.calls(system_principal("default"), 10_000)
            assert {record.outcome for record in records} >= {"ok", "error", "cut"} and len(records) > 300
            tried = {attempt.error for record in records for attempt in record.attempts}
            assert tried >= {
                "",
                "upstream_rejected",
                "upstream_unavailable",
                "upstream_rate_limited",
                "upstream_invalid",
            }
        assert spans.raw and any(call.headers.get("authorization") == f"Bearer {VENDOR}" for call in up.calls)
        seen += spans.raw
    root.removeHandler(log_file)
    log_file.close()
    assert (tmp_path / "everything.log").stat().st_size > 1000
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert {"catalogue.sqlite", "calls.sqlite", "everything.log"} <= {file.name for file in files}
    written = {str(file.relative_to(tmp_path)): file.read_bytes() for file in files}
    written |= {f"reply {number}": text for number, text in enumerate(seen)}
    planted = {
        "vendor": VENDOR,
        "basic": BASIC_PASSWORD,
        "header": HEADER,
        "guard": GUARD,
        "otlp": OTLP,
        "wrong": WRONG,
    }
    planted |= {"admin": admin}
    found = [
        (name, place)
        for name, secret in planted.items()
        for place, text in written.items()
        if any(form in text for form in forms(secret))
    ]
    assert found == []
    kept = b"".join(text for place, text in written.items() if not place.startswith("reply"))
    assert not any(form in kept for form in forms(IN_ERROR))
