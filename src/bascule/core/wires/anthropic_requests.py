"""An Anthropic messages request as OpenAI's chat completions take it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from bascule.core.errors import InvalidRequest
from bascule.core.wires.anthropic_turns import to_turns

_TAKEN: Final = frozenset(
    {"model", "messages", "system", "max_tokens", "stop_sequences", "temperature", "top_p", "stream", "metadata", "tools",
     "tool_choice", "thinking", "output_config", "output_format", "cache_control", "service_tier"}
)  # fmt: skip
# Leaving these out would change what the caller gets or where the data goes, so they are refused rather than dropped.
_REFUSED: Final[Mapping[str, Callable[[Any], bool]]] = {
    "container": bool,
    "mcp_servers": bool,
    "context_management": bool,
    "inference_geo": lambda v: v is not None,
}
_RENAMED: Final = {
    "max_tokens": "max_completion_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "stop_sequences": "stop",
}
# Thinking budgets below these are the effort named; larger ones are "high".
_EFFORTS: Final = ((2_048, "low"), (8_192, "medium"))
_CHOICES: Final = {"auto": "auto", "any": "required", "none": "none"}


def to_chat_view(view: Mapping[str, Any], model: str) -> tuple[dict[str, Any], list[str]]:
    """OpenAI's request for `model`, and the names of fields that have no counterpart and were left out.

    Raises InvalidRequest for what cannot be translated.
    """
    try:
        return _translated(view, model)
    except (TypeError, KeyError, AttributeError, ValueError, IndexError):
        # A field of another type than its format says: the vendor would refuse it too.
        raise InvalidRequest("The request does not have the shape that its format says.") from None


def _translated(view: Mapping[str, Any], model: str) -> tuple[dict[str, Any], list[str]]:
    for field, wanted in _REFUSED.items():
        if wanted(view.get(field)):
            raise InvalidRequest(f"This model's provider does not support {field!r}.", param=field)
    messages, dropped = to_turns(view.get("system"), view["messages"])
    asked: dict[str, Any] = {"model": model, "messages": messages}
    asked |= {name: view[field] for field, name in _RENAMED.items() if view.get(field) not in (None, [])}
    user = _object(view.get("metadata")).get("user_id")
    if isinstance(user, str):
        asked["user"] = user
    if view.get("tools"):
        asked |= _tools(view)
    effort = _effort(view)
    if effort:
        asked["reasoning_effort"] = effort
    wanted_format = _object(view.get("output_config")).get("format") or view.get("output_format")
    if wanted_format:
        asked["response_format"] = _response_format(wanted_format)
    known = _TAKEN | _REFUSED.keys()
    return asked, sorted(dropped | {name for name, value in view.items() if name not in known and value is not None})


def wants_thinking(view: Mapping[str, Any]) -> bool:
    """Whether the caller asked for thinking, and to see it."""
    thinking = _object(view.get("thinking"))
    return thinking.get("type") not in (None, "disabled") and thinking.get("display") != "omitted"


def _effort(view: Mapping[str, Any]) -> str | None:
    effort = _object(view.get("output_config")).get("effort")
    if isinstance(effort, str):
        return effort
    thinking = _object(view.get("thinking"))
    budget = thinking.get("budget_tokens")
    if thinking.get("type") != "enabled" or not isinstance(budget, int):
        return None
    return next((name for below, name in _EFFORTS if budget < below), "high")


def _tools(view: Mapping[str, Any]) -> dict[str, Any]:
    given = view["tools"]
    if not isinstance(given, list):
        raise InvalidRequest("`tools` is a list of tools.", param="tools")
    asked: dict[str, Any] = {"tools": [_tool(tool) for tool in given]}
    choice = _object(view.get("tool_choice"))
    kind = choice.get("type")
    if kind == "tool":
        asked["tool_choice"] = {"type": "function", "function": {"name": choice.get("name")}}
    elif kind in _CHOICES:
        asked["tool_choice"] = _CHOICES[kind]
    elif kind is not None:
        raise InvalidRequest("A tool choice is auto, any, tool or none.", param="tool_choice")
    if choice.get("disable_parallel_tool_use") is True:
        asked["parallel_tool_calls"] = False
    return asked


def _tool(tool: Any) -> dict[str, Any]:
    if not isinstance(tool, dict) or not isinstance(tool.get("name"), str):
        raise InvalidRequest("A tool has a name and an input_schema.", param="tools")
    if tool.get("type") not in (None, "custom"):
        raise InvalidRequest(f"This model's provider has no tool of type {str(tool['type'])[:60]!r}.", param="tools")
    function = {"name": tool["name"], "parameters": tool.get("input_schema") or {"type": "object"}}
    for field in ("description", "strict"):
        if tool.get(field) is not None:
            function[field] = tool[field]
    return {"type": "function", "function": function}


def _response_format(wanted: Any) -> dict[str, Any]:
    schema = _object(wanted).get("schema")
    if not isinstance(schema, dict) or wanted.get("type") != "json_schema":
        raise InvalidRequest("An output format is a JSON schema.", param="output_config.format")
    named: dict[str, Any] = {"name": "output", "schema": schema}
    if _closed(schema):
        named["strict"] = True
    return {"type": "json_schema", "json_schema": named}


def _closed(schema: Any) -> bool:
    """Whether OpenAI takes the schema as strict: each object allows only what it names, and requires all of it."""
    if isinstance(schema, list):
        return all(_closed(item) for item in schema)
    if not isinstance(schema, dict):
        return True
    properties = schema.get("properties")
    if schema.get("type") == "object" or isinstance(properties, dict):
        names = set(properties) if isinstance(properties, dict) else set()
        required = schema.get("required")
        if schema.get("additionalProperties") is not False or set(required or ()) != names:
            return False
    return all(_closed(value) for value in schema.values())


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
