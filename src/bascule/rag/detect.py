"""What kind of document this is, from its content; its name only breaks ties between kinds of text."""

from __future__ import annotations

import io
import re
import zipfile
from typing import Final

import msgspec

from bascule.core.errors import IngestError
from bascule.rag.decode import Decoded, decode
from bascule.rag.unpack import GZIP, unpacked

MEDIA_TYPES: Final = {
    "txt": "text/plain",
    "md": "text/markdown",
    "html": "text/html",
    "csv": "text/csv",
    "pdf": "application/pdf",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "epub": "application/epub+zip",
    "json": "application/json",
    "xml": "application/xml",
    "wxr": "application/rss+xml",
    "eml": "message/rfc822",
    "man": "text/troff",
    "image": "image/*",
}
_OTHER_TYPES: Final = {
    "text/xml": "xml", "application/jsonl": "json", "application/x-ndjson": "json", "text/json": "json", "text/x-markdown": "md",
    "text/tab-separated-values": "csv", "application/xhtml+xml": "html", "application/csv": "csv",
    "image/png": "image", "image/jpeg": "image", "image/tiff": "image", "image/webp": "image", "image/gif": "image",
}  # fmt: skip
_BY_EXTENSION: Final = {kind: kind for kind in MEDIA_TYPES} | {
    "text": "txt", "log": "txt", "markdown": "md", "mdown": "md", "htm": "html", "xhtml": "html", "tsv": "csv", "docm": "docx",
    "png": "image", "jpg": "image", "jpeg": "image", "tif": "image", "tiff": "image", "webp": "image", "gif": "image",
    "xlsm": "xlsx", "pptm": "pptx", "ppsx": "pptx", "jsonl": "json", "ndjson": "json", "rss": "xml", "atom": "xml",
}  # fmt: skip
_IMAGES: Final = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_UNSUPPORTED: Final = (
    (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        "an encrypted or old (.doc, .xls, .ppt) Office file; remove its password or save it as .docx, .xlsx or .pptx",
    ),
    (b"{\\rtf", "a Rich Text file; save it as .docx"),
    (b"%!PS", "a PostScript file; save it as .pdf"),
    (b"BZh", "a bzip2 archive; unpack it and send the files"),
    (b"\xfd7zXZ", "an xz archive; unpack it and send the files"),
    (b"7z\xbc\xaf", "a 7-Zip archive; unpack it and send the files"),
    (b"Rar!", "a RAR archive; unpack it and send the files"),
    (b"\x7fELF", "a program"),
    (b"MZ\x90", "a program"),
    (b"SQLite format 3\0", "a database; export it as .csv"),
)
_PICKLE: Final = re.compile(rb"\x80[\x02-\x05](?:\x95|[}\]()cKX\x8c]).*\.\s*\Z", re.DOTALL)
_HTML_START: Final = re.compile(  # comments are matched atomically: backtracking into them would be exponential
    r"\s*(?:<\?xml[^>]{0,200}>\s*)?(?:(?><!--.{0,2000}?-->)\s*)*+<(?:!doctype\s+html|html|head|body)\b", re.I | re.S
)
_HTML_TAG: Final = re.compile(
    r"</?(?:p|div|span|a|ul|ol|li|table|tr|td|h[1-6]|br|img|script|style|section|article)\b[^<>]*>", re.I
)
_MD_MARKS: Final = (
    re.compile(r"^#{1,6} \S", re.M),
    re.compile(r"^(?:```|~~~)", re.M),
    re.compile(r"^\s{0,3}[-*+] \S", re.M),
    re.compile(r"\[[^\]\n]+\]\([^)\s]+\)"),
    re.compile(r"^\|?\s*:?-{3,}:?\s*\|", re.M),
    re.compile(r"\*\*[^*\n]+\*\*"),
)
_MAIL_HEADER: Final = re.compile(
    rb"(?:return-path|received|delivered-to|from|to|cc|date|subject|message-id|mime-version|content-type|reply-to|sender|x-[\w-]{1,40}"
    rb"|arc-[\w-]{1,40}|dkim-signature|authentication-results)[ \t]*:",
    re.I,
)
_WXR: Final = re.compile(r"<rss\b[^>]{0,2000}xmlns:wp=[\"']http://wordpress\.org/export/", re.I)
_XML_START: Final = re.compile(r"\s*<\?xml\b")
_OFFICE: Final = {
    "docx": ("Word", "a word processor"),
    "xlsx": ("Excel", "a spreadsheet program"),
    "pptx": ("PowerPoint", "a presentation program"),
    "epub": ("e-book", "an e-book program"),
}
_DELIMITERS: Final = ",;\t|"
_SAMPLE_CHARS: Final = 20_000


