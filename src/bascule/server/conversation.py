"""From a conversation in OpenAI's format to the question it asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from bascule.core.errors import InvalidRequest
from bascule.server.bodies import MAX_QUESTION

MAX_TURNS: Final = 100


def question_of(messages: Sequence[Mapping[str, Any]]) -> tuple[str, list[dict[str, str]]]:
    """The last user message, and every turn as plain text. Raises InvalidRequest (param `messages`)."""
    if len(messages) > MAX_TURNS:
        raise InvalidRequest(f"A conversation has at most {MAX_TURNS} messages.", param="messages")
    turns = [_turn(message, at) for at, message in enumerate(messages)]
    if not turns or turns[-1]["role"] != "user" or not turns[-1]["content"].strip():
        raise InvalidRequest("The last message must be the user's question, in text.", param="messages")
    question = turns[-1]["content"]
    if len(question) > MAX_QUESTION:
        raise InvalidRequest(f"A question has at most {MAX_QUESTION} characters.", param="messages")
    return question, turns


def _turn(message: Any, at: int) -> dict[str, str]:
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        raise InvalidRequest("A message needs a role and a content.", param=f"messages[{at}]")
    return {"role": message["role"], "content": _text(message.get("content"), at).replace("\x00", "")}


def _text(content: Any, at: int) -> str:
    if isinstance(content, str):
        return content
    if content is None:
        return ""
    if isinstance(content, list):
        return "\n".join(_part(part, at) for part in content)
    raise InvalidRequest("A message's content is text or a list of text parts.", param=f"messages[{at}].content")


def _part(part: Any, at: int) -> str:
    if isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str):
        return str(part["text"])
    raise InvalidRequest("Questions to documents take text only.", param=f"messages[{at}].content")
