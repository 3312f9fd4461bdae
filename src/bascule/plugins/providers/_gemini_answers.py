"""generateContent's answers and streams as OpenAI's chat completions, by way of Anthropic's shapes, which have thoughts and calls
as blocks. Pure."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from bascule.core.anthropic_wire import MessageEvents, to_completion, usage_of
from bascule.core.chat import OPENAI_CHAT, ChatChunk, ChatResponse
from bascule.core.errors import UpstreamInvalid, UpstreamRateLimited, UpstreamUnavailable
from bascule.plugins.providers._gemini_requests import SIGNED

# Whatever else is told is the vendor's rules: safety, recitation, a list of words, personal data, ...
_ENDS: Final = {"STOP": "end_turn", "MAX_TOKENS": "max_tokens"}
_FAULTS: Final = frozenset(
    {"MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS",
     "MISSING_THOUGHT_SIGNATURE", "FINISH_REASON_UNSPECIFIED", "OTHER", "NO_IMAGE", "IMAGE_OTHER"}
)  # fmt: skip
_GOOD: Final = frozenset({"end_turn", "tool_use"})


def response(body: bytes, provider: str, fallback_id: str, model: str, created_s: int) -> ChatResponse:
    """Raises UpstreamInvalid."""
    found = read_object(body)
    identity = _identity(found, fallback_id)
    try:
        candidate = _candidate(found)
        content = _blocks(candidate, identity)
        tools = any(block["type"] == "tool_use" for block in content)
        reason = _reason(candidate["finishReason"], tools=tools)
        counts = _counts(found.get("usageMetadata"))
    except (KeyError, TypeError, AttributeError):
        raise UpstreamInvalid("The model's provider sent an answer that is not a message.", provider=provider) from None
    whole = {"id": identity, "model": model, "content": content, "stop_reason": reason, "usage": counts}
    completion, text, finish = to_completion(whole, created_s)
    return ChatResponse(
        wire=OPENAI_CHAT,
        body=msgspec.json.encode(completion),
        model=model,
        provider=provider,
        usage=usage_of(counts),
        text=text,
        finish=finish,
        complete=reason in _GOOD and (bool(text.strip()) or tools),
    )


class GenerateEvents:
    """Reads streamGenerateContent's events, each a partial answer. There is no closing event: the reason to stop is the end."""

    def __init__(self, fallback_id: str, model: str, created_s: int, *, show_usage: bool) -> None:
        self._events = MessageEvents(created_s, show_usage=show_usage)
        self._fallback_id = fallback_id
        self._model = model
        self._identity = ""
        self._reason = ""
        self._counts: dict[str, Any] = {}
        self._blocks = 0
        self._tools = False

    def feed(self, data: bytes) -> list[ChatChunk]:
        """Raises UpstreamInvalid, and UpstreamRateLimited or UpstreamUnavailable for an error told in the stream."""
        found = read_object(data)
        if "error" in found:
            code = found["error"].get("code") if isinstance(found["error"], dict) else None
            if code == 429:
                raise UpstreamRateLimited("The model's provider limits requests.")
            raise UpstreamUnavailable("The model's provider reported an error in the middle of its answer.")
        try:
            return self._read(found)
        except (KeyError, TypeError, AttributeError):
            raise UpstreamInvalid("The model's provider sent an event that is not one of its format.") from None

    def end(self) -> list[ChatChunk]:
        """The body is over: nothing where no reason to stop was told, so the answer was cut off."""
        if not self._reason:
            return []
        told = {"delta": {"stop_reason": self._reason}, "usage": self._counts}
        return [*self._translate("message_delta", **told), *self._translate("message_stop")]

    def _read(self, found: dict[str, Any]) -> list[ChatChunk]:
        chunks: list[ChatChunk] = []
        if not self._identity:
            self._identity = _identity(found, self._fallback_id)
            chunks += self._translate("message_start", message={"id": self._identity, "model": self._model})
        self._counts |= _counts(found.get("usageMetadata"))
        if not found.get("candidates") and not _blocked(found):
            return chunks + (self.end() if self._reason else [])
        candidate = _candidate(found)
        for block in _blocks(candidate, self._identity, self._blocks):
            chunks += self._block(block)
            self._blocks += 1
        stated = candidate.get("finishReason")
        if stated:
            self._reason = _reason(stated, tools=self._tools)
        return chunks + (self.end() if self._reason and self._counts else [])

    def _block(self, block: dict[str, Any]) -> list[ChatChunk]:
        place, kind = self._blocks, block["type"]
        if kind == "text":
            return self._delta(place, type="text_delta", text=block["text"])
        if kind == "thinking":
            said = self._delta(place, type="thinking_delta", thinking=block["thinking"]) if block["thinking"] else []
            signature = block["signature"]
            return said + (self._delta(place, type="signature_delta", signature=signature) if signature else [])
        self._tools = True
        arguments = msgspec.json.encode(block["input"]).decode()
        begun = self._translate("content_block_start", index=place, content_block=block)
        return begun + self._delta(place, type="input_json_delta", partial_json=arguments)

    def _delta(self, place: int, **delta: Any) -> list[ChatChunk]:
        return self._translate("content_block_delta", index=place, delta=delta)

    def _translate(self, kind: str, **event: Any) -> list[ChatChunk]:
        return self._events.translate(msgspec.json.encode({"type": kind, **event}))


