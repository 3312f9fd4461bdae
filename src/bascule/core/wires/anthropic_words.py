"""Words that Anthropic's answers and streams share: why an answer stopped, and how its tokens are counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from bascule.core.calls import Usage

_STOPS: Final = {
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
    "refusal": "refusal",
}


def stop_of(
    finish: str | None, matched: object, sequences: Sequence[str], *, tools: bool
) -> tuple[str | None, str | None]:
    """`stop_reason` and `stop_sequence` for OpenAI's finish reason; None while there is none.

    matched  the stop sequence that ended the answer, which some servers tell (vLLM: `stop_reason` of the choice)
    tools    the answer calls a tool: some vendors then still say "stop"
    """
    if finish is None:
        return None, None
    if finish in _STOPS:
        return _STOPS[finish], None
    if tools:
        return "tool_use", None
    if isinstance(matched, str) and matched in sequences:
        return "stop_sequence", matched
    return "end_turn", None


def message_usage(usage: Usage) -> dict[str, Any]:
    """Anthropic's counts: `input_tokens` is what was not read from the vendor's cache."""
    return {
        "input_tokens": max(0, usage.input_tokens - usage.cached_tokens),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.output_tokens,
    }
