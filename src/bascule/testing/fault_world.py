"""A running Bascule with a fault proxy before each of its models, and callers who each bring a canary of their own."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp

from bascule.bootstrap import App
from bascule.core.sse import SseParser
from bascule.core.state import Admission, Claim, StateStore
from bascule.testing.fault_proxy import FaultProxy, Plan, fault_proxy
from bascule.testing.running import running, settings_for
from bascule.testing.upstream import FakeUpstream, fake_upstream

CHAT: Final = "/v1/chat/completions"
CANARY: Final = re.compile(r"canary-[0-9a-f]{32}")


def canary() -> str:
    return f"canary-{uuid.uuid4().hex}"


@dataclass(frozen=True, kw_only=True)
class Said:
    """What one caller was told.

    own    the caller's canary
    text   the assistant's words, of a stream those before its end or its error
    error  the code of the error body or error event; "" for none
    ended  a stream's proper end was there; True for a whole answer
    """

    own: str
    status: int
    headers: Mapping[str, str]
    raw: bytes
    text: str
    error: str
    retryable_in_s: float | None
    ended: bool
    took_s: float

    @property
    def outcome(self) -> str:
        if self.error:
            return self.error
        if not self.ended:
            return "a clean end of a cut stream"
        return "ok" if self.text.strip() else "empty"


@dataclass
class World:
    """`asked` holds the request id of every model call that was answered, `held` the reservations not settled yet."""

    url: str
    app: App
    admin: str
    upstream: FakeUpstream
    http: aiohttp.ClientSession
    proxies: dict[str, FaultProxy]
    asked: list[str] = field(default_factory=list)
    held: set[str] = field(default_factory=set)

    async def ask(self, model: str, *, stream: bool = False, own: str = "", key: str = "", **fields: Any) -> Said:
        """One call by a caller of its own. `own` is its canary: the vendor's answer repeats the prompt."""
        own = own or canary()
        body = {"model": model, "messages": [{"role": "user", "content": f"Say {own}"}], **fields}
        if stream:
            body["stream"] = True
        began_s = time.monotonic()
        headers = {"authorization": f"Bearer {key or self.admin}"}
        async with self.http.post(self.url + CHAT, json=body, headers=headers) as reply:
            raw = await reply.read()
            took_s = time.monotonic() - began_s
            self.asked.append(reply.headers["x-request-id"])
            streamed = reply.headers["content-type"].startswith("text/event-stream")
            text, error, ended = _events(raw) if streamed else _whole(raw, reply.status)
            wait = reply.headers.get("retry-after")
            return Said(
                own=own, status=reply.status, headers=dict(reply.headers), raw=raw, text=text, error=error, ended=ended,
                took_s=took_s, retryable_in_s=float(wait) if wait else None,
            )  # fmt: skip


def _whole(raw: bytes, status: int) -> tuple[str, str, bool]:
    answer = json.loads(raw)
    if status != 200:
        detail = answer["error"]
        assert {"message", "type", "param", "code"} <= set(detail), detail
        return "", detail["code"] or f"passed on {status}", False
    return answer["choices"][0]["message"].get("content") or "", "", True


def _events(raw: bytes) -> tuple[str, str, bool]:
    text, error, ended = "", "", False
    for name, data in SseParser().feed(raw):
        assert not ended and not error, "something follows the end of the stream"
        if data == b"[DONE]":
            ended = True
        elif name == "error":
            detail = json.loads(data)["error"]
            assert {"message", "type", "param", "code"} <= set(detail), detail
            error = detail["code"]
        else:
            choices = json.loads(data)["choices"]
            text += "".join(choice["delta"].get("content") or "" for choice in choices)
    return text, error, ended


@asynccontextmanager
async def fault_world(
    data: Path,
    plans: Mapping[str, Plan],
    *,
    urls: Mapping[str, str] | None = None,
    kinds: Mapping[str, str] | None = None,
    timeout_s: float = 1.0,
    state_store: Mapping[str, Any] | None = None,
    **gateway: Any,
) -> AsyncIterator[World]:
    """Each name of `plans` is a model whose vendor (of `kinds`, by default "openai") is reached through a proxy of its own.

    `urls` are further models, whose vendors are at these base URLs and behind no proxy of ours.
    """
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(fake_upstream())
        proxies = {
            name: await stack.enter_async_context(fault_proxy(upstream.url, plan)) for name, plan in plans.items()
        }
        addresses = {name: proxy.url for name, proxy in proxies.items()} | dict(urls or {})
        settings = settings_for(
            data,
            rag={"enabled": False},
            state_store=dict(state_store or {"kind": "memory"}),
            gateway={"timeout_s": timeout_s, "tokens_per_min": 1_000_000_000, **gateway},
            providers={
                name: {"kind": (kinds or {}).get(name, "openai"), "base_url": address}
                for name, address in addresses.items()
            },
            models={name: {"targets": [{"provider": name, "model": "m"}]} for name in addresses},
        )
        url, app, admin = await stack.enter_async_context(running(settings, work=False))
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        http = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        yield World(url, app, admin, upstream, http, proxies, held=_reservations(app.state))


def _reservations(state: StateStore) -> set[str]:
    """The ids of what is reserved in this store from now on, kept up to date."""
    held: set[str] = set()
    reserve, settle = state.reserve, state.settle

    async def reserving(claims: Sequence[Claim], lease_s: float) -> tuple[str, Admission]:
        reservation_id, admission = await reserve(claims, lease_s)
        held.add(reservation_id)
        held.discard("")
        return reservation_id, admission

    async def settling(reservation_id: str, amounts: Sequence[float]) -> None:
        await settle(reservation_id, amounts)
        held.discard(reservation_id)

    state.reserve, state.settle = reserving, settling  # type: ignore[method-assign]
    return held
