"""OpenAI's chat completions as Gemini's generateContent takes them (shapes: the types of Google's Gen AI SDK for Python). Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

from bascule.core.anthropic_blocks import conversation
from bascule.core.anthropic_options import format_of, tools_of
from bascule.core.errors import InvalidRequest

Thinking = Literal["level", "budget"]

# Thoughts' signatures of Gemini carry this mark, so that those of another vendor are not sent to it, which would refuse them.
SIGNED: Final = "gemini:"
_TAKEN: Final = frozenset(
    {"model", "messages", "max_tokens", "max_completion_tokens", "stop", "temperature", "top_p", "top_k", "seed",
     "presence_penalty", "frequency_penalty", "stream", "stream_options", "tools", "tool_choice", "response_format",
     "reasoning_effort", "thinking"}
)  # fmt: skip
# Leaving these out would change what the caller gets, so they are refused rather than dropped.
_REFUSED: Final[Mapping[str, Callable[[Any], bool]]] = {
    "n": lambda v: v not in (None, 1),
    "logprobs": bool,
    "functions": bool,
    "audio": bool,
    "modalities": lambda v: isinstance(v, list) and v != ["text"],
    "web_search_options": lambda v: v is not None,
}
_LIMITS: Final = {
    "temperature": "temperature", "top_p": "topP", "top_k": "topK", "seed": "seed",
    "presence_penalty": "presencePenalty", "frequency_penalty": "frequencyPenalty",
}  # fmt: skip
_LEVELS: Final = {
    "none": "MINIMAL", "minimal": "MINIMAL", "low": "LOW", "medium": "MEDIUM", "high": "HIGH", "xhigh": "XHIGH",
    "max": "XHIGH",
}  # fmt: skip
# As in Google's own translation of OpenAI's efforts; the largest models do not take 0.
_BUDGETS: Final = {
    "none": 0, "minimal": 1_024, "low": 1_024, "medium": 8_192, "high": 24_576, "xhigh": 24_576, "max": 24_576,
}  # fmt: skip
_MODES: Final = {"any": "ANY", "tool": "ANY", "auto": "AUTO", "none": "NONE"}


def to_generate(view: Mapping[str, Any], thinking: Thinking) -> tuple[dict[str, Any], list[str]]:
    """The body for generateContent, and the names of fields that have no counterpart and were left out.

    Raises InvalidRequest for what cannot be translated.
    """
    try:
        return _translated(view, thinking)
    except (TypeError, KeyError, AttributeError, ValueError, IndexError):
        # A field of another type than its format says: the vendor would refuse it too.
        raise InvalidRequest("The request does not have the shape that its format says.") from None


def _translated(view: Mapping[str, Any], thinking: Thinking) -> tuple[dict[str, Any], list[str]]:
    for field, wanted in _REFUSED.items():
        if wanted(view.get(field)):
            raise InvalidRequest(f"This model's provider does not support {field!r}.", param=field)
    system, turns = conversation(view["messages"], foreign=True)
    names = {b["id"]: b["name"] for t in turns for b in t["content"] if b["type"] == "tool_use"}
    body: dict[str, Any] = {"contents": [_turn(turn, names) for turn in turns]}
    if system:
        body["systemInstruction"] = {"parts": [{"text": system}]}
    tools = _tools(view)
    body |= tools
    config = _generation(view) | _output(view.get("response_format"))
    thoughts, dropped = _thinking(view, thinking)
    if thoughts:
        config["thinkingConfig"] = thoughts
    if config:
        body["generationConfig"] = config
    known = _TAKEN | _REFUSED.keys()
    return body, sorted([*dropped, *(k for k, v in view.items() if k not in known and v is not None)])


def _generation(view: Mapping[str, Any]) -> dict[str, Any]:
    found = {theirs: view[ours] for ours, theirs in _LIMITS.items() if view.get(ours) is not None}
    longest = view.get("max_completion_tokens") or view.get("max_tokens")
    if longest:
        found["maxOutputTokens"] = longest
    stop = view.get("stop")
    if stop:
        found["stopSequences"] = [stop] if isinstance(stop, str) else stop
    return found


def _output(wanted: Any) -> dict[str, Any]:
    if isinstance(wanted, dict) and wanted.get("type") == "json_object":
        return {"responseMimeType": "application/json"}
    found = format_of(wanted)
    return {"responseMimeType": "application/json", "responseJsonSchema": found["schema"]} if found else {}


def _thinking(view: Mapping[str, Any], how: Thinking) -> tuple[dict[str, Any], list[str]]:
    stated = view.get("thinking")
    if isinstance(stated, dict):
        budget = 0 if stated.get("type") == "disabled" else stated.get("budget_tokens")
        return ({"includeThoughts": budget != 0} | ({"thinkingBudget": budget} if budget is not None else {})), []
    effort = view.get("reasoning_effort")
    if effort is None:
        return {}, []
    if effort not in _LEVELS:
        return {}, ["reasoning_effort"]
    depth = {"thinkingLevel": _LEVELS[effort]} if how == "level" else {"thinkingBudget": _BUDGETS[effort]}
    return depth | {"includeThoughts": effort != "none"}, []


def _tools(view: Mapping[str, Any]) -> dict[str, Any]:
    asked = tools_of({k: v for k, v in view.items() if k != "parallel_tool_calls"})
    if not asked:
        return {}
    found: dict[str, Any] = {"tools": [{"functionDeclarations": [_declaration(tool) for tool in asked["tools"]]}]}
    choice = asked.get("tool_choice")
    if choice:
        calling: dict[str, Any] = {"mode": _MODES[choice["type"]]}
        if choice["type"] == "tool":
            calling["allowedFunctionNames"] = [choice["name"]]
        found["toolConfig"] = {"functionCallingConfig": calling}
    return found


def _declaration(tool: dict[str, Any]) -> dict[str, Any]:
    found = {"name": tool["name"], "parametersJsonSchema": tool["input_schema"]}
    return found | ({"description": tool["description"]} if tool.get("description") else {})


def _turn(turn: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Thoughts stay behind; their signature goes with the part that came with it: the call or the text that follows."""
    parts: list[dict[str, Any]] = []
    signature = ""
    for block in turn["content"]:
        if block["type"] == "thinking":
            marked = block["signature"]
            signature = marked.removeprefix(SIGNED) if marked.startswith(SIGNED) else signature
        elif block["type"] != "redacted_thinking":
            made = _parts(block, names)
            if signature and made:
                made[0]["thoughtSignature"], signature = signature, ""
            parts += made
    return {"role": "model" if turn["role"] == "assistant" else "user", "parts": parts}


def _parts(block: dict[str, Any], names: Mapping[str, str]) -> list[dict[str, Any]]:
    kind = block["type"]
    if kind == "text":
        return [{"text": block["text"]}]
    if kind == "tool_use":
        return [{"functionCall": {"id": block["id"], "name": block["name"], "args": block["input"]}}]
    if kind != "tool_result":
        return [_file(block)]
    identity = block["tool_use_id"]
    if identity not in names:
        raise InvalidRequest("A tool's result names a call that no earlier message made.", param="messages")
    content = block["content"]
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    said = "\n".join(b["text"] for b in blocks if b["type"] == "text")
    answer = {"id": identity, "name": names[identity], "response": {"output": said}}
    return [{"functionResponse": answer}, *(_file(b) for b in blocks if b["type"] != "text")]


def _file(block: dict[str, Any]) -> dict[str, Any]:
    source = block["source"]
    if source["type"] != "base64":
        message = "This model's provider takes images as data URLs; its operator can allow web URLs (image_urls)."
        raise InvalidRequest(message, param="messages")
    return {"inlineData": {"mimeType": source["media_type"], "data": source["data"]}}
