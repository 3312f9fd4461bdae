"""A Gemini of one's own: generateContent, its stream, and the exchange of a service account's assertion for a token."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bascule.testing.vendors import SECRET, Vendor


class GeminiVendor(Vendor):
    def __init__(self) -> None:
        super().__init__()
        self.tokens = 0
        self.token_status = 200

    def answer(self, text: str, usage: tuple[int, int]) -> bytes:
        return json.dumps(generated([{"text": text}], usage=usage)).encode()

    def tool_answer(self, name: str, arguments: dict[str, Any]) -> bytes:
        return json.dumps(generated([{"functionCall": {"name": name, "args": arguments}}])).encode()

    def events(self, pieces: Sequence[str], usage: tuple[int, int]) -> list[bytes]:
        *early, last = pieces
        begun = [event(generated([{"text": piece}], None, usage=(usage[0], 1))) for piece in early]
        return [*begun, event(generated([{"text": last}], usage=usage))]

    def tool_events(self, name: str, arguments: dict[str, Any]) -> list[bytes]:
        return [event(generated([{"functionCall": {"name": name, "args": arguments}}]))]

    def error(self, status: int, message: str) -> bytes:
        return json.dumps({"error": {"code": status, "message": message, "status": "FAULT"}}).encode()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.path != "/token":
            return await super().handle(request)
        form = await request.post()
        assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
        self.tokens += 1
        told = {"access_token": SECRET, "expires_in": 3600, "token_type": "Bearer"}
        return web.json_response(told if self.token_status == 200 else {"error": "no"}, status=self.token_status)


def generated(
    parts: list[Any], stop: str | None = "STOP", usage: tuple[int, int] = (11, 7), **counts: int
) -> dict[str, Any]:
    told = {"promptTokenCount": usage[0], "candidatesTokenCount": usage[1], "totalTokenCount": sum(usage), **counts}
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": 0}
    candidate |= {"finishReason": stop} if stop else {}
    return {"candidates": [candidate], "usageMetadata": told, "modelVersion": "x", "responseId": "r1"}


def event(answer: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(answer, ensure_ascii=False).encode() + b"\r\n\r\n"


def service_account_key(url: str) -> str:
    """A key as Google gives out, made up, whose tokens are had at `url`."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return json.dumps(
        {"type": "service_account", "client_email": "a@p.iam.gserviceaccount.com", "private_key_id": "1",
         "private_key": pem.decode(), "token_uri": url + "/token", "project_id": "p"}
    )  # fmt: skip