_LATE_PDF: Final = re.compile(rb"[\r\n\0]%PDF-\d")  # behind what some printers put first
_MAN_START: Final = re.compile(r"^(?:\.TH[ \t]+\S|\.Dd\b|\.so[ \t]+\S+\s*$)", re.M)
_ROFF_START: Final = re.compile(r"\s*(?:['.](?:\\\"|[A-Za-z]{1,3}\b|[ \t]*\n)|\\\")")


class Detected(msgspec.Struct, frozen=True, kw_only=True):
    """`data` is what the parser gets: for kinds of text always UTF-8, whatever the file was written in.

    `claimed` is the kind its name stands for ("" when the name says nothing), `notes` what the report should tell.
    """

    kind: str
    data: bytes
    claimed: str = ""
    encoding: str = ""
    notes: dict[str, str | int] = {}

    @property
    def mislabelled(self) -> bool:
        return bool(self.claimed) and self.claimed != self.kind


def extension(name: str) -> str:
    return name.rsplit(".", 1)[-1].lower() if "." in name else ""


def detect(data: bytes, name: str, media_type: str = "") -> Detected:
    """Decide the parser. A file that is packed by gzip is unpacked first, as manual pages and logs come.

    Raises IngestError: "not a supported kind: ..." or that the file is empty.
    """
    if data.startswith(GZIP):
        found = detect(unpacked(data), name.removesuffix(".gz").removesuffix(".GZ"), "")
        return msgspec.structs.replace(found, notes=found.notes | {"packed": "gzip"})
    if not data.strip(b"\0 \t\r\n"):
        raise IngestError("The file is empty. Check the export that made it and send it again.", reason="empty")
    claimed = _BY_EXTENSION.get(extension(name)) or _by_media_type(media_type)
    binary = _binary_kind(data, claimed)
    if not binary and _is_mail(data, claimed):
        binary = "eml"  # each of its parts has an encoding of its own
    if binary:
        return Detected(kind=binary, data=data, claimed=claimed)
    decoded = decode(data)
    if decoded is None:
        raise _unsupported(f"binary data{_named(claimed)}")
    kind = _text_kind(decoded.text, claimed, extension(name))
    return Detected(
        kind=kind, data=_utf8(decoded.text), claimed=claimed, encoding=decoded.encoding, notes=_repairs(decoded)
    )


def _repairs(decoded: Decoded) -> dict[str, str | int]:
    notes: dict[str, str | int] = {}
    if decoded.encoding != "utf-8" or decoded.guessed:
        notes["encoding"] = decoded.encoding + (" (guessed)" if decoded.guessed else "")
    if decoded.replaced:
        notes["unreadable_bytes"] = decoded.replaced
    return notes


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", errors="replace")


def _unsupported(what: str) -> IngestError:
    known = ", ".join(sorted(MEDIA_TYPES))
    return IngestError(f"This is not a supported kind: {what}. Supported are {known}.", reason="unsupported")


def _named(claimed: str) -> str:
    return f" under the name of a {claimed} file" if claimed else ""


def _by_media_type(media_type: str) -> str:
    wanted = media_type.split(";")[0].strip().lower()
    return next((kind for kind, known in MEDIA_TYPES.items() if known == wanted), _OTHER_TYPES.get(wanted, ""))


def _binary_kind(data: bytes, claimed: str) -> str:
    if data.startswith(_IMAGES) or (data.startswith(b"RIFF") and data[8:12] == b"WEBP"):
        return "image"
    for magic, what in _UNSUPPORTED:
        if data.startswith(magic):
            raise _unsupported(what)
    if data.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")):
        return _zip_kind(data, claimed)
    if data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n\0").startswith(b"%PDF-"):
        return "pdf"
    if _LATE_PDF.search(data, 0, 1024):
        return "pdf"
    if data[257:262] == b"ustar":
        raise _unsupported("a tar archive; unpack it and send the files")
    if _PICKLE.match(data):
        raise _unsupported("a Python pickle, which is never opened")
    return ""


