"""The text of a call that its record keeps where the operator wants it: masked, and cut to size."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from bascule.core.calls import KeptText
from bascule.core.chat import ChatRequest
from bascule.core.recognise import find
from bascule.gateway.texts import leaves

MAX_CHARS: Final = 20_000
_OVER: Final = 1_000  # masked with a margin, so that nothing at the cut is half of something and goes unrecognised


def kept_text(request: ChatRequest, answer: str, document_ids: Collection[str]) -> KeptText:
    """At most MAX_CHARS characters each of prompt and answer; personal data and secrets stand as `[email]`, `[key]`, ..."""
    return KeptText(
        prompt=_masked("\n\n".join(leaves(request.view))),
        answer=_masked(answer),
        document_ids=tuple(sorted(document_ids)),
    )


def _masked(text: str) -> str:
    parts, at = [], 0
    for finding in find(text[: MAX_CHARS + _OVER]):
        if finding.start >= MAX_CHARS:
            break
        parts += [text[at : finding.start], f"[{finding.kind}]"]
        at = finding.end
    return "".join(parts) + text[at : max(at, MAX_CHARS)]
