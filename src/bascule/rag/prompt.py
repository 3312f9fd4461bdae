"""The prompt: a fixed instruction, and the passages as quoted data in the user's message.

Documents never enter the system message. Each passage stands between marker lines that carry a keyed hash of all passages:
a document cannot contain its own marker, and the same passages always give the same prompt, so that the model-call cache
(law 3) can know it. Templates are versioned files with {{names}} and no logic; what is filled in is never read again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any, Final

import msgspec

from bascule.core.chat import OPENAI_CHAT, ChatRequest
from bascule.core.documents import VisibleChunk
from bascule.core.errors import ConfigError
from bascule.rag.options import RagOptions

_PLACE: Final = re.compile(r"\{\{(\w+)\}\}")
_VERSION: Final = re.compile(r"[a-z]+\.v\d+")
HISTORY_CHARS: Final = 2000


class Packed(msgspec.Struct, frozen=True):
    """What fits the budget, best first, what was left out, and the tokens taken."""

    chosen: tuple[VisibleChunk, ...]
    left_out: tuple[VisibleChunk, ...]
    tokens: int


def pack(chunks: Sequence[VisibleChunk], *, most: int, budget_tokens: int) -> Packed:
    """Take passages in order while they fit; one too long for what is left is passed over, the first is always taken."""
    chosen: list[VisibleChunk] = []
    left_out: list[VisibleChunk] = []
    tokens = 0
    for chunk in chunks:
        price = cost(chunk)
        if len(chosen) < most and (not chosen or tokens + price <= budget_tokens):
            chosen.append(chunk)
            tokens += price
        else:
            left_out.append(chunk)
    return Packed(tuple(chosen), tuple(left_out), tokens)


def cost(chunk: VisibleChunk) -> int:
    """Its own tokens, and about four characters a token for what is written around it."""
    return max(chunk.tokens, len(chunk.text) // 6) + (len(chunk.title) + sum(map(len, chunk.heading_path)) + 80) // 4


def build(
    question: str,
    chunks: Sequence[VisibleChunk],
    options: RagOptions,
    *,
    model: str,
    history: Sequence[tuple[str, str]] = (),
    stream: bool = False,
) -> ChatRequest:
    """An OpenAI-format request; `history` is (role, text), oldest first. Byte for byte the same for the same input.

    Raises ConfigError when `prompt_version` names no template.
    """
    values = {
        "passages": "\n".join(quoted(chunks, options.prompt_key)),
        "history": conversation(history),
        "question": " ".join(question.split()),
    }
    return fill(options.prompt_version, values, model=model, most_tokens=options.answer_tokens, stream=stream)


def fill(version: str, values: Mapping[str, str], *, model: str, most_tokens: int, stream: bool = False) -> ChatRequest:
    """The request that a template makes of these values. Raises ConfigError when there is no such template."""
    system, user = _template(version)
    view: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "system", "content": system}, {"role": "user", "content": _fill(user, values)}],
        "temperature": 0,
        "max_tokens": most_tokens,
        "stream": stream,
    }
    if stream:
        view["stream_options"] = {"include_usage": True}
    return ChatRequest(wire=OPENAI_CHAT, body=msgspec.json.encode(view), view=view, model=model, stream=stream)


def instruction(version: str) -> str:
    """The system message of a template. Raises ConfigError when there is none of this name."""
    return _template(version)[0]


def marker(chunks: Sequence[VisibleChunk], key: bytes) -> str:
    """16 hex characters: blake2b of what is quoted, keyed, so that no document can be written to contain it."""
    digest = hashlib.blake2b(key=key[:64], digest_size=8, person=b"bascule.prompt")
    for chunk in chunks:
        for part in (chunk.title, *chunk.heading_path, chunk.text):
            data = part.encode("utf-8", "surrogatepass")
            digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


def quoted(chunks: Sequence[VisibleChunk], key: bytes) -> list[str]:
    """The passages as lines between markers, numbered from 1."""
    mark = marker(chunks, key)
    lines = []
    for number, chunk in enumerate(chunks, start=1):
        about = " > ".join(p for p in (chunk.title or chunk.name, *chunk.heading_path) if p)
        lines += [
            f"<<<passage {number} {mark}",
            f"about: {' '.join(about.split())}",
            chunk.text,
            f"{mark} {number}>>>",
            "",
        ]
    return lines


def conversation(history: Sequence[tuple[str, str]]) -> str:
    """The last `HISTORY_CHARS` of what was said, or "" when nothing was."""
    text = "\n".join(f"{role}: {' '.join(said.split())}" for role, said in history if said.strip())
    return f"Earlier in this conversation:\n{text[-HISTORY_CHARS:]}\n\n" if text else ""


def _fill(template: str, values: Mapping[str, str]) -> str:
    return _PLACE.sub(lambda m: values.get(m.group(1), ""), template)


@cache
def _template(version: str) -> tuple[str, str]:
    path = resources.files("bascule.rag") / "prompts" / f"{version}.txt"
    if not _VERSION.fullmatch(version) or not path.is_file():
        raise ConfigError(f"There is no prompt template {version!r}.")
    system, user = path.read_text(encoding="utf-8").split("\n===\n", 1)
    return system.strip(), user.strip()
