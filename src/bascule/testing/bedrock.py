"""A Bedrock runtime of one's own: Converse and its event stream. It computes each signature again with botocore's signer."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Sequence
from typing import Any

from botocore.auth import SigV4Auth  # type: ignore[import-untyped]
from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
from botocore.credentials import Credentials  # type: ignore[import-untyped]

from bascule.testing.vendors import SECRET, Seen, Vendor


def frame(payload: Any, event: str = "", *, kind: str = "event", exception: str = "") -> bytes:
    """One message: prelude, headers of strings, payload and both checksums."""
    named = {":message-type": kind, ":content-type": "application/json"}
    named |= {":event-type": event} if event else {":exception-type": exception}
    headers = b"".join(
        struct.pack("!B", len(k)) + k.encode() + b"\x07" + struct.pack("!H", len(v)) + v.encode()
        for k, v in named.items()
    )
    body = json.dumps(payload, ensure_ascii=False).encode()
    prelude = struct.pack("!II", 16 + len(headers) + len(body), len(headers))
    whole = prelude + struct.pack("!I", zlib.crc32(prelude)) + headers + body
    return whole + struct.pack("!I", zlib.crc32(whole))


class BedrockVendor(Vendor):
    stream_type = "application/vnd.amazon.eventstream"
    region = "eu-central-1"

    def answer(self, text: str, usage: tuple[int, int]) -> bytes:
        return converse([{"text": text}], usage=usage)

    def tool_answer(self, name: str, arguments: dict[str, Any]) -> bytes:
        return converse([{"toolUse": {"toolUseId": "call_1", "name": name, "input": arguments}}], "tool_use")

    def events(self, pieces: Sequence[str], usage: tuple[int, int]) -> list[bytes]:
        return stream([{"text": piece} for piece in pieces], usage=usage)

    def tool_events(self, name: str, arguments: dict[str, Any]) -> list[bytes]:
        text = json.dumps(arguments)
        deltas = [{"toolUse": {"input": part}} for part in (text[:4], text[4:])]
        return stream(deltas, "tool_use", start={"toolUse": {"toolUseId": "call_1", "name": name}})

    def error(self, status: int, message: str) -> bytes:
        return json.dumps({"message": message}).encode()

    def credential(self, seen: Seen) -> Any:
        """The scope signed for. Fails when the signature is not what botocore makes of the request that came."""
        said = seen.headers["authorization"]
        if said.startswith("Bearer "):
            return said
        names = said.partition("SignedHeaders=")[2].partition(",")[0].split(";")
        headers = {name: seen.headers[name] for name in names}
        host = headers.pop("host")
        request = AWSRequest(method="POST", url=f"http://{host}{seen.path}", data=seen.raw, headers=headers)
        signer = SigV4Auth(
            Credentials("AKIDEXAMPLE", SECRET, seen.headers.get("x-amz-security-token")), "bedrock", self.region
        )
        request.context["timestamp"] = seen.headers["x-amz-date"]
        signature = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
        assert said.endswith(f"Signature={signature}"), "the signature is not that of the request"
        return said.partition("Credential=")[2].partition(",")[0]


def converse(content: list[Any], stop: str = "end_turn", usage: tuple[int, int] = (11, 7), **counts: int) -> bytes:
    told = {"inputTokens": usage[0], "outputTokens": usage[1], "totalTokens": sum(usage), **counts}
    message = {"message": {"role": "assistant", "content": content}}
    found = {"output": message, "stopReason": stop, "usage": told, "metrics": {"latencyMs": 5}}
    return json.dumps(found).encode()


def stream(
    deltas: list[Any], stop: str = "end_turn", *, start: Any = None, usage: tuple[int, int] = (11, 7)
) -> list[bytes]:
    told = {"inputTokens": usage[0], "outputTokens": usage[1], "totalTokens": sum(usage)}
    begun = [frame({"start": start, "contentBlockIndex": 0}, "contentBlockStart")] if start else []
    return [
        frame({"role": "assistant"}, "messageStart"),
        *begun,
        *(frame({"delta": delta, "contentBlockIndex": 0}, "contentBlockDelta") for delta in deltas),
        frame({"contentBlockIndex": 0}, "contentBlockStop"),
        frame({"stopReason": stop}, "messageStop"),
        frame({"usage": told, "metrics": {"latencyMs": 5}}, "metadata"),
    ]
