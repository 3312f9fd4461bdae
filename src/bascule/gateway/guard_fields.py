"""What no request may hold, in any format: fields that choose where a call goes, with which headers or credentials.

Two kinds. Some SDKs and gateways take addresses and keys from the body: those names are refused wherever options stand, also
inside `extra_body` and `metadata`. And a tool may name a server for the vendor itself to call (MCP) and bring a credential for
it: refused unless the operator allows it for the model (`remote_tools`). What a message says and a JSON schema describes may use
any name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from bascule.core.errors import InvalidRequest

# Refused at the top of a body.
FORBIDDEN: Final = frozenset(
    {
        "api_base", "base_url", "api_key", "api_version", "api_type", "extra_headers", "headers", "default_headers",
        "organization", "custom_llm_provider", "azure_endpoint", "azure_ad_token", "aws_access_key_id",
        "aws_secret_access_key", "aws_session_token", "aws_region_name", "aws_bedrock_runtime_endpoint",
        "vertex_project", "vertex_location", "vertex_credentials", "proxy", "proxies", "http_client",
        "default_query", "extra_query", "extra_body", "fallbacks", "router_settings_override", "litellm_params",
        "user_config", "model_list", "api_host", "endpoint", "base_model_url", "auth_token", "x-api-key",
    }
)  # fmt: skip
# Refused below it too. A label named "organization" or "endpoint" is no harm there.
_INSIDE: Final = FORBIDDEN - {
    "organization",
    "endpoint",
    "api_version",
    "api_type",
    "fallbacks",
    "proxy",
    "extra_query",
}
# What a conversation says, and what a schema describes.
_CONTENT: Final = frozenset(
    {"messages", "input", "system", "instructions", "tools", "functions", "response_format", "output_format", "stop"}
)
_SCHEMAS: Final = frozenset({"parameters", "input_schema", "schema", "json_schema", "input_examples"})
_REMOTE: Final = frozenset(
    {"server_url", "server_uri", "connector_id", "authorization", "authorization_token", "headers", "url", "network_policy",
     "domain_secrets"}
)  # fmt: skip
_DEEPEST: Final = 64


def check_fields(view: Mapping[str, Any], *, remote_tools: bool) -> None:
    """Raises InvalidRequest naming the field's path."""
    if not FORBIDDEN.isdisjoint(view):
        raise _refused(min(FORBIDDEN.intersection(view)))
    for name, value in view.items():
        if isinstance(value, (dict, list)) and name not in _CONTENT:
            _check_inside(value, name)
    if remote_tools:
        return
    if view.get("mcp_servers"):
        raise _remote("mcp_servers")
    tools = view.get("tools")
    if tools:
        _check_tools(tools)


def _check_inside(value: object, path: str, depth: int = 0) -> None:
    if isinstance(value, dict):
        for name, inner in value.items():
            if name in _INSIDE:
                raise _refused(f"{path}.{name}")
            if isinstance(inner, (dict, list)) and name not in _SCHEMAS and depth < _DEEPEST:
                _check_inside(inner, f"{path}.{name}", depth + 1)
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            if isinstance(inner, (dict, list)) and depth < _DEEPEST:
                _check_inside(inner, f"{path}.{place}", depth + 1)


def _check_tools(tools: object) -> None:
    if not isinstance(tools, list):
        raise InvalidRequest("`tools` is a list.", param="tools")
    for place, tool in enumerate(tools):
        if not isinstance(tool, dict):
            raise InvalidRequest("A tool is an object.", param=f"tools.{place}")
        if str(tool.get("type", "")).lower().startswith("mcp"):
            raise _remote(f"tools.{place}")
        _check_tool(tool, f"tools.{place}")


def _check_tool(value: object, path: str, depth: int = 0) -> None:
    items: Iterable[tuple[Any, object]] = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for name, inner in items:
        if name in _REMOTE or name in _INSIDE:
            raise _remote(f"{path}.{name}")
        if isinstance(inner, (dict, list)) and name not in _SCHEMAS and depth < _DEEPEST:
            _check_tool(inner, f"{path}.{name}", depth + 1)


def _refused(path: str) -> InvalidRequest:
    return InvalidRequest(f"The field {path!r} is not accepted: only the operator chooses it.", param=path)


def _remote(path: str) -> InvalidRequest:
    message = f"{path!r} names a server for the model's provider to call, which this model does not allow."
    return InvalidRequest(message, param=path)
