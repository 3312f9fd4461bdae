"""One e-mail: subject, who wrote to whom and when, then its text. Of a message in two forms the HTML one keeps the structure.

Attachments are not opened; they are counted, so that the report says what is missing.
"""

from __future__ import annotations

import email
import email.policy
from collections import Counter
from email.message import EmailMessage
from typing import Final

from bascule.core.errors import IngestError
from bascule.core.parsing import Block, ParsedDocument, Parser
from bascule.plugins.parsers._html import HtmlParser

_HEADERS: Final = ("From", "To", "Cc", "Date")
_MAX_PARTS: Final = 500
_MAX_HEADER_CHARS: Final = 500
_DAMAGED: Final = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    IndexError,
    AssertionError,
)  # of the email package


class EmlParser:
    def parse(self, data: bytes, name: str) -> ParsedDocument:
        try:
            message = email.message_from_bytes(data, policy=email.policy.default)
            return _read(message)
        except RecursionError:
            raise IngestError("The e-mail is nested too deeply to be read.", reason="damaged") from None
        except _DAMAGED:
            raise IngestError("The e-mail is damaged. Save it from the mail program again.", reason="damaged") from None


def _read(message: EmailMessage) -> ParsedDocument:
    removed: Counter[str] = Counter()
    subject = _header(message, "Subject")
    blocks = [Block(kind="heading", text=subject, level=1)] if subject else []
    lines = [f"{header}: {value}" for header in _HEADERS if (value := _header(message, header))]
    body = _body(message, removed)
    if not subject and not lines and not any(message.keys()):
        raise IngestError("This is not an e-mail: it has no headers. Save it as .eml again.", reason="damaged")
    if not body and not subject:
        raise IngestError("The e-mail has no text in it.", reason="empty")
    if lines:
        blocks.append(Block(kind="paragraph", text="\n".join(lines)))
    return ParsedDocument(title=subject, blocks=(*blocks, *body), removed=dict(removed))


def _header(message: EmailMessage, name: str) -> str:
    return " ".join(str(message.get(name, "")).split())[:_MAX_HEADER_CHARS]


def _body(message: EmailMessage, removed: Counter[str]) -> list[Block]:
    parts = list(message.walk())
    if len(parts) > _MAX_PARTS:
        raise IngestError(f"The e-mail has more than {_MAX_PARTS} parts. Save its parts as files.", reason="too_large")
    body = message.get_body(preferencelist=("html", "plain"))
    removed["attachments"] += sum(1 for part in message.iter_attachments())
    if not removed["attachments"]:
        del removed["attachments"]
    if body is None:
        return []
    content = body.get_content()
    text = content if isinstance(content, str) else ""
    if body.get_content_subtype() == "html" and text.strip():
        try:
            found = HtmlParser().parse(text.encode("utf-8", "replace"), "")
        except IngestError:
            return []
        removed.update(found.removed)
        return list(found.blocks)
    return [Block(kind="paragraph", text=piece) for part in _unquoted(text, removed) if (piece := part.strip())]


def _unquoted(text: str, removed: Counter[str]) -> list[str]:
    """Paragraphs without the lines that quote an earlier message: those stand in that message."""
    lines = text.replace("\r\n", "\n").split("\n")
    kept = [line for line in lines if not line.startswith(">")]
    if len(kept) < len(lines):
        removed["quoted_lines"] += len(lines) - len(kept)
    return "\n".join(kept).split("\n\n")


parser: Parser = EmlParser()
