"""A request in OpenAI's responses format as one for chat completions. Field names are those of the openai SDK's types. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from bascule.core.errors import InvalidRequest

# What Bascule, which keeps no responses, cannot honour: leaving it out would answer another question.
_STATEFUL: Final = ("previous_response_id", "conversation", "background", "prompt")
_SAME: Final = (
    "temperature", "top_p", "parallel_tool_calls", "user", "safety_identifier", "prompt_cache_key", "prompt_cache_options",
    "prompt_cache_retention", "service_tier", "moderation",
)  # fmt: skip
# Read below, or without effect on the answer: `metadata` comes back with it, the others are about the transport.
_TAKEN: Final = frozenset(
    {
        *_SAME, *_STATEFUL, "model", "input", "instructions", "tools", "tool_choice", "text", "reasoning", "max_output_tokens",
        "top_logprobs", "include", "stream", "stream_options", "metadata", "store", "max_tool_calls", "truncation",
    }
)  # fmt: skip
_LOGPROBS: Final = "message.output_text.logprobs"
_ROLES: Final = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}


def chat_body(view: Mapping[str, Any], model: str) -> tuple[dict[str, Any], list[str]]:
    """The body for chat completions, and the names of fields that were left out.

    Raises InvalidRequest for what cannot be translated and must not be dropped.
    """
    for field in _STATEFUL:
        if view.get(field):
            message = (
                f"{field!r} needs a provider that keeps responses; this model's does not. Send the whole conversation."
            )
            raise InvalidRequest(message, param=field)
    body: dict[str, Any] = {"model": model, "messages": _messages(view)}
    body |= {name: view[name] for name in _SAME if view.get(name) is not None}
    if view.get("max_output_tokens") is not None:
        body["max_completion_tokens"] = view["max_output_tokens"]
    dropped = _formats(view, body) + _included(view, body)
    _tools(view, body)
    if view.get("stream") is True:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    if view.get("truncation") == "auto":
        dropped.append("truncation")
    if view.get("store") is True:
        dropped.append("store")
    return body, dropped + sorted(k for k, v in view.items() if k not in _TAKEN and v is not None)


def _formats(view: Mapping[str, Any], body: dict[str, Any]) -> list[str]:
    text, reasoning = _object(view, "text"), _object(view, "reasoning")
    wanted = text.get("format")
    kind = wanted.get("type") if isinstance(wanted, dict) else wanted
    if isinstance(wanted, dict) and kind == "json_schema":
        schema = {k: v for k, v in wanted.items() if k != "type" and v is not None}
        body["response_format"] = {"type": kind, "json_schema": schema}
    elif kind == "json_object":
        body["response_format"] = {"type": kind}
    elif kind not in (None, "text"):
        raise InvalidRequest(f"There is no text format {kind!r}.", param="text.format")
    if text.get("verbosity") is not None:
        body["verbosity"] = text["verbosity"]
    if reasoning.get("effort") is not None:
        body["reasoning_effort"] = reasoning["effort"]
    return [f"reasoning.{k}" for k, v in reasoning.items() if k != "effort" and v is not None]


def _included(view: Mapping[str, Any], body: dict[str, Any]) -> list[str]:
    """Log probabilities may be included; the rest is of built-in tools or for another turn at the same vendor."""
    include = _list(view.get("include"), "include")
    if _LOGPROBS in include or view.get("top_logprobs"):
        body["logprobs"] = True
        if view.get("top_logprobs"):
            body["top_logprobs"] = view["top_logprobs"]
    return [f"include.{name}" for name in include if name != _LOGPROBS]


def _list(value: Any, at: str) -> list[Any]:
    if value is not None and not isinstance(value, list):
        raise InvalidRequest(f"{at!r} is a list.", param=at)
    return value or []


def _object(view: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = view.get(name)
    if found is not None and not isinstance(found, dict):
        raise InvalidRequest(f"{name!r} is an object.", param=name)
    return found or {}


# ------------------------------------------------------------ tools


def _tools(view: Mapping[str, Any], body: dict[str, Any]) -> None:
    tools = [_tool(tool, place) for place, tool in enumerate(_list(view.get("tools"), "tools"))]
    choice = view.get("tool_choice")
    if isinstance(choice, dict):
        if choice.get("type") == "allowed_tools":
            # The same as offering only those: understood by every vendor.
            named = _list(choice.get("tools"), "tool_choice.tools")
            allowed = [t.get("name") for t in named if isinstance(t, dict)]
            tools = [tool for tool in tools if tool["function"]["name"] in allowed]
            choice = choice.get("mode")
        elif choice.get("type") == "function":
            choice = {"type": "function", "function": {"name": choice.get("name")}}
        else:
            raise InvalidRequest("This model's provider knows tools of type 'function' only.", param="tool_choice")
    if tools:
        body["tools"] = tools
        if choice is not None:
            body["tool_choice"] = choice


def _tool(tool: Any, place: int) -> dict[str, Any]:
    kind = tool.get("type") if isinstance(tool, dict) else None
    if kind != "function":
        message = f"This model's provider knows tools of type 'function' only, not {str(kind)[:60]!r}."
        raise InvalidRequest(message, param=f"tools.{place}")
    fields = ("description", "parameters", "strict")
    name = {"name": _text(tool, "name", f"tools.{place}")}
    return {"type": "function", "function": name | {k: tool[k] for k in fields if tool.get(k) is not None}}


# ------------------------------------------------------------ the conversation


def _messages(view: Mapping[str, Any]) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    if view.get("instructions"):
        messages.append({"role": "system", "content": _text(view, "instructions", "")})
    asked = view.get("input")
    if isinstance(asked, str):
        messages.append({"role": "user", "content": asked})
        return messages
    for place, item in enumerate(asked if isinstance(asked, list) else ()):
        _add(messages, item, f"input.{place}")
    if not messages:
        raise InvalidRequest("Give `input`.", param="input")
    return messages


def _add(messages: list[dict[str, Any]], item: Any, at: str) -> None:
    kind = item.get("type") or "message" if isinstance(item, dict) else None
    if kind == "message":
        role = _ROLES.get(str(item.get("role")))
        if role is None:
            raise InvalidRequest("A message's role is user, assistant, system or developer.", param=f"{at}.role")
        messages.append({"role": role, "content": _content(item.get("content"), role, f"{at}.content")})
    elif kind == "function_call":
        _add_call(messages, item, at)
    elif kind == "function_call_output":
        content = _content(item.get("output"), "tool", f"{at}.output")
        messages.append({"role": "tool", "tool_call_id": _text(item, "call_id", at), "content": content})
    elif kind != "reasoning":  # a model's own thoughts: readable by the vendor that wrote them alone
        raise InvalidRequest(f"This model's provider does not take items of type {str(kind)[:60]!r}.", param=at)


def _add_call(messages: list[dict[str, Any]], item: dict[str, Any], at: str) -> None:
    """Calls of one turn are one message, together with the text before them."""
    function = {"name": _text(item, "name", at), "arguments": _text(item, "arguments", at)}
    call = {"id": _text(item, "call_id", at), "type": "function", "function": function}
    if not messages or messages[-1]["role"] != "assistant":
        messages.append({"role": "assistant", "content": None})
    messages[-1].setdefault("tool_calls", []).append(call)


def _text(item: Mapping[str, Any], name: str, at: str) -> str:
    value = item.get(name)
    if not isinstance(value, str):
        raise InvalidRequest(f"{name!r} is a text.", param=f"{at}.{name}".lstrip("."))
    return value


def _content(content: Any, role: str, at: str) -> str | list[dict[str, Any]]:
    """A text where there are only texts: not every vendor takes parts, least of all from the assistant."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise InvalidRequest("Content is a text or a list of parts.", param=at)
    parts = [_part(part, f"{at}.{place}") for place, part in enumerate(content)]
    if all(part["type"] == "text" for part in parts) and (role != "user" or len(parts) == 1):
        return "".join(part["text"] for part in parts)
    return parts


def _part(part: Any, at: str) -> dict[str, Any]:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in ("input_text", "output_text", "text"):
        return {"type": "text", "text": _text(part, "text", at)}
    if kind == "refusal":
        return {"type": "refusal", "refusal": _text(part, "refusal", at)}
    if kind == "input_image" and isinstance(part.get("image_url"), str):
        detail = {"detail": part["detail"]} if part.get("detail") else {}
        return {"type": "image_url", "image_url": {"url": part["image_url"], **detail}}
    if kind == "input_file" and isinstance(part.get("file_data"), str):
        return {"type": "file", "file": {k: part[k] for k in ("filename", "file_data") if part.get(k) is not None}}
    if kind == "input_audio" and isinstance(part.get("input_audio"), dict):
        return {"type": "input_audio", "input_audio": part["input_audio"]}
    message = f"This model's provider does not take a part of type {str(kind)[:60]!r} in this form."
    raise InvalidRequest(message, param=at)
