"""Small documents made in memory, good and hostile, for tests that must not depend on files."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence

_W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_TYPES = (
    '<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="xml" ContentType="application/xml"/><Override PartName="/word/document.xml" '
    'ContentType="application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>'
)
_RELS = (
    '<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    '<Relationship Id="r1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" '
    'Target="word/document.xml"/></Relationships>'
)


def raw_docx(body: str, *, prolog: str = "", parts: Mapping[str, bytes] | None = None) -> bytes:
    """A Word file from the XML of its body, with `prolog` before the root and further `parts` by name."""
    document = f'<?xml version="1.0"?>{prolog}<w:document xmlns:w="{_W}"><w:body>{body}</w:body></w:document>'
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", _TYPES)
        archive.writestr("_rels/.rels", _RELS)
        archive.writestr("word/document.xml", document)
        for name, data in (parts or {}).items():
            archive.writestr(name, data)
    return out.getvalue()


def run(text: str, properties: str = "") -> str:
    """One run of text with the XML of its properties."""
    return f"<w:r><w:rPr>{properties}</w:rPr><w:t>{text}</w:t></w:r>"


def paragraph(*runs: str, properties: str = "") -> str:
    return f"<w:p><w:pPr>{properties}</w:pPr>{''.join(runs)}</w:p>"


def pdf(pages: Sequence[str], *, trailer: str = "") -> bytes:
    """A PDF of pages given as content streams; /F1 is Helvetica and /F2 Helvetica-Bold, a page 612 x 792 points."""
    kids = " ".join(f"{5 + 2 * n} 0 R" for n in range(len(pages)))
    font = "<</Type/Font/Subtype/Type1/BaseFont/{}>>"
    bodies = {
        1: "<</Type/Catalog/Pages 2 0 R>>",
        2: f"<</Type/Pages/Kids[{kids}]/Count {len(pages)}>>",
        3: font.format("Helvetica"),
        4: font.format("Helvetica-Bold"),
    }
    for n, content in enumerate(pages):
        resources = "<</Font<</F1 3 0 R/F2 4 0 R>>>>"
        bodies[5 + 2 * n] = (
            f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents {6 + 2 * n} 0 R/Resources{resources}>>"
        )
        bodies[6 + 2 * n] = f"<</Length {len(content.encode('latin-1'))}>>stream\n{content}\nendstream"
    return _numbered(bodies, trailer)


def _numbered(bodies: Mapping[int, str], trailer: str) -> bytes:
    out, offsets = b"%PDF-1.7\n", []
    for number, body in sorted(bodies.items()):
        offsets.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n".encode("latin-1")
    table = "".join(f"{offset:010d} 00000 n \n" for offset in offsets)
    size, start = len(offsets) + 1, len(out)
    end = f"xref\n0 {size}\n0000000000 65535 f \n{table}trailer\n<</Size {size}/Root 1 0 R{trailer}>>\nstartxref\n{start}\n%%EOF"
    return out + end.encode("latin-1")


def line(text: str, x: int = 72, y: int = 700, *, size: float = 12, font: str = "F1", before: str = "") -> str:
    """One line of text for a page's content stream, with further operators `before` it."""
    return f"{before} BT /{font} {size} Tf {x} {y} Td ({text}) Tj ET"
