"""One e-mail: subject, who wrote to whom and when, then its text. Of a message in two forms the HTML one keeps the structure.

Messages in a message (a digest, a mail that was forwarded whole) are read below it, each under its own subject. Other attachments
are not opened; they are counted, so that the report says what is missing.
"""

from __future__ import annotations

import email
import email.policy
from collections import Counter
from email.message import EmailMessage, MIMEPart
from typing import Final

from bascule.core.errors import IngestError
from bascule.core.parsing import Block, ParsedDocument, Parser
from bascule.plugins.parsers._html import HtmlParser

_HEADERS: Final = ("From", "To", "Cc", "Date")
_INSIDE: Final = ("message/rfc822", "multipart/digest")  # read, not attachments
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
            return _read(email.message_from_bytes(data, policy=email.policy.default))
        except RecursionError:
            raise IngestError("The e-mail is nested too deeply to be read.", reason="damaged") from None
        except _DAMAGED:
            raise IngestError("The e-mail is damaged. Save it from the mail program again.", reason="damaged") from None


def _read(message: EmailMessage) -> ParsedDocument:
    removed: Counter[str] = Counter()
    subject = _header(message, "Subject")
    if not any(message.keys()):
        raise IngestError("This is not an e-mail: it has no headers. Save it as .eml again.", reason="damaged")
    if sum(1 for _ in message.walk()) > _MAX_PARTS:
        raise IngestError(f"The e-mail has more than {_MAX_PARTS} parts. Save its parts as files.", reason="too_large")
    head, body = _head(message, 1), _body(message, removed)
    inner = _messages_in(message, removed, 2)
    if not body and not subject and not inner:
        raise IngestError("The e-mail has no text in it.", reason="empty")
    return ParsedDocument(title=subject, blocks=(*head, *body, *inner), removed=dict(+removed))


def _head(message: EmailMessage, level: int) -> list[Block]:
    subject = _header(message, "Subject")
    blocks = [Block(kind="heading", text=subject, level=level)] if subject else []
    lines = [f"{header}: {value}" for header in _HEADERS if (value := _header(message, header))]
    return [*blocks, Block(kind="paragraph", text="\n".join(lines))] if lines else blocks


def _messages_in(message: MIMEPart, removed: Counter[str], level: int) -> list[Block]:
    """Those attached, and those of a digest, which mailing lists put a multipart deeper."""
    blocks: list[Block] = []
    for part in message.iter_parts() if message.is_multipart() else ():
        if part.get_content_type() == "multipart/digest":
            blocks += _messages_in(part, removed, level)
        elif part.get_content_type() == "message/rfc822":
            inner = part.get_content()
            blocks += [*_head(inner, level), *_body(inner, removed)]
            blocks += _messages_in(inner, removed, min(level + 1, 6))
    return blocks


def _header(message: EmailMessage, name: str) -> str:
    return " ".join(str(message.get(name, "")).split())[:_MAX_HEADER_CHARS]


def _body(message: EmailMessage, removed: Counter[str]) -> list[Block]:
    body = message.get_body(preferencelist=("html", "plain"))
    removed["attachments"] += sum(part.get_content_type() not in _INSIDE for part in message.iter_attachments())
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
