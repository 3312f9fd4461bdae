"""What is searched for: the question, and in a conversation what it leans on.

A follow-up ("and how much is it?") is searched together with the question before it. Only the asker's own words are used:
neither an earlier answer nor a document can steer a search.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from bascule.rag import words

_LEANS: Final = re.compile(
    r"\b(?:it|its|they|them|their|this|that|these|those|he|she|him|her|his|there|one|ones|same|eso|esto|ese|esa|ello)\b"
    r"|^\W*(?:and|but|or|so|also|then|what about|how about|why|y|pero)\b",
    re.IGNORECASE,
)
HISTORY_TURNS: Final = 6


def history(question: str, messages: Sequence[Mapping[str, Any]] | None) -> tuple[tuple[str, str], ...]:
    """(role, text) of the turns before the question, oldest first: what user and assistant said, nothing else."""
    turns = [(str(m.get("role")), _text(m.get("content"))) for m in messages or ()]
    said = [(role, text) for role, text in turns if role in ("user", "assistant") and text.strip()]
    if said and said[-1][0] == "user" and said[-1][1].strip() == question.strip():
        said.pop()
    return tuple(said[-HISTORY_TURNS:])


def rewrite(question: str, before: Sequence[tuple[str, str]]) -> str:
    """The text to search with: the question alone, unless it is short or leans on what was asked before."""
    asked = [text for role, text in before if role == "user"]
    if not asked or (len(words.content(question)) > 3 and not _LEANS.search(question)):
        return question
    return f"{asked[-1].strip()} {question.strip()}"


def _text(content: Any) -> str:
    """Plain text, or the text parts of OpenAI's content list."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return " ".join(str(p.get("text", "")) for p in content if isinstance(p, Mapping) and p.get("type") == "text")
    return ""
