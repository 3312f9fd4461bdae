"""The operator's policies on what a caller sends and what it is answered. In the chain only where one is configured.

It stands before the cache, so that what is kept, shared and sent is the masked text; each caller's own values are put back on
this side of it. A request is judged in all of its texts; one in which nothing was masked goes on byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import msgspec

from bascule.core.calls import Call, PolicyNote
from bascule.core.chat import ChatRequest, ChatResponse, ChatStream
from bascule.core.embedding import EmbeddingRequest, EmbeddingResponse
from bascule.core.errors import PolicyRefused
from bascule.core.policies import Direction, Filtering, Finding, Matter, Policy, Verdict
from bascule.gateway.layer import Model
from bascule.gateway.placeholders import Placeholders, Restore, RestoreFilter
from bascule.gateway.policy_streams import OpenFilter, judged, rewritten
from bascule.gateway.routes import Route
from bascule.gateway.texts import changed, leaves

Mask = Callable[[str, Sequence[Finding]], str]


class Policies:
    """Raises PolicyRefused (with the policy's name) and PolicyUnavailable. `policies`: by the names that routes use."""

    __slots__ = ("_next", "_policies", "_routes")

    def __init__(self, next: Model, routes: Mapping[str, Route], policies: Mapping[str, Policy]) -> None:
        self._next = next
        self._routes = routes
        self._policies = policies

    async def chat(self, request: ChatRequest, call: Call) -> ChatResponse:
        case = self._case(request.model, call)
        if case is None:
            return await self._next.chat(request, call)
        return await case.answer(await self._next.chat(await case.masked(request), call))

    async def stream(self, request: ChatRequest, call: Call) -> ChatStream:
        case = self._case(request.model, call)
        if case is None:
            return await self._next.stream(request, call)
        return case.stream(await self._next.stream(await case.masked(request), call))

    async def embed(self, request: EmbeddingRequest, call: Call) -> EmbeddingResponse:
        case = self._case(request.model, call)
        if case is not None:
            texts = await case.masked_texts(request.texts)
            if texts != request.texts:
                request = msgspec.structs.replace(request, texts=texts)
        return await self._next.embed(request, call)

    def _case(self, model: str, call: Call) -> _Case | None:
        names = self._routes[model].policies
        return _Case(model, call, [(name, self._policies[name]) for name in names]) if names else None


class _Case:
    """One call before its policies."""

    __slots__ = ("_call", "_model", "_policies", "_values")

    def __init__(self, model: str, call: Call, policies: Sequence[tuple[str, Policy]]) -> None:
        self._model = model
        self._call = call
        self._policies = policies
        self._values: dict[str, str] = {}

    async def masked(self, request: ChatRequest) -> ChatRequest:
        texts = list(leaves(request.view))
        placeholders = Placeholders(texts)
        new = await self._judged(texts, "in", placeholders.mask)
        self._values = placeholders.values
        if new == texts:
            return request
        fresh = iter(new)
        view = changed(request.view, lambda _text, _is_json: next(fresh))
        return msgspec.structs.replace(request, view=view, body=msgspec.json.encode(view))

    async def masked_texts(self, texts: tuple[str, ...]) -> tuple[str, ...]:
        """Each by itself: a vector must not depend on the texts it was asked for with."""
        return tuple(await self._judged(list(texts), "in", lambda text, found: Placeholders((text,)).mask(text, found)))

    async def answer(self, response: ChatResponse) -> ChatResponse:
        view = _view(response.body)
        old = list(leaves(view))
        new = await self._judged(old, "out", _blotted)
        for name, open_filter in self._filters():
            counts: dict[str, int] = {}
            new = [_through(open_filter, counts, text) for text in new]
            self._note(name, "out", "mask", counts)
        if new == old and not self._values:
            return response
        return self._rebuilt(response, view, old, new)

    def _rebuilt(self, response: ChatResponse, view: Any, old: list[str], new: list[str]) -> ChatResponse:
        text = response.text
        for before, after in zip(old, new, strict=True):
            if before != after:
                text = text.replace(before, after)
        fresh = iter(new)
        if self._values:
            plain, in_json = Restore(self._values, in_json=False), Restore(self._values, in_json=True)
            body = changed(view, lambda _text, is_json: (in_json if is_json else plain).text(next(fresh)))
            text = plain.text(text)
        else:
            body = changed(view, lambda _text, _is_json: next(fresh))
        if body == view and text == response.text:
            return response
        if isinstance(body, dict):
            _without_logprobs(body)
        raw = body.encode() if isinstance(body, str) else msgspec.json.encode(body)
        return msgspec.structs.replace(response, body=raw, text=text)

    def stream(self, inner: ChatStream) -> ChatStream:
        chunks = aiter(inner)
        for name, policy in self._policies:
            if "out" in policy.directions and _opener(policy) is None:
                chunks = judged(inner.wire, chunks, policy, self._judge_one(name, policy))
        filters: list[Callable[[bool], OpenFilter]] = []
        counted = []
        for name, open_filter in self._filters():
            counts: dict[str, int] = {}
            counted.append((name, counts))
            filters.append(lambda _is_json, make=open_filter, into=counts: lambda: make(into))  # type: ignore[misc]
        if self._values:
            restores = {is_json: Restore(self._values, in_json=is_json) for is_json in (False, True)}
            filters.append(lambda is_json: lambda: RestoreFilter(restores[is_json]))

        def note() -> None:
            while counted:
                name, counts = counted.pop()
                self._note(name, "out", "mask", counts)

        if filters:
            chunks = rewritten(inner.wire, chunks, filters, note)
        return ChatStream(chunks, wire=inner.wire, model=inner.model, provider=inner.provider, close=inner.aclose)

    # ------------------------------------------------------------ judging

    async def _judged(self, texts: list[str], direction: Direction, mask: Mask) -> list[str]:
        for name, policy in self._policies:
            if direction in policy.directions and (direction == "in" or _opener(policy) is None):
                texts = await self._judge(name, policy, texts, direction, mask)
        return texts

    def _judge_one(self, name: str, policy: Policy) -> Callable[[list[str]], Any]:
        return lambda texts: self._judge(name, policy, texts, "out", _blotted)

    async def _judge(self, name: str, policy: Policy, texts: list[str], direction: Direction, mask: Mask) -> list[str]:
        if not texts:
            return texts
        matter = Matter(direction=direction, model=self._model, left_s=self._call.deadline.check())
        verdict = await policy.judge(texts, matter)
        if verdict.degraded:
            self._call.degraded.append(f"policy_unavailable:{name}")
        if verdict.action == "pass":
            return texts
        self._note(name, direction, verdict.action, verdict.counts or {"text": 1})
        if verdict.action == "refuse":
            whose = "request" if direction == "in" else "answer"
            raise PolicyRefused(f"The policy {name!r} refused this {whose}{_because(verdict)}.", param=None)
        return _applied(verdict, texts, mask)

    def _note(self, name: str, direction: Direction, action: str, counts: Mapping[str, int]) -> None:
        if counts:
            note = PolicyNote(policy=name, direction=direction, action=action, counts=dict(counts))
            self._call.policies = (*self._call.policies, note)

    def _filters(self) -> list[tuple[str, Callable[[dict[str, int]], Any]]]:
        found: list[tuple[str, Callable[[dict[str, int]], Any]]] = []
        for name, policy in self._policies:
            opener = _opener(policy)
            if opener is not None and "out" in policy.directions:
                found.append((name, opener.open_filter))
        return found


def _opener(policy: object) -> Filtering | None:
    return cast("Filtering", policy) if hasattr(policy, "open_filter") else None


def _applied(verdict: Verdict, texts: list[str], mask: Mask) -> list[str]:
    if verdict.action != "mask":
        return texts
    if verdict.texts is not None:
        return list(verdict.texts)
    return [mask(text, found) if found else text for text, found in zip(texts, verdict.spans, strict=True)]


def _blotted(text: str, findings: Sequence[Finding]) -> str:
    parts, at = [], 0
    for finding in findings:
        parts += [text[at : finding.start], f"[{finding.kind}]"]
        at = finding.end
    return "".join(parts) + text[at:]


def _through(open_filter: Callable[[dict[str, int]], Any], counts: dict[str, int], text: str) -> str:
    opened = open_filter(counts)
    return str(opened.feed(text) + opened.end())


def _because(verdict: Verdict) -> str:
    return f": {verdict.reason}" if verdict.reason else ""


def _without_logprobs(body: dict[str, Any]) -> None:
    """They spell out the tokens that were changed."""
    for choice in body.get("choices") or ():
        if isinstance(choice, dict) and choice.get("logprobs"):
            choice["logprobs"] = None


def _view(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return body.decode("utf-8", "replace")
