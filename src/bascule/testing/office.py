"""Small office files, e-books and site exports made in memory, for tests that must not depend on files."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence

_S = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
_R = 'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"'
_P = (
    'xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main" '
    'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main" ' + _R
)
_RELATIONS = "http://schemas.openxmlformats.org/package/2006/relationships"
_KIND = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/"


def packed(parts: Mapping[str, str | bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return out.getvalue()


def _relations(*targets: tuple[str, str]) -> str:
    rows = "".join(f'<Relationship Id="r{n}" Type="{_KIND}{k}" Target="{t}"/>' for n, (k, t) in enumerate(targets, 1))
    return f'<Relationships xmlns="{_RELATIONS}">{rows}</Relationships>'


def workbook(
    sheets: Mapping[str, str], *, hidden: Sequence[str] = (), strings: Sequence[str] = (), styles: str = ""
) -> bytes:
    """An Excel file from the XML within each sheet's <worksheet> (columns, then <sheetData>), by sheet name."""
    rows = "".join(
        f'<sheet name="{name}" sheetId="{n}" r:id="r{n}"{" state=" + chr(34) + "hidden" + chr(34) if name in hidden else ""}/>'
        for n, name in enumerate(sheets, 1)
    )
    parts = {
        "[Content_Types].xml": "<Types/>",
        "xl/workbook.xml": f"<workbook {_S} {_R}><sheets>{rows}</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": _relations(
            *(("worksheet", f"worksheets/s{n}.xml") for n in range(1, len(sheets) + 1))
        ),
        "xl/sharedStrings.xml": f"<sst {_S}>{''.join(f'<si><t>{s}</t></si>' for s in strings)}</sst>",
        "xl/styles.xml": f"<styleSheet {_S}>{styles}</styleSheet>",
    }
    for number, body in enumerate(sheets.values(), 1):
        parts[f"xl/worksheets/s{number}.xml"] = f"<worksheet {_S}>{body}</worksheet>"
    return packed(parts)


def grid(rows: Sequence[Sequence[str]]) -> str:
    """<sheetData> of inline strings; "" leaves the cell out."""
    letters = "ABCDEFGHIJ"
    found = [
        f'<row r="{n}">'
        + "".join(f'<c r="{letters[at]}{n}" t="inlineStr"><is><t>{c}</t></is></c>' for at, c in enumerate(row) if c)
        + "</row>"
        for n, row in enumerate(rows, 1)
        if any(row)
    ]
    return f"<sheetData>{''.join(found)}</sheetData>"


def shape(text: str, *, place: str = "", properties: str = "", more: str = "", at: str = "", name: str = "") -> str:
    """One shape of one paragraph: `place` is its placeholder, `properties` attributes and children of its run's <a:rPr>."""
    ph = f'<p:ph type="{place}"/>' if place else ""
    return (
        f'<p:sp><p:nvSpPr><p:cNvPr id="1" name="x" {name}/><p:nvPr>{ph}</p:nvPr></p:nvSpPr><p:spPr>{at}</p:spPr>'
        f"<p:txBody><a:p><a:r><a:rPr {properties}>{more}</a:rPr><a:t>{text}</a:t></a:r></a:p></p:txBody></p:sp>"
    )


def deck(slides: Sequence[str], *, hidden: Sequence[int] = (), notes: Mapping[int, str] | None = None) -> bytes:
    """A PowerPoint file from the XML of each slide's shapes; `hidden` and `notes` by the slide's number from 1."""
    ids = "".join(f'<p:sldId id="{255 + n}" r:id="r{n}"/>' for n in range(1, len(slides) + 1))
    parts = {
        "[Content_Types].xml": "<Types/>",
        "ppt/presentation.xml": f"<p:presentation {_P}><p:sldIdLst>{ids}</p:sldIdLst>"
        '<p:sldSz cx="9144000" cy="6858000"/></p:presentation>',
        "ppt/_rels/presentation.xml.rels": _relations(
            *(("slide", f"slides/s{n}.xml") for n in range(1, len(slides) + 1))
        ),
    }
    for number, shapes in enumerate(slides, 1):
        show = ' show="0"' if number in hidden else ""
        parts[f"ppt/slides/s{number}.xml"] = f"<p:sld {_P}{show}><p:cSld><p:spTree>{shapes}</p:spTree></p:cSld></p:sld>"
        if notes and number in notes:
            parts[f"ppt/slides/_rels/s{number}.xml.rels"] = _relations(("notesSlide", f"../notesSlides/n{number}.xml"))
            body = shape(notes[number], place="body")
            parts[f"ppt/notesSlides/n{number}.xml"] = (
                f"<p:notes {_P}><p:cSld><p:spTree>{body}</p:spTree></p:cSld></p:notes>"
            )
    return packed(parts)


def ebook(chapters: Sequence[str], *, title: str = "A book", parts: Mapping[str, str | bytes] | None = None) -> bytes:
    """An EPUB from the XHTML within each chapter's <body>. The manifest lists them backwards: the spine gives the order."""
    numbers = range(1, len(chapters) + 1)
    items = "".join(
        f'<item id="c{n}" href="text/c%20{n}.xhtml" media-type="application/xhtml+xml"/>' for n in reversed(numbers)
    )
    spine = "".join(f'<itemref idref="c{n}"/>' for n in numbers)
    files: dict[str, str | bytes] = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
        '<rootfile full-path="OEBPS/book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>',
        "OEBPS/book.opf": '<package xmlns="http://www.idpf.org/2007/opf"><metadata xmlns:dc="http://purl.org/dc/elements/1.1/">'
        f"<dc:title>{title}</dc:title></metadata><manifest>{items}</manifest><spine>{spine}</spine></package>",
    }
    for number, body in enumerate(chapters, 1):
        files[f"OEBPS/text/c {number}.xhtml"] = f'<html xmlns="http://www.w3.org/1999/xhtml"><body>{body}</body></html>'
    return packed(files | dict(parts or {}))


def export(items: str) -> bytes:
    """A WordPress export from the XML of its <item>s."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?><rss version="2.0" xmlns:content="http://purl.org/rss/1.0/modules/content/" '
        'xmlns:excerpt="http://wordpress.org/export/1.2/excerpt/" xmlns:wp="http://wordpress.org/export/1.2/">'
        f"<channel><title>My shop</title><wp:wxr_version>1.2</wp:wxr_version>{items}</channel></rss>"
    ).encode()


def post(
    title: str, content: str, *, status: str = "publish", kind: str = "post", password: str = "", more: str = ""
) -> str:
    return (
        f"<item><title>{title}</title><content:encoded><![CDATA[{content}]]></content:encoded>"
        f"<excerpt:encoded><![CDATA[]]></excerpt:encoded><wp:status>{status}</wp:status><wp:post_type>{kind}</wp:post_type>"
        f"<wp:post_password><![CDATA[{password}]]></wp:post_password>{more}</item>"
    )
