"""Text of documents, models and other machines on a terminal: what would move the cursor, recolour or rename the window, or turn
the order of letters round, is taken out before it is printed."""

from __future__ import annotations

import re
from typing import Final

# ESC or its one-byte form with what belongs to it: CSI (colours, cursor), and strings (title, clipboard, links) to their end.
_SEQUENCES: Final = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]?"
)
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_FORMULA: Final = re.compile(r"[=@]|[+\-](?![\d.]+$|$)")


def printable(text: str) -> str:
    """The text without terminal sequences and control characters; line ends and tabs stay."""
    if text.isascii() and text.isprintable():
        return text
    return _CONTROLS.sub("", _SEQUENCES.sub("", text.replace("\r\n", "\n")))


def inert(cell: str) -> str:
    """A cell of a table that may be opened in a spreadsheet: one that would be a formula begins with an apostrophe."""
    return f"'{cell}" if _FORMULA.match(cell) else cell


def json_safe(document: str) -> str:
    """A JSON document with those control characters escaped that JSON lets stand and terminals obey."""
    return re.sub(r"[\x7f-\x9f]", lambda found: f"\\u{ord(found.group()):04x}", document)