def _zip_kind(data: bytes, claimed: str) -> str:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = set(archive.namelist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, OSError):
        if claimed in _OFFICE:
            kind, program = _OFFICE[claimed]
            raise IngestError(
                f"The {kind} file is damaged: its archive cannot be read. Open it in {program} and save it again.",
                reason="damaged",
            ) from None
        raise _unsupported("a damaged zip archive") from None
    for kind, part in (("docx", "word/document.xml"), ("xlsx", "xl/workbook.xml"), ("pptx", "ppt/presentation.xml")):
        if part in names:
            return kind
    if "META-INF/container.xml" in names:
        return "epub"
    for prefix, what in (
        ("xl/", "an Excel workbook in binary form; save it as .xlsx"),
        ("content.xml", "an OpenDocument file; save it as .docx, .xlsx, .pptx or .pdf"),
    ):
        if any(name.startswith(prefix) for name in names):
            raise _unsupported(what)
    raise _unsupported("a zip archive; unpack it and send the files")


def _is_mail(data: bytes, claimed: str) -> bool:
    """Its first lines are headers of a mail. A text that only begins with "From:" is none, unless its name says so."""
    if claimed not in ("", "eml", "txt"):
        return False
    lines = [
        line for line in data[:8_000].lstrip(b"\xef\xbb\xbf\r\n").split(b"\n")[:40] if line[:1] not in (b" ", b"\t")
    ]
    if not lines or not _MAIL_HEADER.match(lines[0]):
        return False
    found = {m.group().lower().rstrip(b": \t") for line in lines if (m := _MAIL_HEADER.match(line))}
    if claimed == "eml":
        return True
    return (
        bool(found & {b"from", b"received"}) and len(found & {b"message-id", b"mime-version", b"date", b"subject"}) >= 2
    )


def _text_kind(text: str, claimed: str, suffix: str) -> str:
    sample = text[:_SAMPLE_CHARS]
    if _ROFF_START.match(sample) and _MAN_START.search(sample):
        return "man"
    if _HTML_START.match(sample):
        return "html"
    if claimed == "html" and _HTML_TAG.search(sample):
        return "html"
    data_kind = _data_kind(text, sample, claimed)
    if data_kind:
        return data_kind
    if claimed == "md":
        return "md"
    if claimed == "csv":
        return "csv" if _delimiter(sample, rows=1, columns=2) else "txt"
    if claimed == "txt":
        return "txt"
    return _unnamed_kind(sample) if suffix in ("", "bin", "dat", "tmp") or claimed else "txt"


def _data_kind(text: str, sample: str, claimed: str) -> str:
    """XML and JSON: by their content where it says so, by their name where it could be."""
    start = sample.lstrip("\ufeff \t\r\n")[:1]
    if start == "<" and (claimed in ("xml", "wxr") or _XML_START.match(sample.lstrip("\ufeff"))):
        return "wxr" if _WXR.search(sample) else "xml"
    if start and start in "{[" and claimed in ("", "json") and _is_json(text):
        return "json"
    return "txt" if claimed in ("json", "xml", "wxr") else ""


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        lines = [line for line in text.splitlines()[:20] if line.strip()][:-1]
        return len(lines) >= 2 and all(line.lstrip().startswith("{") and line.rstrip().endswith("}") for line in lines)
    return True


def _unnamed_kind(sample: str) -> str:
    if len(_HTML_TAG.findall(sample)) >= 3 and sample.lstrip().startswith("<"):
        return "html"
    if _delimiter(sample, rows=3, columns=3):
        return "csv"
    if sum(1 for mark in _MD_MARKS if mark.search(sample)) >= 2:
        return "md"
    return "txt"


def _delimiter(sample: str, *, rows: int, columns: int) -> str:
    """The delimiter that cuts every line (quoted parts left out) into the same number of cells, or ""."""
    lines = [re.sub(r'"[^"]*"', "", line) for line in sample.splitlines()[:50] if line.strip()]
    if len(sample) == _SAMPLE_CHARS and len(lines) > 1:
        lines.pop()  # cut off in the middle
    for delimiter in _DELIMITERS:
        counts = [line.count(delimiter) for line in lines]
        usual = max(set(counts), key=counts.count, default=0)
        if len(lines) >= rows and usual + 1 >= columns and counts.count(usual) >= 0.9 * len(counts):
            return delimiter
    return ""
