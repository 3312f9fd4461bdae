"""OpenAI's tools, output formats and reasoning effort as Anthropic has them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from bascule.core.errors import InvalidRequest

Thinking = Literal["adaptive", "budget"]

# Thinking tokens for each effort; Anthropic takes no fewer than 1,024, and they count towards `max_tokens`.
_BUDGETS: Final = {"minimal": 1_024, "low": 1_024, "medium": 4_096, "high": 16_384, "xhigh": 32_768, "max": 32_768}
_LEAST: Final = 1_024
_EFFORTS: Final = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}
_CHOICES: Final = {"required": "any", "none": "none", "auto": "auto"}


def tools_of(view: Mapping[str, Any]) -> dict[str, Any]:
    """`tools` and `tool_choice`. Raises InvalidRequest for a tool that is not a function."""
    tools = [_tool(tool) for tool in view.get("tools") or ()]
    wanted = view.get("tool_choice")
    if isinstance(wanted, dict) and wanted.get("type") == "allowed_tools":
        # The same as offering only those.
        allowed = wanted.get("allowed_tools") or {}
        names = {_name_of(tool) for tool in allowed.get("tools") or ()}
        tools, wanted = [tool for tool in tools if tool["name"] in names], allowed.get("mode")
    if not tools:
        return {}
    choice = _choice(wanted)
    if view.get("parallel_tool_calls") is False and choice["type"] != "none":
        choice["disable_parallel_tool_use"] = True
    found: dict[str, Any] = {"tools": tools}
    if wanted is not None or len(choice) > 1:
        found["tool_choice"] = choice
    return found


def _choice(wanted: Any) -> dict[str, Any]:
    if isinstance(wanted, dict):
        name = _name_of(wanted)
        if not isinstance(name, str):
            raise InvalidRequest("A tool choice names a function.", param="tool_choice")
        return {"type": "tool", "name": name}
    if wanted is not None and wanted not in _CHOICES:
        raise InvalidRequest("A tool choice is auto, none, required or a function.", param="tool_choice")
    return {"type": _CHOICES.get(wanted or "auto")}


def _name_of(tool: Any) -> Any:
    function = tool.get("function") if isinstance(tool, dict) else None
    return function.get("name") if isinstance(function, dict) else None


def _tool(tool: Any) -> dict[str, Any]:
    try:
        function = tool["function"]
        found = {"name": function["name"], "input_schema": function.get("parameters") or {"type": "object"}}
        for field in ("description", "strict"):
            if function.get(field) is not None:
                found[field] = function[field]
    except (KeyError, TypeError, AttributeError):
        raise InvalidRequest("A tool is a function with a name.", param="tools") from None
    if isinstance(tool.get("cache_control"), dict):
        found["cache_control"] = tool["cache_control"]
    return found


def format_of(wanted: Any) -> dict[str, Any] | None:
    """Anthropic's output format for a `response_format`; None for plain text. Raises InvalidRequest for what it has not."""
    kind = wanted.get("type") if isinstance(wanted, dict) else wanted
    if kind in (None, "text"):
        return None
    described = wanted.get("json_schema") if isinstance(wanted, dict) else None
    schema = described.get("schema") if isinstance(described, dict) else None
    if kind != "json_schema" or not isinstance(schema, dict):
        message = "This model's provider gives JSON for a schema only: use a response_format of type json_schema."
        raise InvalidRequest(message, param="response_format")
    return {"type": "json_schema", "schema": schema}


def think(body: dict[str, Any], view: Mapping[str, Any], thinking: Thinking, *, stated: bool) -> list[str]:
    """Put thinking into `body` where the request asks for it; the names of fields that cannot be had beside it.

    stated  the request says itself how long its answer may be, so a budget must fit into that
    """
    if isinstance(view.get("thinking"), dict):
        body["thinking"] = view["thinking"]
        return []
    effort = view.get("reasoning_effort")
    if effort in (None, "none"):
        return []
    if effort not in _EFFORTS:
        raise InvalidRequest(f"There is no reasoning effort {str(effort)[:40]!r}.", param="reasoning_effort")
    if body.get("tool_choice", {}).get("type") in ("any", "tool"):
        return ["reasoning_effort"]  # a tool that must be called is not thought about
    if thinking == "adaptive":
        body["thinking"] = {"type": "adaptive"}
        body["output_config"] = {**body.get("output_config", {}), "effort": _EFFORTS[effort]}
    else:
        budget = _BUDGETS[effort]
        if stated:
            budget = min(budget, body["max_tokens"] - 1)
        else:
            body["max_tokens"] += budget
        if budget < _LEAST or not _thoughts_kept(body["messages"]):
            return ["reasoning_effort"]
        body["thinking"] = {"type": "enabled", "budget_tokens": budget}
    return [field for field in ("temperature", "top_k", "top_p") if body.pop(field, None) is not None]


def _thoughts_kept(turns: list[dict[str, Any]]) -> bool:
    """With a budget, an assistant's turn under way (its tools have just answered) must begin with its thinking."""
    for turn in reversed(turns):
        if turn["role"] == "assistant":
            return turn["content"][0]["type"] in ("thinking", "redacted_thinking")
        if not any(block["type"] == "tool_result" for block in turn["content"]):
            return True
    return True