def read_object(body: bytes) -> dict[str, Any]:
    """Raises UpstreamInvalid."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UpstreamInvalid("The model's provider sent something that is not an answer.")
    return found


def _identity(found: dict[str, Any], fallback_id: str) -> str:
    stated = found.get("responseId")
    return "chatcmpl-" + (stated if isinstance(stated, str) and stated else fallback_id)


def _blocked(found: dict[str, Any]) -> bool:
    return bool((found.get("promptFeedback") or {}).get("blockReason"))


def _candidate(found: dict[str, Any]) -> dict[str, Any]:
    """The first answer; one stopped by rules where the question itself was not let through."""
    if _blocked(found) and not found.get("candidates"):
        return {"finishReason": "PROHIBITED_CONTENT"}
    candidate = found["candidates"][0]
    if not isinstance(candidate, dict):
        raise TypeError
    return candidate


def _blocks(candidate: dict[str, Any], identity: str, numbered_from: int = 0) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for part in (candidate.get("content") or {}).get("parts") or ():
        signature = SIGNED + part["thoughtSignature"] if part.get("thoughtSignature") else None
        thought = str(part["text"]) if part.get("thought") and "text" in part else ""
        if thought or signature:
            found.append({"type": "thinking", "thinking": thought, "signature": signature})
        if "functionCall" in part:
            call = part["functionCall"]
            # Not every model gives its calls a name of their own, which the caller answers by.
            own = call.get("id") or f"call_{identity.removeprefix('chatcmpl-')}_{numbered_from + len(found)}"
            found.append({"type": "tool_use", "id": own, "name": call["name"], "input": call.get("args") or {}})
        elif "text" in part and not part.get("thought"):
            found.append({"type": "text", "text": str(part["text"])})
    return found


def _reason(stated: str, *, tools: bool) -> str:
    if stated in _FAULTS:
        raise UpstreamInvalid("The model gave an answer that its provider could not read.")
    reason = _ENDS.get(stated, "refusal")
    return "tool_use" if tools and reason == "end_turn" else reason


def _counts(usage: Any) -> dict[str, Any]:
    """Anthropic's counts. Gemini's prompt counts what came from a cache, and its answer leaves out the thoughts."""
    found = usage if isinstance(usage, dict) else {}

    def number(name: str) -> int:
        value = found.get(name)
        return value if isinstance(value, int) else 0

    if not number("promptTokenCount"):
        return {}
    cached, thoughts = number("cachedContentTokenCount"), number("thoughtsTokenCount")
    counts: dict[str, Any] = {
        "input_tokens": max(number("promptTokenCount") + number("toolUsePromptTokenCount") - cached, 0),
        "output_tokens": number("candidatesTokenCount") + thoughts,
        "cache_read_input_tokens": cached,
    }
    return counts | ({"output_tokens_details": {"thinking_tokens": thoughts}} if thoughts else {})
